"""A compiled query, and which samples it reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ops_mcp.metrics.matchers import Matchers
from ops_mcp.metrics.nodes import LOOKBACK_MS, Node
from ops_mcp.metrics.selectors import Selector, Subquery, Window
from ops_mcp.metrics.series import Series

Data: TypeAlias = Sequence[Sequence[Series]]
"""The series of each selection, in the order of `selections`, each ordered by labels."""

Fetch: TypeAlias = Callable[[Matchers, int, int], Sequence[Series]]
"""The series that match, ordered by labels, with their samples from one moment to another, both included."""


class Selection(NamedTuple):
    """Samples that a query reads: of which series, from when to when in milliseconds, both included."""

    matchers: Matchers
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, compiled once and evaluated as often as wanted.

    `root` is a bare window where the expression is a range vector, such as `up[5m]`. `selectors` and `subqueries` are those that
    are not inside a subquery.
    """

    text: str
    root: Node | Window
    selectors: tuple[Selector | Window, ...]
    subqueries: tuple[Subquery, ...]


def selections(query: Query, start_ms: int, end_ms: int) -> tuple[Selection, ...]:
    """What to fetch before `query` is evaluated at moments from `start_ms` to `end_ms`."""
    found: dict[int, Selection] = {}
    _collect(query.selectors, query.subqueries, start_ms, end_ms, found)
    return tuple(found[source] for source in sorted(found))


def gather(query: Query, start_ms: int, end_ms: int, fetch: Fetch) -> Data:
    """What `selections` names, each fetched once."""
    fetched: dict[Selection, Sequence[Series]] = {}
    wanted = selections(query, start_ms, end_ms)
    for selection in wanted:
        if selection not in fetched:
            fetched[selection] = fetch(*selection)
    return [fetched[selection] for selection in wanted]


def _collect(
    selectors: Sequence[Selector | Window],
    subqueries: Sequence[Subquery],
    start_ms: int,
    end_ms: int,
    found: dict[int, Selection],
) -> None:
    for selector in selectors:
        back = selector.range_ms if isinstance(selector, Window) else LOOKBACK_MS
        start, end = start_ms - selector.offset_ms - back, end_ms - selector.offset_ms
        found[selector.source] = Selection(selector.matchers, start, end)
    for subquery in subqueries:
        first, last = subquery.first_and_last(start_ms, end_ms)
        _collect(subquery.selectors, subquery.subqueries, first, last, found)
