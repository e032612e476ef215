"""The embedded metric store, opened by the first that needs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.ports import Clock

if TYPE_CHECKING:  # a server starts without it: what reads metrics is loaded when somebody does
    import aiosqlite

    from ops_mcp.metrics.exposition import Family
    from ops_mcp.metrics.matchers import Matchers
    from ops_mcp.metrics.query import Selection
    from ops_mcp.metrics.series import Series
    from ops_mcp.observing import Observation
    from ops_mcp.store.metrics.known import Known, KnownSeries

WRITE_SECONDS = 30.0
_FEW = 500


class Seen(NamedTuple):
    """The series that match, each with its newest sample's moment, and what is said of their metrics."""

    series: Sequence[Known]
    newest_ms: dict[int, int]
    families: dict[str, Family]


class _Opened(NamedTuple):
    writer: aiosqlite.Connection
    reader: aiosqlite.Connection
    known: KnownSeries


class MetricStore:
    """Opened at the first use; `aclose` lets go of the file. Any number of processes may use one file.

    Every method raises `Unavailable` with the reason where the file cannot be used, and looks again the next time.
    """

    def __init__(self, path: Path, terms: MetricTerms, clock: Clock) -> None:
        self.terms = terms
        self._path, self._clock = path, clock
        self._held: _Opened | None = None
        self._opening, self._writing = anyio.Lock(), anyio.Lock()

    async def keep(self, samples: Sequence[Observation]) -> int:
        """Store samples; durable when this returns. How many were left out: older than what is kept, further ahead than an hour,
        or of series beyond the bounds. A second sample of one series and moment replaces the first."""
        from ops_mcp.store.metrics import writing

        if not samples:
            return 0
        async with self._transaction() as (connection, known):
            return await writing.keep(connection, known, samples, self.terms, self.now_ms())

    async def read(self, environment: str, wanted: Sequence[Selection]) -> Sequence[Sequence[Series]]:
        """The series of each selection, ordered by labels, with at least the samples that it names."""
        from ops_mcp.store.metrics import reading

        async with self._usable() as held:
            return (await reading.read(held.reader, held.known, environment, wanted)).series

    async def held(self, environment: str, wanted: Sequence[Selection]) -> Sequence[Series]:
        """The series that any of these selections reads, once each."""
        found = {id(one): one for series in await self.read(environment, wanted) for one in series}
        return tuple(found.values())

    async def seen(self, environment: str, matchers: Matchers) -> Seen:
        """What there is in an environment, without its samples."""
        from ops_mcp.metrics.exposition import Family
        from ops_mcp.metrics.names import Kind
        from ops_mcp.store.metrics.files import fetched

        async with self._usable() as held:
            await held.known.refresh(held.reader)
            found = held.known.matching(environment, matchers)
            some = f" AND id IN ({','.join(str(one.id) for one in found)})" if len(found) < _FEW else ""
            newest = await fetched(
                held.reader, f"SELECT id, newest_ms FROM series WHERE environment IN (?, ''){some}", (environment,)
            )
            said = await fetched(held.reader, "SELECT name, kind, help FROM families WHERE environment = ?", (environment,))
            families = {name: Family(name, Kind(kind), text) for name, kind, text in said}
            return Seen(found, {row[0]: row[1] for row in newest}, families)

    async def describe(self, environment: str, families: Sequence[Family]) -> None:
        """What the pages of an environment's targets say of metrics that have series; the newest word counts."""
        async with self._transaction() as (connection, known):
            await known.refresh(connection)  # series are bounded, and the names that a page may speak of are not
            rows = [(environment, one.name, one.kind.value, one.help) for one in families if known.has(one.name)]
            await connection.executemany(
                "INSERT INTO families VALUES (?, ?, ?, ?) ON CONFLICT (environment, name)"
                " DO UPDATE SET kind = excluded.kind, help = excluded.help"
                " WHERE kind <> excluded.kind OR help <> excluded.help",
                rows,
            )

    async def tidy(self) -> None:
        """Forget what is older than is kept, and thin out what is older than is kept whole: as much as there is, in slices."""
        from ops_mcp.store.metrics import thinning

        now = self.now_ms()
        async with self._transaction() as (connection, _):
            await thinning.forget(connection, now - self.terms.keep_days * _DAY_MS)
        before = now - self.terms.thin_after_days * _DAY_MS
        while True:
            async with self._transaction() as (connection, _):
                oldest = await thinning.oldest_to_thin(connection, before)
                if oldest is None:
                    return
                await thinning.thin(connection, *oldest)

    def now(self) -> datetime:
        return self._clock()

    def now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    async def aclose(self) -> None:
        """Let go of the file."""
        held, self._held = self._held, None
        if held is not None:
            from ops_mcp.store.metrics.files import DatabaseTroubles

            for connection in (held.reader, held.writer):
                with suppress(*DatabaseTroubles, ValueError):
                    await connection.close()

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[tuple[aiosqlite.Connection, KnownSeries]]:
        """All or nothing; who is cancelled waits for its end, which is bounded."""
        async with self._writing:
            with anyio.CancelScope(shield=True):
                async with self._usable() as held:
                    await held.writer.execute("BEGIN IMMEDIATE")
                    try:
                        with anyio.fail_after(WRITE_SECONDS):
                            yield held.writer, held.known
                        await held.writer.execute("COMMIT")
                    except BaseException:
                        await held.writer.rollback()
                        raise

    @asynccontextmanager
    async def _usable(self) -> AsyncGenerator[_Opened]:
        from ops_mcp.store.metrics.files import DatabaseTroubles, unavailable

        try:
            yield await self._open()
        except (*DatabaseTroubles, TimeoutError) as error:
            await self.aclose()
            raise unavailable(error, self._path) from error
        except ValueError as error:
            if self._held is not None:
                raise
            raise unavailable(error, self._path) from error  # somebody else's trouble closed the connection that this one used

    async def _open(self) -> _Opened:
        from ops_mcp.store.metrics import files
        from ops_mcp.store.metrics.known import KnownSeries

        async with self._opening:
            if self._held is None:
                writer = await files.writer(self._path)
                try:
                    reader = await files.reader(self._path)
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await writer.close()
                    raise
                self._held = _Opened(writer, reader, KnownSeries())
            return self._held


_DAY_MS = int(timedelta(days=1).total_seconds() * 1000)
