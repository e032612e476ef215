"""Nodes that make one element, or a few, of each group of a vector."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import NAME, Labels, dropping, keeping, with_label
from ops_mcp.metrics.nodes import Pair, Pairs, Run, ScalarNode, VectorNode, distinct
from ops_mcp.metrics.numbers import NAN, go_fixed, quantile, running_mean

Summary: TypeAlias = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class Grouping:
    """`by (…)` keeps these labels, `without (…)` all others but the name. Neither is `by ()`."""

    without: bool = False
    names: frozenset[str] = frozenset()

    def group(self, labels: Labels) -> Labels:
        if not self.without:
            return keeping(labels, self.names) if self.names else ()
        return dropping(labels, self.names | {NAME})


@dataclass(frozen=True, slots=True)
class Aggregate(VectorNode):
    """`sum by (job) (v)` and the like."""

    summary: Summary
    grouping: Grouping
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        summary = self.summary
        groups = _groups(run, self.of.vector(run, at), self.grouping)
        return [(labels, summary([value for _, value in pairs])) for labels, pairs in groups.items()]


@dataclass(frozen=True, slots=True)
class Quantile(VectorNode):
    """`quantile(0.9, v)`."""

    share: ScalarNode
    grouping: Grouping
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        share = self.share.number(run, at)
        groups = _groups(run, self.of.vector(run, at), self.grouping)
        return [(labels, quantile(share, [value for _, value in pairs])) for labels, pairs in groups.items()]


@dataclass(frozen=True, slots=True)
class Extremes(VectorNode):
    """`topk(3, v)` and `bottomk(3, v)`: elements as they are, the most extreme first. NaN comes last."""

    largest: bool
    count: ScalarNode
    grouping: Grouping
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        wanted = self.count.number(run, at)
        if not -_BEYOND_INT64 <= wanted <= _BEYOND_INT64:
            raise InvalidArguments("The number of elements that `topk` or `bottomk` is asked for is no integer.")
        if (count := int(wanted)) < 1:
            return []
        groups = _groups(run, self.of.vector(run, at), self.grouping)
        return [pair for pairs in groups.values() for pair in _extremes(pairs, count, largest=self.largest)]


@dataclass(frozen=True, slots=True)
class CountValues(VectorNode):
    """`count_values("label", v)`: how many elements have each value, which becomes a label."""

    label: str
    grouping: Grouping
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        valued = [(with_label(labels, self.label, go_fixed(value)), value) for labels, value in self.of.vector(run, at)]
        names = self.grouping.names if self.grouping.without else self.grouping.names | {self.label}
        groups = _groups(run, valued, Grouping(self.grouping.without, names))
        return distinct([(labels, float(len(pairs))) for labels, pairs in groups.items()])


def _groups(run: Run, pairs: Pairs, grouping: Grouping) -> dict[Labels, Pairs]:
    """In the order in which each group is first met."""
    run.charge(len(pairs))
    groups: dict[Labels, Pairs] = {}
    for pair in pairs:
        groups.setdefault(grouping.group(pair[0]), []).append(pair)
    return groups


def _variance(values: Sequence[float]) -> float:
    """The population's, by Welford's method from the first value on, as Prometheus keeps it."""
    average, squares = values[0], 0.0
    for count, value in enumerate(values[1:], 2):
        off = value - average
        average += off / count
        squares += off * (value - average)
    return squares / len(values)


def _deviation(values: Sequence[float]) -> float:
    variance = _variance(values)
    return NAN if variance < 0 else math.sqrt(variance)


def _smallest(values: Sequence[float]) -> float:
    return min((value for value in values if value == value), default=NAN)  # noqa: PLR0124


def _largest(values: Sequence[float]) -> float:
    return max((value for value in values if value == value), default=NAN)  # noqa: PLR0124


SUMMARIES: dict[str, Summary] = {
    "sum": lambda values: reduce(operator.add, values),  # built-in `sum` compensates from Python 3.12 on
    "avg": running_mean,
    "min": _smallest,
    "max": _largest,
    "count": lambda values: float(len(values)),
    "group": lambda _: 1.0,
    "stddev": _deviation,
    "stdvar": _variance,
}
_BEYOND_INT64 = 2.0**63


def _extremes(pairs: Pairs, count: int, *, largest: bool) -> Pairs:
    """The `count` most extreme, the most extreme first.

    Among equals at the edge Prometheus keeps those that its heap happens to keep, and so does this: the same heap over the same
    order of elements.
    """

    def comes_out_first(one: Pair, other: Pair) -> bool:
        if one[1] != one[1]:
            return True
        return one[1] < other[1] if largest else one[1] > other[1]

    heap: Pairs = []
    for pair in pairs:
        if len(heap) < count:
            heap.append(pair)
            _rise(heap, comes_out_first)
            continue
        edge = heap[0][1]
        if edge != edge or (edge < pair[1] if largest else edge > pair[1]):  # noqa: PLR0124
            _take_first(heap, comes_out_first)
            heap.append(pair)
            _rise(heap, comes_out_first)
    return sorted(heap, key=lambda pair: (pair[1] != pair[1], -pair[1] if largest else pair[1]))


def _rise(heap: Pairs, comes_first: Callable[[Pair, Pair], bool]) -> None:
    """Moves the last element of a binary heap up to its place."""
    child = len(heap) - 1
    while child > 0:
        parent = (child - 1) // 2
        if not comes_first(heap[child], heap[parent]):
            return
        heap[child], heap[parent] = heap[parent], heap[child]
        child = parent


def _take_first(heap: Pairs, comes_first: Callable[[Pair, Pair], bool]) -> None:
    """Removes the first element: the last one takes its place and sinks."""
    heap[0], heap[-1] = heap[-1], heap[0]
    heap.pop()
    parent = 0
    while (child := 2 * parent + 1) < len(heap):
        if child + 1 < len(heap) and comes_first(heap[child + 1], heap[child]):
            child += 1
        if not comes_first(heap[child], heap[parent]):
            return
        heap[child], heap[parent] = heap[parent], heap[child]
        parent = child
