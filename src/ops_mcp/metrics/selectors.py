"""Nodes that read samples: the newest of a series, or those of a stretch of time."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops_mcp.metrics.labels import Labels, without_name
from ops_mcp.metrics.matchers import Matchers
from ops_mcp.metrics.nodes import LOOKBACK_MS, Node, Pairs, Run, ScalarNode, VectorNode, distinct
from ops_mcp.metrics.series import Series, is_stale, without_stale
from ops_mcp.metrics.windows import Frame, Points, WindowFunction


@dataclass(frozen=True, slots=True)
class Selector(VectorNode):
    """`name{…} offset 5m`: the newest sample of each series that is not older than the lookback, unless it marks the end."""

    source: int
    matchers: Matchers
    offset_ms: int

    def vector(self, run: Run, at: int) -> Pairs:
        return [(labels, value) for labels, _, value in self.newest(run, at)]

    def newest(self, run: Run, at: int) -> list[tuple[Labels, int, float]]:
        """With the moment of each sample."""
        series = run.series[self.source]
        run.charge(len(series))
        until = at - self.offset_ms
        since = until - LOOKBACK_MS
        found: list[tuple[Labels, int, float]] = []
        for labels, times, values in series:
            index = bisect_right(times, until) - 1
            if index < 0 or times[index] < since:
                continue
            value = values[index]
            if value == value or not is_stale(value):  # noqa: PLR0124
                found.append((labels, times[index], value))
        return found


@dataclass(frozen=True, slots=True)
class Window:
    """`name{…}[5m] offset 1m`: the samples of the range, both of its ends included."""

    source: int
    matchers: Matchers
    range_ms: int
    offset_ms: int

    def series(self, run: Run) -> Sequence[Series]:
        return run.series[self.source]

    def frame(self, at: int) -> Frame:
        end = at - self.offset_ms
        return Frame(end - self.range_ms, end, at)

    def points(self, run: Run, frame: Frame) -> Iterator[tuple[Labels, Points]]:
        """Of every series that has any."""
        for labels, times, values in self.series(run):
            high = bisect_right(times, frame.end)
            low = bisect_left(times, frame.start, 0, high)
            run.charge(4 + ((high - low) >> 3))
            if low < high:
                found_times, found_values = without_stale(times[low:high], values[low:high])
                if found_times:
                    yield labels, Points(found_times, found_values)


@dataclass(frozen=True, slots=True)
class Subquery(Window):
    """`expression[1h:1m]`: the points of an expression at every multiple of the step, computed before whoever reads them.

    `selectors` and `subqueries` are those directly inside.
    """

    number: int
    inner: Node
    step_ms: int
    selectors: "tuple[Selector | Window, ...]"
    subqueries: "tuple[Subquery, ...]"

    def series(self, run: Run) -> Sequence[Series]:
        return run.computed[self.number]

    def first_and_last(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """The span of moments, multiples of the step, that evaluations from `start_ms` to `end_ms` read."""
        since = start_ms - self.offset_ms - self.range_ms
        return -(-since // self.step_ms) * self.step_ms, end_ms - self.offset_ms


@dataclass(frozen=True, slots=True)
class OverWindow(VectorNode):
    """A function over each series' samples in a range: `rate`, `avg_over_time` and the like."""

    number_of_node: int
    compute: WindowFunction
    window: Window
    parameter: ScalarNode | None
    keeps_name: bool

    def vector(self, run: Run, at: int) -> Pairs:
        frame = self.window.frame(at)
        parameter = 0.0 if self.parameter is None else self.parameter.number(run, at)
        found: Pairs = []
        for labels, points in self.window.points(run, frame):
            value = self.compute(points, frame, parameter)
            if value is None:
                continue
            if self.keeps_name:
                found.append((labels, value))
            else:
                unnamed = without_name(labels)
                run.check_origin(self.number_of_node, unnamed, labels)
                found.append((unnamed, value))
        return found if self.keeps_name else distinct(found)


@dataclass(frozen=True, slots=True)
class AbsentOverTime(VectorNode):
    """`absent_over_time(v[5m])`: 1 where no series has a sample in the range."""

    window: Window
    labels: Labels

    def vector(self, run: Run, at: int) -> Pairs:
        there = any(True for _ in self.window.points(run, self.window.frame(at)))
        return [] if there else [(self.labels, 1.0)]


@dataclass(frozen=True, slots=True)
class Timestamps(VectorNode):
    """`timestamp(name{…})`: when each newest sample was taken, in seconds since 1970."""

    of: Selector

    def vector(self, run: Run, at: int) -> Pairs:
        return distinct([(without_name(labels), moment / 1000) for labels, moment, _ in self.of.newest(run, at)])
