"""Nodes that change each value of a vector by itself, and those between vectors and numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ops_mcp.metrics.labels import NO_LABELS, Labels, without_name
from ops_mcp.metrics.nodes import Pairs, Run, ScalarNode, VectorNode, distinct
from ops_mcp.metrics.numbers import (
    Comparison,
    Operation,
    ceil,
    divided,
    exponential,
    floor,
    larger,
    logarithm,
    sign,
    smaller,
    square_root,
)

Change: TypeAlias = Callable[[float], float]

FUNCTIONS: dict[str, Change] = {
    "abs": abs,
    "ceil": ceil,
    "floor": floor,
    "exp": exponential,
    "ln": logarithm(math.log),
    "log2": logarithm(math.log2),
    "log10": logarithm(math.log10),
    "sqrt": square_root,
    "sgn": sign,
}
"""Functions of one vector by name."""


@dataclass(frozen=True, slots=True)
class Each(VectorNode):
    """`abs(v)` and the like."""

    change: Change
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        return _changed(run, self.of.vector(run, at), self.change)


@dataclass(frozen=True, slots=True)
class NegativeVector(VectorNode):
    """`-v`."""

    number_of_node: int
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        found: Pairs = []
        for labels, value in self.of.vector(run, at):
            unnamed = without_name(labels)
            run.check_origin(self.number_of_node, unnamed, labels)
            found.append((unnamed, -value))
        run.charge(len(found))
        return distinct(found)


@dataclass(frozen=True, slots=True)
class Rounded(VectorNode):
    """`round(v, to)`: to the nearest multiple, halves up."""

    of: VectorNode
    to: ScalarNode

    def vector(self, run: Run, at: int) -> Pairs:
        inverse = divided(1.0, self.to.number(run, at))
        return _changed(run, self.of.vector(run, at), lambda value: divided(floor(value * inverse + 0.5), inverse))


@dataclass(frozen=True, slots=True)
class Clamped(VectorNode):
    """`clamp`, `clamp_min` and `clamp_max`: nothing at all where the bounds are the wrong way round."""

    of: VectorNode
    least: ScalarNode | None
    most: ScalarNode | None

    def vector(self, run: Run, at: int) -> Pairs:
        least = None if self.least is None else self.least.number(run, at)
        most = None if self.most is None else self.most.number(run, at)
        pairs = self.of.vector(run, at)
        if least is not None and most is not None and most < least:
            return []

        def clamped(value: float) -> float:
            below = value if most is None else smaller(most, value)
            return below if least is None else larger(least, below)

        return _changed(run, pairs, clamped)


@dataclass(frozen=True, slots=True)
class VectorOf(VectorNode):
    """`vector(s)`: one number as a vector without labels."""

    of: ScalarNode

    def vector(self, run: Run, at: int) -> Pairs:
        return [(NO_LABELS, self.of.number(run, at))]


@dataclass(frozen=True, slots=True)
class Absent(VectorNode):
    """`absent(v)`: 1 where the vector is empty, with the labels that the selector asks for by `=`."""

    of: VectorNode
    labels: Labels

    def vector(self, run: Run, at: int) -> Pairs:
        return [] if self.of.vector(run, at) else [(self.labels, 1.0)]


@dataclass(frozen=True, slots=True)
class MomentOf(VectorNode):
    """`timestamp(v)` of anything but a selector: the moment of evaluation for each element."""

    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        return _changed(run, self.of.vector(run, at), lambda _: at / 1000)


@dataclass(frozen=True, slots=True)
class WithNumber(VectorNode):
    """Arithmetic between a vector and a number; `reversed` where the number is on the left."""

    compute: Operation
    of: VectorNode
    by: ScalarNode
    reversed: bool

    def vector(self, run: Run, at: int) -> Pairs:
        compute = self.compute
        by = self.by.number(run, at)
        pairs = self.of.vector(run, at)
        if self.reversed:
            return _changed(run, pairs, lambda value: compute(by, value))
        return _changed(run, pairs, lambda value: compute(value, by))


@dataclass(frozen=True, slots=True)
class Filter(VectorNode):
    """`v > 5`: the elements for which it holds, unchanged. The number is always taken as the right side."""

    holds: Comparison
    of: VectorNode
    by: ScalarNode

    def vector(self, run: Run, at: int) -> Pairs:
        holds = self.holds
        by = self.by.number(run, at)
        return [pair for pair in self.of.vector(run, at) if holds(pair[1], by)]


@dataclass(frozen=True, slots=True)
class Truths(VectorNode):
    """`v > bool 5`: 1 or 0 for every element."""

    holds: Comparison
    of: VectorNode
    by: ScalarNode

    def vector(self, run: Run, at: int) -> Pairs:
        holds = self.holds
        by = self.by.number(run, at)
        return _changed(run, self.of.vector(run, at), lambda value: 1.0 if holds(value, by) else 0.0)


def _changed(run: Run, pairs: Pairs, change: Change) -> Pairs:
    run.charge(len(pairs))
    return distinct([(without_name(labels), change(value)) for labels, value in pairs])
