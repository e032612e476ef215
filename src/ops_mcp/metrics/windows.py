"""Functions over the samples of one series in a range, with Prometheus 2's formulas."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from ops_mcp.metrics.numbers import NAN, compensated, mean, quantile, total


class Points(NamedTuple):
    """The samples in the range, at least one."""

    times: Sequence[int]
    values: Sequence[float]


class Frame(NamedTuple):
    """Where the range begins and ends, and the moment of evaluation, which an offset moves away from its end."""

    start: int
    end: int
    at: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1000


WindowFunction: TypeAlias = Callable[[Points, Frame, float], float | None]
"""Points, frame and the function's own parameter to a value; None where the series is left out."""


def increase(points: Points, frame: Frame, _: float) -> float | None:
    """How much a counter has grown, resets allowed for, extrapolated to the ends of the range."""
    grown = _growth(points)
    return None if grown is None else grown * _counter_extrapolation(points, frame, grown)


def rate(points: Points, frame: Frame, _: float) -> float | None:
    """`increase` per second of the range, rounded as Prometheus rounds it."""
    grown = _growth(points)
    return None if grown is None else grown * (_counter_extrapolation(points, frame, grown) / frame.seconds)


def delta(points: Points, frame: Frame, _: float) -> float | None:
    """The difference of a gauge's last and first sample, extrapolated to the ends of the range."""
    times, values = points
    if len(values) < 2:
        return None
    return (values[-1] - values[0]) * _extrapolation(times, frame, None)


def irate(points: Points, _frame: Frame, _: float) -> float | None:
    """Growth per second between the last two samples; after a reset, from zero."""
    times, values = points
    if len(values) < 2:
        return None
    grown = values[-1] if values[-1] < values[-2] else values[-1] - values[-2]
    return grown / ((times[-1] - times[-2]) / 1000)


def idelta(points: Points, _frame: Frame, _: float) -> float | None:
    values = points.values
    return None if len(values) < 2 else values[-1] - values[-2]


def resets(points: Points, _frame: Frame, _: float) -> float:
    values = points.values
    return float(sum(after < before for before, after in pairwise(values)))


def changes(points: Points, _frame: Frame, _: float) -> float:
    values = points.values
    return float(sum(_differ(before, after) for before, after in pairwise(values)))


def derivative(points: Points, _frame: Frame, _: float) -> float | None:
    """`deriv`: the slope per second of the line of least squares."""
    return None if len(points.values) < 2 else _line(points, points.times[0])[0]


def predict_linear(points: Points, frame: Frame, seconds: float) -> float | None:
    """Where the line of least squares is so many seconds after the moment of evaluation."""
    if len(points.values) < 2:
        return None
    slope, intercept = _line(points, frame.at)
    return slope * seconds + intercept


def standard_variance(points: Points, _frame: Frame, _: float) -> float:
    """The population's variance, by Welford's method with compensated sums."""
    average, average_lost = 0.0, 0.0
    squares, squares_lost = 0.0, 0.0
    for count, value in enumerate(points.values, 1):
        off = value - (average + average_lost)
        average, average_lost = compensated(off / count, average, average_lost)
        squares, squares_lost = compensated(off * (value - (average + average_lost)), squares, squares_lost)
    return (squares + squares_lost) / len(points.values)


def standard_deviation(points: Points, _frame: Frame, _: float) -> float:
    variance = standard_variance(points, _frame, 0.0)
    return NAN if variance < 0 else math.sqrt(variance)


def smallest(points: Points, _frame: Frame, _: float) -> float:
    return min(_numbers(points.values), default=NAN)


def largest(points: Points, _frame: Frame, _: float) -> float:
    return max(_numbers(points.values), default=NAN)


WINDOW_FUNCTIONS: dict[str, WindowFunction] = {
    "rate": rate,
    "increase": increase,
    "delta": delta,
    "irate": irate,
    "idelta": idelta,
    "resets": resets,
    "changes": changes,
    "deriv": derivative,
    "predict_linear": predict_linear,
    "avg_over_time": lambda points, _frame, _: mean(points.values),
    "sum_over_time": lambda points, _frame, _: total(points.values),
    "min_over_time": smallest,
    "max_over_time": largest,
    "count_over_time": lambda points, _frame, _: float(len(points.values)),
    "stddev_over_time": standard_deviation,
    "stdvar_over_time": standard_variance,
    "last_over_time": lambda points, _frame, _: points.values[-1],
    "present_over_time": lambda _points, _frame, _: 1.0,
    "quantile_over_time": lambda points, _frame, share: quantile(share, points.values),
}


def _growth(points: Points) -> float | None:
    """What a counter gained between its first and last sample; a value below the one before is counted from zero."""
    values = points.values
    if len(values) < 2:
        return None
    grown = values[-1] - values[0]
    before = values[0]
    for value in values:
        if value < before:
            grown += before
        before = value
    return grown


def _counter_extrapolation(points: Points, frame: Frame, grown: float) -> float:
    times, values = points
    since_zero = None
    if grown > 0 and values[0] >= 0:
        since_zero = (times[-1] - times[0]) / 1000 * (values[0] / grown)
    return _extrapolation(times, frame, since_zero)


def _extrapolation(times: Sequence[int], frame: Frame, since_zero: float | None) -> float:
    """By how much to multiply what was seen between the first and the last sample to cover the whole range.

    Towards each end it reaches as far as that end when another sample is expected there (the gap is below 1.1 average intervals
    between samples), else half an interval. A counter is never extrapolated to before it was zero, `since_zero` seconds before
    its first sample.
    """
    sampled = (times[-1] - times[0]) / 1000
    interval = sampled / (len(times) - 1)
    to_start = (times[0] - frame.start) / 1000
    if since_zero is not None and since_zero < to_start:
        to_start = since_zero
    to_end = (frame.end - times[-1]) / 1000
    near = interval * 1.1
    covered = sampled
    covered += to_start if to_start < near else interval / 2
    covered += to_end if to_end < near else interval / 2
    return covered / sampled


def _line(points: Points, origin_ms: int) -> tuple[float, float]:
    """Slope per second and value at `origin_ms` of the line of least squares."""
    times, values = points
    first = values[0]
    if all(value == first for value in values[1:]):
        return (NAN, NAN) if math.isinf(first) else (0.0, first)
    xs = [(at - origin_ms) / 1000 for at in times]
    count = len(values)
    sum_x, sum_y = total(xs), total(values)
    covariance = total([x * y for x, y in zip(xs, values, strict=True)]) - sum_x * sum_y / count
    slope = covariance / (total([x * x for x in xs]) - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count


def _differ(before: float, after: float) -> bool:
    return before != after and not (math.isnan(before) and math.isnan(after))


def _numbers(values: Sequence[float]) -> Sequence[float]:
    """Without NaN, which loses every comparison."""
    summed = sum(values)
    return values if summed == summed else [value for value in values if value == value]  # noqa: PLR0124
