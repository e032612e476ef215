"""Amounts as people write them: `5%`, `300ms`, `1.5GiB`, `10/s`, `1h30m`."""

import re
from decimal import Decimal
from typing import NamedTuple, assert_never

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.numbers import go_fixed
from ops_mcp.metrics.vocabulary import Measure

_UNITS: dict[str, tuple[Measure, Decimal]] = {
    "%": (Measure.share, Decimal("0.01")),
    "ms": (Measure.seconds, Decimal("0.001")),
    "s": (Measure.seconds, Decimal(1)),
    "m": (Measure.seconds, Decimal(60)),
    "h": (Measure.seconds, Decimal(3600)),
    "d": (Measure.seconds, Decimal(86_400)),
    "B": (Measure.bytes, Decimal(1)),
    "KB": (Measure.bytes, Decimal(10**3)),
    "MB": (Measure.bytes, Decimal(10**6)),
    "GB": (Measure.bytes, Decimal(10**9)),
    "TB": (Measure.bytes, Decimal(10**12)),
    "KiB": (Measure.bytes, Decimal(2**10)),
    "MiB": (Measure.bytes, Decimal(2**20)),
    "GiB": (Measure.bytes, Decimal(2**30)),
    "TiB": (Measure.bytes, Decimal(2**40)),
    "/s": (Measure.per_second, Decimal(1)),
    "/min": (Measure.per_second, 1 / Decimal(60)),
}
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", re.ASCII)
_OF_DURATIONS = (86_400_000, 3_600_000, 60_000, 1_000)
_LONGEST_MS = 366 * 86_400_000


class Amount(NamedTuple):
    """A number and the unit behind it, empty for none."""

    number: Decimal
    unit: str


def in_measure(amount: Amount, measure: Measure, word: str) -> str:
    """The amount as PromQL writes it, in the base unit of `measure`. Raises `InvalidArguments` where the unit does not fit.

    Without a unit a time or a size could mean anything, and of a share 90 would mean 9000 %: neither is guessed.
    """
    if not amount.unit and _is_clear(amount.number, measure):
        return _plain(amount.number)
    found, factor = _UNITS.get(amount.unit, (None, Decimal(1)))
    if found is not measure:
        valid = ", ".join(f"`{unit}`" for unit, (of, _) in _UNITS.items() if of is measure) or "no unit at all"
        raise InvalidArguments(f"`{word}` is compared with a {measure.value}, and its unit is another.", hint=f"Valid: {valid}.")
    if measure is Measure.share and amount.number > 100:
        raise InvalidArguments(f"`{word}` is a share and is never above 100%.")
    return _plain(amount.number * factor)


def duration_ms(text: str) -> int:
    """Milliseconds of `5m`, `1h30m` and the like. Raises `InvalidArguments`."""
    found = _DURATION.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()] if found else []
    milliseconds = sum(part * unit for part, unit in zip(parts, _OF_DURATIONS, strict=False))
    if not 0 < milliseconds <= _LONGEST_MS:
        raise InvalidArguments("A duration is written as `30s`, `5m`, `1h30m` or `2d`, and is at most 366 days.")
    return milliseconds


def written_duration(milliseconds: int) -> str:
    """The same in PromQL: `1h30m`."""
    written = ""
    for unit, letter in zip(_OF_DURATIONS, "dhms", strict=True):
        count, milliseconds = divmod(milliseconds, unit)
        written += f"{count}{letter}" if count else ""
    return written or "0s"


def _plain(number: Decimal) -> str:
    return go_fixed(float(number))


def _is_clear(number: Decimal, measure: Measure) -> bool:
    match measure:
        case Measure.number | Measure.per_second:
            return True
        case Measure.share:
            return number <= 1
        case Measure.seconds | Measure.bytes:
            return not number
        case _:
            assert_never(measure)
