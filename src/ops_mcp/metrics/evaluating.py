"""Evaluation of a compiled query over samples fetched before: at one moment, or at every step of a range."""

from collections.abc import Sequence
from typing import TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.bounds import MOST_POINTS, Budget, check_steps
from ops_mcp.metrics.labels import NO_LABELS, Labels
from ops_mcp.metrics.nodes import Node, Run, ScalarNode
from ops_mcp.metrics.query import Data, Query
from ops_mcp.metrics.selectors import Subquery, Window
from ops_mcp.metrics.series import Answer, Matrix, Sample, Scalar, Series, Vector

_Gathered: TypeAlias = dict[Labels, tuple[list[int], list[float]]]

STANDARD = Budget()


def instant(query: Query, at_ms: int, data: Data, budget: Budget = STANDARD) -> Answer:
    """The value at one moment, from what `selections(query, at_ms, at_ms)` named.

    A range vector is answered with its samples. Raises `InvalidArguments` for what has no value, such as two series matching one,
    and where the budget is spent.
    """
    run = Run(data, budget)
    _compute(run, query.subqueries, at_ms, at_ms)
    root = query.root
    if isinstance(root, ScalarNode):
        return Scalar(at_ms, root.number(run, at_ms))
    if isinstance(root, Window):
        found = (Series(labels, *points) for labels, points in root.points(run, root.frame(at_ms)))
        return Matrix(tuple(found))
    return Vector(at_ms, tuple([Sample(labels, value) for labels, value in root.vector(run, at_ms)]))


def ranged(query: Query, start_ms: int, end_ms: int, step_ms: int, data: Data, budget: Budget = STANDARD) -> Matrix:
    """The values at `start_ms`, every `step_ms` after it, and none after `end_ms`; from `selections(query, start_ms, end_ms)`.

    A number becomes one series without labels. Raises `InvalidArguments` as `instant` does, for a range vector, and for more
    points than the budget allows.
    """
    check_steps(start_ms, end_ms, step_ms, budget.points)
    if isinstance(query.root, Window):
        raise InvalidArguments(
            "A range vector has no value over a range of time.", hint="Apply a function to it, such as `rate` or `avg_over_time`."
        )
    run = Run(data, budget)
    _compute(run, query.subqueries, start_ms, end_ms)
    return Matrix(tuple(_stepped(run, query.root, range(start_ms, end_ms + 1, step_ms))))


def _compute(run: Run, subqueries: Sequence[Subquery], start_ms: int, end_ms: int) -> None:
    """Computes the points of subqueries, innermost first, for evaluations between these moments."""
    for subquery in subqueries:
        first, last = subquery.first_and_last(start_ms, end_ms)
        moments = range(first, last + 1, subquery.step_ms)
        if len(moments) > MOST_POINTS:
            raise InvalidArguments(
                f"A subquery has {len(moments):,} points for each series; at most {MOST_POINTS:,} are computed.",
                hint="Give it a longer step, as in `[1d:5m]`.",
            )
        _compute(run, subquery.subqueries, first, last)
        run.computed[subquery.number] = _stepped(run, subquery.inner, moments)


def _stepped(run: Run, node: Node, moments: Sequence[int]) -> list[Series]:
    """The series of a node over these moments, ordered by labels."""
    outside, run.origins = run.origins, {}
    gathered: _Gathered = {}
    for at in moments:
        run.charge(1)
        pairs = [(NO_LABELS, node.number(run, at))] if isinstance(node, ScalarNode) else node.vector(run, at)
        for labels, value in pairs:
            times, values = gathered.setdefault(labels, ([], []))
            times.append(at)
            values.append(value)
    run.origins = outside
    return [Series(labels, *gathered[labels]) for labels in sorted(gathered)]
