"""Fewer points that still show what happened: for each stretch of time the least, the most, the average and the last value."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from ops_mcp.metrics.numbers import mean
from ops_mcp.metrics.quantities import written_duration

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_STEPS = (
    *(_SECOND * count for count in (1, 2, 5, 10, 15, 30)),
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 7, 14, 28, 91, 182, 365)),
)


class Bucket(NamedTuple):
    """What a series did from `start_ms` on for one width. NaN is counted and otherwise left out, unless there is nothing else."""

    start_ms: int
    samples: int
    least: float
    most: float
    average: float
    last: float


class Reduced(NamedTuple):
    """`points` in as many buckets as there are stretches with any; `width_ms` is the length of each."""

    buckets: tuple[Bucket, ...]
    width_ms: int
    points: int

    @property
    def said(self) -> str:
        """For the answer that shows the buckets."""
        width = written_duration(self.width_ms)
        return f"{self.points:,} points shown as {len(self.buckets):,} stretches of {width}, each with least, most and average"


STRETCH_MS = 5 * _MINUTE
"""Of how long a stretch old samples keep four: the lookback of a query, so that thinning out makes no hole."""


def thinned(times: Sequence[int], values: Sequence[float], stretch_ms: int = STRETCH_MS) -> tuple[list[int], list[float]]:
    """Of every stretch the first, the least, the most and the last sample, each at its own time, besides markers and NaN; where
    it fell once, as a counter does that is reset, also those on both sides of the fall.

    So the least and the most of whole stretches are what they were, a counter's growth too, through one reset in each; and where
    there was a newest sample there is one.
    """
    kept_times: list[int] = []
    kept_values: list[float] = []
    begin = 0
    for end in range(1, len(times) + 1):
        if end == len(times) or times[end] // stretch_ms != times[begin] // stretch_ms:
            kept = _telling(values, begin, end)
            kept_times += [times[place] for place in kept]
            kept_values += [values[place] for place in kept]
            begin = end
    return kept_times, kept_values


def thinning_said(start_ms: int, whole_since_ms: int) -> str:
    """For an answer that reads samples from `start_ms` on, where those before `whole_since_ms` are thinned out; or nothing."""
    if start_ms >= whole_since_ms:
        return ""
    since = datetime.fromtimestamp(whole_since_ms / 1000, UTC).isoformat(timespec="minutes")
    stretch = written_duration(STRETCH_MS)
    return (
        f"Samples before about {since} are thinned out: of every {stretch} the first, least, most and last are left."
        " There `max`, `min` and newest values hold, and `rate` and `increase` over longer ranges; averages, sums, counts and"
        " quantiles over time are of the samples left."
    )


def chosen_step(start_ms: int, end_ms: int, *, at_most: int = 250) -> int:
    """The shortest step, of those that people count in, with which a range has no more points than `at_most`."""
    shortest = (end_ms - start_ms) // at_most + 1
    return next((step for step in _STEPS if step >= shortest), -(-shortest // _DAY) * _DAY)


def reduced(times: Sequence[int], values: Sequence[float], *, at_most: int) -> Reduced:
    """At most so many buckets, two or more, of one width and beginning at its multiples."""
    if not times:
        return Reduced((), _SECOND, 0)
    width = chosen_step(times[0], times[-1], at_most=at_most)
    if times[-1] // width - times[0] // width >= at_most:  # the first begins in the middle, so that there is one more
        width = chosen_step(times[0], times[-1], at_most=at_most - 1)
    return Reduced(tuple(bucketed(times, values, width)), width, len(times))


def bucketed(times: Sequence[int], values: Sequence[float], width_ms: int) -> Iterator[Bucket]:
    """Every stretch that has samples. `times` rise."""
    begin = 0
    for end in range(1, len(times) + 1):
        if end == len(times) or times[end] // width_ms != times[begin] // width_ms:
            yield _bucket(times[begin] // width_ms * width_ms, values[begin:end])
            begin = end


def _telling(values: Sequence[float], begin: int, end: int) -> list[int]:
    """The places of the samples to keep, in order."""
    numbers = [place for place in range(begin, end) if not math.isnan(values[place])]
    kept = {begin, end - 1, *(place for place in range(begin, end) if math.isnan(values[place]))}
    if numbers:
        kept |= {min(numbers, key=values.__getitem__), max(numbers, key=values.__getitem__)}
    falls = [pair for pair in pairwise(numbers) if values[pair[1]] < values[pair[0]]]
    return sorted(kept.union(*falls) if len(falls) == 1 else kept)


def _bucket(start_ms: int, values: Sequence[float]) -> Bucket:
    numbers = [value for value in values if not math.isnan(value)] or [math.nan]
    return Bucket(start_ms, len(values), min(numbers), max(numbers), mean(numbers), numbers[-1])
