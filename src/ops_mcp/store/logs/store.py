"""The embedded log store, opened by the first that needs it: one file that the worker writes and every process reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a server that nobody asks for logs must start fast: what reads and writes them is loaded by the first use
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from ops_mcp.domain.places import EnvironmentName, ServiceName
    from ops_mcp.logs.anomalies import History
    from ops_mcp.logs.settings import LogTerms
    from ops_mcp.observing import LogSearch, LogsMatched, TemplateCount
    from ops_mcp.ports import Clock
    from ops_mcp.store.logs.appending import Batch, Position
    from ops_mcp.store.logs.file import LogFile
    from ops_mcp.store.logs.keeping import Kept
    from ops_mcp.store.logs.searching import Limits


class LogStore:
    """Opened at the first use; `aclose` lets go of the file. Where nothing was collected yet, every answer is empty.

    Satisfies `LogSource`. Raises `Unavailable` for what the disk says; one process at a time may `append` and `keep`.
    """

    name = "embedded"

    def __init__(self, path: Path, terms: LogTerms, clock: Clock, *, limits: Limits | None = None) -> None:
        self._path, self._terms, self._clock, self._limits = path, terms, clock, limits
        self._file: LogFile | None = None

    async def search(self, wanted: LogSearch) -> LogsMatched:
        """Records in the order of their time. A cursor goes on behind the last one shown, whatever is stored meanwhile."""
        return await self._opened().search(wanted)

    async def templates(
        self, environment: EnvironmentName, service: ServiceName | None, since: datetime, until: datetime
    ) -> Sequence[TemplateCount]:
        """Templates of whole minutes (`since` rounded down, `until` up) with their counts, the most frequent first."""
        return await self._opened().templates(environment, service, since, until)

    async def history(
        self, environment: EnvironmentName, service: ServiceName, *, until: datetime, buckets: int = 360
    ) -> History:
        """Counts of each complete minute before `until`; those in which nobody collected are `unwatched`."""
        return await self._opened().history(environment, service, until, buckets)

    async def positions(self) -> Mapping[tuple[str, str, str], Position]:
        """How far the lines of each environment, service and deployment are read."""
        return await self._opened().positions()

    async def append(self, batch: Batch) -> Sequence[Position]:
        """Store records with the positions behind them: all or nothing, durable when this returns. The positions as stored.

        Raises `Conflict` when another collector has read on from one of these positions; then nothing was stored.
        """
        return await self._opened().append(batch)

    async def keep(self) -> Kept:
        """Pack what is old, delete what is too old, and the oldest when the store is too large: a bounded piece of it."""
        return await self._opened().keep(self._terms, self._clock())

    async def aclose(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            await file.aclose()

    def _opened(self) -> LogFile:
        if self._file is None:
            from ops_mcp.store.logs.file import LogFile
            from ops_mcp.store.logs.searching import Limits

            self._file = LogFile(self._path, self._limits or Limits())
        return self._file
