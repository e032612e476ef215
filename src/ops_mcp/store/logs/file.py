"""The store's file in the hands of one process. SQLite and searching block, so they run in threads beside the event loop."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from ops_mcp.logs.anomalies import History
from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import LogSearch, LogsMatched, TemplateCount
from ops_mcp.store.logs import appending, counting, keeping
from ops_mcp.store.logs.appending import Batch, Position
from ops_mcp.store.logs.keeping import Kept
from ops_mcp.store.logs.mining import Miners
from ops_mcp.store.logs.patterns import matching
from ops_mcp.store.logs.schema import is_corrupt, moment, opened, read_only, set_aside, transaction, translated
from ops_mcp.store.logs.searching import Limits, Search

T = TypeVar("T")
log = logging.getLogger(__name__)

_MOST_AT_ONCE, _MOST_READERS = 8, 4


class LogFile:
    """Reads go through connections of their own that see one state each; writes take turns on one."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._readers: list[tuple[int, sqlite3.Connection]] = []
        self._writer: tuple[int, sqlite3.Connection] | None = None
        self._miners = Miners()
        self._known = counting.Known()
        self._turn = anyio.Lock()
        self._threads = anyio.CapacityLimiter(_MOST_AT_ONCE)
        self._is_closed = False

    async def search(self, wanted: LogSearch) -> LogsMatched:
        stop = threading.Event()
        try:
            return await self._in_thread(lambda: self._search(wanted, stop))
        finally:
            stop.set()

    async def templates(self, environment: str, service: str | None, since: datetime, until: datetime) -> Sequence[TemplateCount]:
        read = partial(counting.templates, known=self._known, environment=environment, service=service, since=since, until=until)
        return await self._in_thread(lambda: self._read(read, ()))

    async def history(self, environment: str, service: str, until: datetime, buckets: int) -> History:
        read = partial(
            counting.history, known=self._known, environment=environment, service=service, until=until, buckets=buckets
        )
        nothing = counting.nothing(until, buckets)
        return await self._in_thread(lambda: self._read(read, nothing))

    async def positions(self) -> Mapping[tuple[str, str, str], Position]:
        """For who writes: a file that cannot be read is set aside by this as well."""
        return await self._in_turn(_positions) if self._path.exists() else {}

    async def append(self, batch: Batch) -> Sequence[Position]:
        return await self._in_turn(lambda connection: self._append(connection, batch))

    async def keep(self, terms: LogTerms, now: datetime) -> Kept:
        if not self._path.exists():
            return Kept()
        return await self._in_turn(lambda connection: keeping.keep(connection, terms, now))

    async def aclose(self) -> None:
        self._is_closed = True
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close)

    def _search(self, wanted: LogSearch, stop: threading.Event) -> LogsMatched:
        with matching(wanted.pattern) if wanted.pattern is not None else nullcontext() as matches:
            search = Search(wanted, self._limits, stop, matches)
            return self._read(search.run, LogsMatched((), 0, counted=True))

    async def _in_thread(self, doing: Callable[[], T]) -> T:
        return await to_thread.run_sync(doing, abandon_on_cancel=True, limiter=self._threads)

    async def _in_turn(self, doing: Callable[[sqlite3.Connection], T]) -> T:
        """What is begun is finished, also when nobody waits for it any more; SQLite's own patience bounds it."""
        async with self._turn:
            return await to_thread.run_sync(self._write, doing)

    # Everything below runs in threads.

    def _read(self, doing: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        with translated("read"), self._reader() as connection:
            if connection is None:
                return nothing
            with transaction(connection, reads=True):
                return doing(connection)

    @contextmanager
    def _reader(self) -> Generator[sqlite3.Connection | None]:
        """One that nobody else has. It goes back only where nothing went wrong."""
        inode = _inode(self._path)
        while self._readers:
            kept, connection = self._readers.pop()
            if kept == inode:
                break
            connection.close()
        else:
            connection = read_only(self._path)
        try:
            yield connection
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        if connection is None:
            return
        if self._is_closed or len(self._readers) >= _MOST_READERS:
            connection.close()
        else:
            self._readers.append((inode, connection))

    def _write(self, doing: Callable[[sqlite3.Connection], T]) -> T:
        with translated("written"):
            try:
                return doing(self._opened())
            except BaseException as error:
                self._let_go()
                if is_corrupt(error):
                    log.error("the log store is corrupt; %s is left for a look, and a new one begins", set_aside(self._path))  # noqa: TRY400
                raise

    def _append(self, connection: sqlite3.Connection, batch: Batch) -> Sequence[Position]:
        with transaction(connection):
            return appending.append(connection, self._miners, batch)

    def _opened(self) -> sqlite3.Connection:
        if self._writer is not None and self._writer[0] != _inode(self._path):
            self._let_go()
        if self._writer is None:
            connection = opened(self._path)
            self._writer = (_inode(self._path), connection)
        return self._writer[1]

    def _let_go(self) -> None:
        """Also of what the miners counted: it was not stored, and is counted again."""
        self._miners = Miners()
        if self._writer is not None:
            self._writer[1].close()
            self._writer = None

    def _close(self) -> None:
        while self._readers:
            self._readers.pop()[1].close()
        self._let_go()  # the last, which folds the write-ahead log into the file


def _positions(connection: sqlite3.Connection) -> Mapping[tuple[str, str, str], Position]:
    rows = connection.execute("SELECT environment, service, deployment, position, open, ended, revision, read_us FROM positions")
    return {
        (environment, service, deployment): Position(position, open, bool(ended), revision, moment(read))
        for environment, service, deployment, position, open, ended, revision, read in rows
    }


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
