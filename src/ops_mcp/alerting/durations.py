"""Durations as Prometheus writes and reads them: `1h30m`, `250ms`, `0s`."""

import re

_UNITS = (("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_WRITTEN = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit, _ in _UNITS), re.ASCII)
_YEARS_AND_WEEKS = 2


def duration_text(seconds: float) -> str:
    """With units from days down; years and weeks are read but never written."""
    left = round(seconds * 1000)
    parts: list[str] = []
    for unit, size in _UNITS[_YEARS_AND_WEEKS:]:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def duration_seconds(text: str) -> float | None:
    """None for what is no duration."""
    if text == "0":
        return 0.0
    found = _WRITTEN.fullmatch(text)
    if found is None or not text:
        return None
    milliseconds = sum(int(count) * size for count, (_, size) in zip(found.groups(), _UNITS, strict=True) if count)
    return milliseconds / 1000
