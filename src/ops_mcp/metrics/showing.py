"""What an answer comes to for somebody who reads it: few numbers, with what was left out of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ops_mcp.metrics.downsampling import bucketed, chosen_step
from ops_mcp.metrics.quantities import written_duration
from ops_mcp.metrics.series import Series, is_stale

MOST_POINTS_SHOWN = 120
_SEVEN_DIGITS = 1e6

Number = float | str | None
"""JSON has no other name for NaN and infinities than a text."""


class Shown(NamedTuple):
    """One series on a grid of times: `start_ms`, and every `step_ms` after it. Where it was reduced, `values` are averages."""

    start_ms: int
    step_ms: int
    values: list[Number]
    least: list[Number] | None = None
    most: list[Number] | None = None


class Grid(NamedTuple):
    start_ms: int
    end_ms: int
    step_ms: int

    @property
    def points(self) -> int:
        return (self.end_ms - self.start_ms) // self.step_ms + 1


def on_grid(series: Series, grid: Grid) -> Shown:
    """Every point of the grid, a gap where there is no value; reduced to stretches where those are more than are shown."""
    if grid.points > MOST_POINTS_SHOWN:
        return _reduced(series, grid)
    there = dict(zip(series.times, series.values, strict=True))
    values = [number(there[at]) if at in there else None for at in range(grid.start_ms, grid.end_ms + 1, grid.step_ms)]
    return Shown(grid.start_ms, grid.step_ms, values)


def reduction_said(grid: Grid) -> str:
    """What was done to the answer's points, if anything was."""
    if grid.points <= MOST_POINTS_SHOWN:
        return ""
    width = written_duration(_width(grid))
    return f"{grid.points:,} points a series are shown as averages over {width}, with the least and most of each."


def number(value: float) -> Number:
    """Six digits, which is more than anybody reads, and never fewer than its whole part has: a moment in seconds must stay one.
    The marker of a series' end is no value."""
    if math.isnan(value):
        return None if is_stale(value) else "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return float(f"{value:.6g}" if abs(value) < _SEVEN_DIGITS else f"{value:.0f}")


def moment_step_ms(start_ms: int, end_ms: int) -> int:
    """The step of a range whose asker named none."""
    return max(chosen_step(start_ms, end_ms, at_most=60), 1_000)


def _reduced(series: Series, grid: Grid) -> Shown:
    width = _width(grid)
    first = grid.start_ms // width * width
    buckets = {one.start_ms: one for one in bucketed(series.times, series.values, width)}
    places: Sequence[int] = range(first, grid.end_ms + 1, width)
    return Shown(
        first,
        width,
        [number(buckets[at].average) if at in buckets else None for at in places],
        [number(buckets[at].least) if at in buckets else None for at in places],
        [number(buckets[at].most) if at in buckets else None for at in places],
    )


def _width(grid: Grid) -> int:
    return chosen_step(grid.start_ms, grid.end_ms, at_most=MOST_POINTS_SHOWN // 3)
