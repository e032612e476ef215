"""What an expression is compiled to: nodes that compute themselves at one moment, and what they share while they do.

Nodes are frozen and know nothing of the series; a `Run` brings those. Moments are milliseconds since 1970.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.bounds import Budget, too_much_work
from ops_mcp.metrics.labels import Labels
from ops_mcp.metrics.series import Series

LOOKBACK_MS = 300_000
"""How old the newest sample of a series may be and still be its value. A sample exactly that old counts, as in Prometheus 2."""

Pair: TypeAlias = tuple[Labels, float]
Pairs: TypeAlias = list[Pair]
"""An instant vector, in the order in which Prometheus has it. A plain tuple each, because there are many of them."""


class Run:
    """One evaluation: the series of every selector and subquery by its number, and how much work is left."""

    __slots__ = ("budget", "computed", "left", "origins", "series")

    def __init__(self, series: Sequence[Sequence[Series]], budget: Budget) -> None:
        self.series = series
        self.computed: dict[int, Sequence[Series]] = {}
        self.budget = budget
        self.left = budget.work
        self.origins: dict[tuple[int, Labels], Labels] | None = None  # kept over the moments of a range alone

    def charge(self, units: int) -> None:
        """Raises `InvalidArguments` once the budget is spent."""
        self.left -= units
        if self.left < 0:
            raise too_much_work(self.budget)

    def check_origin(self, node: int, labels: Labels, origin: Labels) -> None:
        """Raises `InvalidArguments` where two series come to have the same labels in one node, be it at different moments."""
        if self.origins is not None and self.origins.setdefault((node, labels), origin) != origin:
            raise same_labels()


class ScalarNode(ABC):
    """Computes one number."""

    __slots__ = ()

    @abstractmethod
    def number(self, run: Run, at: int) -> float: ...


class VectorNode(ABC):
    """Computes an instant vector."""

    __slots__ = ()

    @abstractmethod
    def vector(self, run: Run, at: int) -> Pairs: ...


Node: TypeAlias = ScalarNode | VectorNode


def distinct(pairs: Pairs) -> Pairs:
    """The same pairs. Raises `InvalidArguments` where two have the same labels."""
    if len(pairs) > 1 and len({labels for labels, _ in pairs}) < len(pairs):
        raise same_labels()
    return pairs


def same_labels() -> InvalidArguments:
    return InvalidArguments(
        "The vector cannot contain metrics with the same labelset: series that differ in their name alone lost it.",
        hint="Select one metric, or aggregate with `by` before.",
    )
