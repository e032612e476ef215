"""Arithmetic on floats as IEEE 754 and Go define it, where Python raises instead: division by zero, overflow, domain errors."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

NAN = math.nan
INF = math.inf

Operation: TypeAlias = Callable[[float, float], float]
Comparison: TypeAlias = Callable[[float, float], bool]


def divided(left: float, right: float) -> float:
    if right:
        return left / right
    if not left or left != left:  # noqa: PLR0124
        return NAN
    return math.copysign(INF, left) * math.copysign(1.0, right)


def remainder(left: float, right: float) -> float:
    """With the sign of `left`, as C's `fmod`."""
    try:
        return math.fmod(left, right)
    except ValueError:
        return NAN


def power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -INF if base < 0 and _is_odd(exponent) else INF
    except ValueError:
        if base:
            return NAN  # a negative base with a broken exponent
        return math.copysign(INF, base) if _is_odd(exponent) else INF  # zero with a negative exponent


def floor(value: float) -> float:
    return _rounded(value, math.floor)


def ceil(value: float) -> float:
    return _rounded(value, math.ceil)


def exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return INF


def logarithm(of: Callable[[float], float]) -> Callable[[float], float]:
    """`math.log` and its kin with the values at and below zero that they raise for."""

    def safe(value: float) -> float:
        if value > 0 or value != value:  # noqa: PLR0124
            return of(value)
        return NAN if value else -INF

    return safe


def square_root(value: float) -> float:
    return NAN if value < 0 else math.sqrt(value)


def sign(value: float) -> float:
    return -1.0 if value < 0 else 1.0 if value > 0 else value


def smaller(left: float, right: float) -> float:
    """Go's `math.Min`: minus infinity wins over NaN, and NaN over all else."""
    if -INF in (left, right):
        return -INF
    if left != left or right != right:  # noqa: PLR0124
        return NAN
    return min(left, right)


def larger(left: float, right: float) -> float:
    """Go's `math.Max`: infinity wins over NaN, and NaN over all else."""
    return -smaller(-left, -right)


def total(values: Sequence[float]) -> float:
    """A sum without rounding errors that add up, as Neumaier's sum gives it."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # infinities, or finite values whose sum is none
        sum_, lost = 0.0, 0.0
        for value in values:
            sum_, lost = compensated(value, sum_, lost)
        return sum_ if math.isinf(sum_) else sum_ + lost


def mean(values: Sequence[float]) -> float:
    """The average of at least one value. It is finite where all values are, even where their sum is not."""
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        average, lost = 0.0, 0.0
        for count, value in enumerate(values, 1):
            if math.isinf(average) and _leaves_infinite(average, value):
                continue
            average, lost = compensated(value / count - average / count, average, lost)
        return average if math.isinf(average) else average + lost


def running_mean(values: Iterable[float]) -> float:
    """The average as aggregations over series keep it: from the first value on, without compensation."""
    average = 0.0
    for count, value in enumerate(values, 1):
        if count == 1:
            average = value
        elif not (math.isinf(average) and _leaves_infinite(average, value)):
            average += value / count - average / count
    return average


def compensated(value: float, sum_: float, lost: float) -> tuple[float, float]:
    """One step of Neumaier's sum: the sum so far, and what rounding has lost of it."""
    after = sum_ + value
    lost += (sum_ - after) + value if abs(sum_) >= abs(value) else (value - after) + sum_
    return after, lost


def quantile(share: float, values: Iterable[float]) -> float:
    """The value below which `share` of these lie, between two neighbours by weight. NaN sorts first."""
    ordered = sorted(values, key=_with_nan_first)
    if not ordered or share != share:  # noqa: PLR0124
        return NAN
    if not 0 <= share <= 1:
        return -INF if share < 0 else INF
    rank = share * (len(ordered) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[min(len(ordered) - 1, lower + 1)] * weight


def go_fixed(value: float) -> str:
    """A number as Go's `strconv.FormatFloat(value, 'f', -1, 64)` writes it: as few digits as tell it, no exponent."""
    if not math.isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    shift = int(exponent or 0)
    digits = whole + fraction
    point = len(whole) + shift
    if point <= 0:
        text = "0." + "0" * -point + digits
    elif point >= len(digits):
        text = digits + "0" * (point - len(digits))
    else:
        text = digits[:point] + "." + digits[point:]
    return ("-" if math.copysign(1.0, value) < 0 else "") + text


ARITHMETIC: dict[str, Operation] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divided,
    "%": remainder,
    "^": power,
}
COMPARISONS: dict[str, Comparison] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def _rounded(value: float, to_whole: Callable[[float], int]) -> float:
    if not math.isfinite(value):
        return value
    return math.copysign(float(to_whole(value)), value) if value else value


def _is_odd(value: float) -> bool:
    return math.isfinite(value) and value == math.floor(value) and math.fmod(value, 2) != 0


def _leaves_infinite(average: float, value: float) -> bool:
    """Whether `value` does not change an infinite average: it is finite, or the same infinity."""
    if math.isinf(value):
        return (average > 0) == (value > 0)
    return not math.isnan(value)


def _with_nan_first(value: float) -> tuple[bool, float]:
    return (False, 0.0) if value != value else (True, value)  # noqa: PLR0124
