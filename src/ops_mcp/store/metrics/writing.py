"""Samples into the file: all of a call's in one transaction, within the bounds."""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import aiosqlite

from ops_mcp.metrics.labels import Labels, value_of
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.observing import Observation
from ops_mcp.store.metrics.chunks import RECENT_MS, grown
from ops_mcp.store.metrics.files import fetched
from ops_mcp.store.metrics.known import Known, KnownSeries, text_of

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
AHEAD_MS = 3_600_000
"""How far in the future a sample may lie: clocks differ, but a stranger's sample must not stand as the newest for years."""

_PUT = "INSERT INTO recent VALUES (?, ?, ?) ON CONFLICT (start_ms, series) DO UPDATE SET data = excluded.data"
_MOST_IN_A_LIST = 5_000


class _Sorted(NamedTuple):
    """Samples by series and moment, and how many lay outside of the time that is kept."""

    by_series: dict[Labels, dict[int, float]]
    left_out: int


async def keep(
    connection: aiosqlite.Connection, known: KnownSeries, samples: Sequence[Observation], terms: MetricTerms, now_ms: int
) -> int:
    """Inside a transaction that has begun. How many samples were left out. `known` learns what is new once it is committed."""
    await known.refresh(connection)
    ordered = _sorted(samples, now_ms - terms.keep_days * DAY_MS, now_ms + AHEAD_MS)
    admitted, new = _admitted(known, ordered.by_series, terms)
    await _insert(connection, new, known.next_id)
    ids = {labels: one.id for labels, one in admitted.items()}
    await _put(connection, {ids[labels]: found for labels, found in ordered.by_series.items() if labels in ids})
    beyond = sum(len(found) for labels, found in ordered.by_series.items() if labels not in ids)
    if beyond:
        log.warning("%d samples were left out: their series are beyond the %d that are kept", beyond, terms.most_series)
    return ordered.left_out + beyond


def _sorted(samples: Sequence[Observation], oldest_ms: int, newest_ms: int) -> _Sorted:
    by_series: dict[Labels, dict[int, float]] = {}
    left_out = 0
    for labels, at, value in samples:
        if oldest_ms <= at <= newest_ms:
            by_series.setdefault(labels, {})[at] = value
        else:
            left_out += 1
    return _Sorted(by_series, left_out)


def _admitted(known: KnownSeries, wanted: Iterable[Labels], terms: MetricTerms) -> tuple[dict[Labels, Known], list[Known]]:
    """The series that may be written, and those of them that are new. The first that come fill what room is left."""
    admitted: dict[Labels, Known] = {}
    new: list[Known] = []
    of_agents: dict[str, int] = {}
    for labels in wanted:
        found = known.get(labels)
        if found is None:
            agent = value_of(labels, "agent")
            taken = of_agents.setdefault(agent, known.of_agent(agent))
            if len(known) + len(new) >= terms.most_series or (agent and taken >= terms.most_series_per_agent):
                continue
            of_agents[agent] = taken + 1
            found = Known(known.next_id + len(new), labels, value_of(labels, "environment"))
            new.append(found)
        admitted[labels] = found
    return admitted, new


async def _insert(connection: aiosqlite.Connection, new: Sequence[Known], first: int) -> None:
    if not new:
        return
    rows = [(one.id, text_of(one.labels), one.environment, 0) for one in new]
    await connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?)", rows)
    await connection.execute("UPDATE meta SET value = ? WHERE name = 'next_series'", (first + len(new),))


async def _put(connection: aiosqlite.Connection, samples: dict[int, dict[int, float]]) -> None:
    blocks: dict[tuple[int, int], dict[int, float]] = {}
    for series, found in samples.items():
        for at, value in found.items():
            blocks.setdefault((at // RECENT_MS * RECENT_MS, series), {})[at] = value
    there = await _there(connection, blocks)
    rows = [
        (start, series, grown(start, there.get((start, series), b""), more)) for (start, series), more in sorted(blocks.items())
    ]
    await connection.executemany(_PUT, rows)
    newest = [(at, series, at) for series, found in samples.items() for at in [max(found)]]
    await connection.executemany("UPDATE series SET newest_ms = ? WHERE id = ? AND newest_ms < ?", newest)


async def _there(connection: aiosqlite.Connection, blocks: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The blocks that are to grow, as they are."""
    by_start: dict[int, list[int]] = {}
    for start, series in blocks:
        by_start.setdefault(start, []).append(series)
    found: dict[tuple[int, int], bytes] = {}
    for start, ids in by_start.items():
        for begin in range(0, len(ids), _MOST_IN_A_LIST):
            some = ",".join(map(str, ids[begin : begin + _MOST_IN_A_LIST]))
            rows = await fetched(
                connection, f"SELECT series, data FROM recent WHERE start_ms = ? AND series IN ({some})", (start,)
            )
            found.update({(start, series): data for series, data in rows})
    return found
