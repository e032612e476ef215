"""Lines of numbers over time, drawn with block characters for a terminal."""

import math
from collections.abc import Sequence

_LEVELS = " ▁▂▃▄▅▆▇█"
_FULL = len(_LEVELS) - 1


def chart(values: Sequence[float | None], *, width: int, height: int) -> list[str]:
    """Rows from the top: a scale on the left, a column for each stretch of values with the most of it; gaps stay empty."""
    columns = _columns(values, width)
    numbers = [value for value in columns if value is not None]
    if not numbers:
        return ["(nothing)"]
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    span = (high - low) or 1.0
    labels = [short(high), *[""] * (height - 2), short(low)]
    margin = max(map(len, labels))
    eighths = [None if value is None else max(1, round((value - low) / span * height * _FULL)) for value in columns]
    rows: list[str] = []
    for row in range(height):
        floor = (height - 1 - row) * _FULL
        drawn = "".join(" " if level is None else _LEVELS[min(_FULL, max(0, level - floor))] for level in eighths)
        rows.append(f"{labels[row]:>{margin}} │{drawn}".rstrip())
    return rows


def spark(values: Sequence[float | None], *, width: int) -> str:
    """The same in one row."""
    columns = _columns(values, width)
    numbers = [value for value in columns if value is not None]
    high = max([abs(value) for value in numbers], default=0.0) or 1.0
    return "".join(" " if value is None else _LEVELS[max(1, round(max(0.0, value) / high * _FULL))] for value in columns)


def short(value: float | None) -> str:
    """Four digits, with the prefix that people use."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.4g}{unit}"
    return f"{value:.4g}"


def _columns(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` of them, each the most of its stretch, so that no peak is lost."""
    if len(values) <= width:
        return [_finite(value) for value in values]
    columns: list[float | None] = []
    for column in range(width):
        stretch = values[column * len(values) // width : (column + 1) * len(values) // width]
        numbers = [found for value in stretch if (found := _finite(value)) is not None]
        columns.append(max(numbers, default=None))
    return columns


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
