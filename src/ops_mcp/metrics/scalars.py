"""Nodes that compute one number."""

from dataclasses import dataclass

from ops_mcp.metrics.nodes import Run, ScalarNode, VectorNode
from ops_mcp.metrics.numbers import NAN, Comparison, Operation


@dataclass(frozen=True, slots=True)
class Number(ScalarNode):
    value: float

    def number(self, run: Run, at: int) -> float:  # noqa: ARG002 (a constant)
        return self.value


@dataclass(frozen=True, slots=True)
class Time(ScalarNode):
    """`time()`: the moment of evaluation in seconds since 1970."""

    def number(self, run: Run, at: int) -> float:  # noqa: ARG002 (needs no series)
        return at / 1000


@dataclass(frozen=True, slots=True)
class ScalarOf(ScalarNode):
    """`scalar(v)`: the one value of a vector, NaN where there are none or several."""

    of: VectorNode

    def number(self, run: Run, at: int) -> float:
        pairs = self.of.vector(run, at)
        return pairs[0][1] if len(pairs) == 1 else NAN


@dataclass(frozen=True, slots=True)
class Negative(ScalarNode):
    of: ScalarNode

    def number(self, run: Run, at: int) -> float:
        return -self.of.number(run, at)


@dataclass(frozen=True, slots=True)
class Calculation(ScalarNode):
    """Arithmetic between two numbers."""

    compute: Operation
    left: ScalarNode
    right: ScalarNode

    def number(self, run: Run, at: int) -> float:
        return self.compute(self.left.number(run, at), self.right.number(run, at))


@dataclass(frozen=True, slots=True)
class Truth(ScalarNode):
    """A comparison of two numbers with `bool`: 1 or 0."""

    holds: Comparison
    left: ScalarNode
    right: ScalarNode

    def number(self, run: Run, at: int) -> float:
        return 1.0 if self.holds(self.left.number(run, at), self.right.number(run, at)) else 0.0
