"""Series out of the file: which blocks to read, and the samples in them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import aiosqlite
from anyio import to_thread

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import Labels
from ops_mcp.metrics.query import Selection
from ops_mcp.metrics.series import Series
from ops_mcp.store.metrics.chunks import RECENT_MS, THINNED_MS, unpacked
from ops_mcp.store.metrics.files import fetched
from ops_mcp.store.metrics.known import Known, KnownSeries
from ops_mcp.store.transaction import Row

T = TypeVar("T")

MOST_BLOCKS = 100_000
"""Blocks that one query may read: some 4 million samples."""

_SEEKS = 20_000
"""Beyond so many places to look at, a stretch of the table is read from one end to the other."""

_LONG = 200
"""From so many selections or blocks on, the work is done beside the event loop."""


class Span(NamedTuple):
    """From one moment to another, in milliseconds, both included."""

    start_ms: int
    end_ms: int


class Found(NamedTuple):
    """Per selection, its series in the order of their labels; a series that several select is one and the same."""

    series: Sequence[Sequence[Series]]


async def read(connection: aiosqlite.Connection, known: KnownSeries, environment: str, wanted: Sequence[Selection]) -> Found:
    """The series of every selection, with at least its samples. Raises `InvalidArguments` where that is too much."""
    await known.refresh(connection)
    matched = await aside(lambda: _matched(known, environment, wanted), long=len(wanted) >= _LONG or len(known) > _LONG)
    spans: dict[Span, list[Known]] = {}
    for one, span in _spans(matched, wanted).items():
        spans.setdefault(span, []).append(one)
    rows: list[Row] = []
    for span, series in spans.items():
        ids = sorted(one.id for one in series)
        for table, length in (("thinned", THINNED_MS), ("recent", RECENT_MS)):
            rows += await _rows(connection, table, length, span, ids, len(known))
            _refuse_beyond(len(rows))
    labels = {one.id: one.labels for series in spans.values() for one in series}
    built = await aside(lambda: _built(rows, labels), long=len(rows) > _LONG)
    return Found([[built[one.id] for one in series if one.id in built] for series in matched])


async def aside(work: Callable[[], T], *, long: bool) -> T:
    """Do it here, or, where it takes long, in a thread beside the event loop."""
    return await to_thread.run_sync(work, abandon_on_cancel=True) if long else work()


def _matched(known: KnownSeries, environment: str, wanted: Sequence[Selection]) -> list[Sequence[Known]]:
    return [known.matching(environment, selection.matchers) for selection in wanted]


def _spans(matched: Sequence[Sequence[Known]], wanted: Sequence[Selection]) -> dict[Known, Span]:
    """The whole time for which each series is read."""
    ends: dict[int, tuple[Known, int, int]] = {}
    for series, (_, start, end) in zip(matched, wanted, strict=True):
        for one in series:
            before = ends.get(one.id)
            ends[one.id] = (one, start, end) if before is None else (one, min(start, before[1]), max(end, before[2]))
    return {one: _whole(start, end) for one, start, end in ends.values()}


def _whole(start_ms: int, end_ms: int) -> Span:
    """To the borders of blocks, so that series whose spans differ little are read together."""
    return Span(start_ms // RECENT_MS * RECENT_MS, end_ms // RECENT_MS * RECENT_MS + RECENT_MS - 1)


async def _rows(
    connection: aiosqlite.Connection, table: str, length: int, span: Span, ids: Sequence[int], of: int
) -> Sequence[Row]:
    """Rows of start, series and data; the oldest first for each series."""
    first, last = span.start_ms // length * length, span.end_ms // length * length
    series = ",".join(map(str, ids))
    places = (last - first) // length + 1
    if places * len(ids) <= _SEEKS and len(ids) * 2 < of:
        starts = ",".join(map(str, range(first, last + 1, length)))
        where = f"start_ms IN ({starts}) AND series IN ({series})"
    elif len(ids) < of:
        where = f"start_ms BETWEEN {first} AND {last} AND +series IN ({series})"
    else:
        where = f"start_ms BETWEEN {first} AND {last}"
    return await fetched(
        connection, f"SELECT start_ms, series, data FROM {table} WHERE {where} ORDER BY start_ms LIMIT {MOST_BLOCKS + 1}"
    )


def _refuse_beyond(count: int) -> None:
    if count > MOST_BLOCKS:
        raise InvalidArguments(
            f"The expression would read more than {MOST_BLOCKS:,} blocks of samples, each some minutes of one series.",
            hint="Narrow the selectors with labels, or shorten the range.",
        )


def _built(rows: Iterable[Row], labels: dict[int, Labels]) -> dict[int, Series]:
    """One series each. Rows of one are in the order of time, but for samples that came late, after their time was thinned out."""
    parts: dict[int, tuple[list[int], list[float]]] = {}
    unordered: set[int] = set()
    for start, series, data in rows:
        if series not in labels:
            continue
        more_times, more_values = unpacked(start, data)
        before = parts.get(series)
        if before is None:
            parts[series] = (more_times, more_values.tolist())
            continue
        times, values = before
        if times[-1] >= more_times[0]:
            unordered.add(series)
        times += more_times
        values.extend(more_values)
    for series in unordered:
        merged = dict(zip(*parts[series], strict=True))
        times = sorted(merged)
        parts[series] = (times, [merged[at] for at in times])
    return {series: Series(labels[series], times, values) for series, (times, values) in parts.items()}
