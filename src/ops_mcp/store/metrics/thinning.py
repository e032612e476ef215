"""What old samples come to: thinned out after some days, forgotten after some more, a slice at a time."""

import aiosqlite

from ops_mcp.metrics.downsampling import thinned
from ops_mcp.store.metrics.chunks import RECENT_MS, THINNED_MS, Samples, packed, unpacked
from ops_mcp.store.metrics.files import fetched

SLICE = 500
"""How many series are thinned out in one transaction: whoever wants to write waits that long."""

_PUT = "INSERT INTO thinned VALUES (?, ?, ?) ON CONFLICT (start_ms, series) DO UPDATE SET data = excluded.data"


async def oldest_to_thin(connection: aiosqlite.Connection, before_ms: int) -> tuple[int, int] | None:
    """Where the oldest block of samples as they came lies in a stretch that is over by then: its start, and its first series."""
    rows = await fetched(connection, "SELECT start_ms, series FROM recent ORDER BY start_ms, series LIMIT 1")
    if not rows or rows[0][0] // THINNED_MS * THINNED_MS + THINNED_MS > before_ms:
        return None
    stretch = rows[0][0] // THINNED_MS * THINNED_MS
    starts = ",".join(map(str, range(stretch, stretch + THINNED_MS, RECENT_MS)))
    ((first,),) = await fetched(connection, f"SELECT MIN(series) FROM recent WHERE start_ms IN ({starts})")
    return stretch, first


async def thin(connection: aiosqlite.Connection, stretch: int, first: int) -> None:
    """Inside a transaction: one slice of series, from `first` on, of one stretch."""
    starts = ",".join(map(str, range(stretch, stretch + THINNED_MS, RECENT_MS)))
    where = f"start_ms IN ({starts}) AND series BETWEEN {first} AND {first + SLICE - 1}"
    raw = await fetched(connection, f"SELECT start_ms, series, data FROM recent WHERE {where}")
    already = await fetched(
        connection,
        "SELECT start_ms, series, data FROM thinned WHERE start_ms = ? AND series BETWEEN ? AND ?",
        (stretch, first, first + SLICE - 1),
    )
    samples: dict[int, dict[int, float]] = {}
    for start, series, data in (*already, *raw):
        samples.setdefault(series, {}).update(zip(*unpacked(start, data), strict=True))
    rows: list[tuple[int, int, bytes]] = []
    for series, found in samples.items():
        times = sorted(found)
        kept = thinned(times, [found[at] for at in times])
        rows.append((stretch, series, packed(stretch, Samples(*kept))))
    await connection.executemany(_PUT, rows)
    await connection.execute(f"DELETE FROM recent WHERE {where}")


async def forget(connection: aiosqlite.Connection, before_ms: int) -> int:
    """Inside a transaction: blocks that are over by then, and series that have none left; how many series went."""
    for table, length in (("recent", RECENT_MS), ("thinned", THINNED_MS)):
        await connection.execute(f"DELETE FROM {table} WHERE start_ms <= ?", (before_ms - length,))
    gone = await fetched(connection, "SELECT id FROM series WHERE newest_ms < ?", (before_ms - THINNED_MS,))
    if not gone:
        return 0
    await connection.executemany("DELETE FROM series WHERE id = ?", gone)
    await connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
    await connection.execute(
        "DELETE FROM families WHERE NOT EXISTS (SELECT 1 FROM series s WHERE s.environment = families.environment)"
    )
    return len(gone)
