"""The one seam to SQL: every governed write is a unit of work queued to one writer thread; every other connection only reads.

The writer commits whatever is waiting in one transaction (group commit). Processes take turns by an advisory lock beside the
file, because closed-loop writers starve each other when SQLite's busy timeout alone decides who goes next.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, cast

import aiosqlite
import anyio

from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import OpsError, Unavailable
from ops_mcp.store.chain import Head, Signer, chained, signed_head
from ops_mcp.store.schema import SCHEMA_VERSION, prepare
from ops_mcp.values import canonical

SqlValue: TypeAlias = None | int | float | str | bytes
Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

LAZY_SECONDS = 0.010
"""How long a lazy write may wait for company."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long to wait for the writers' lock, and the least free space for writes that are not vital."""

    lock_seconds: float = 5.0
    free_space_floor_bytes: int = 0


class Transaction:
    """What a unit of work may do. Valid only while the unit runs, in the writer thread, inside its own savepoint."""

    __slots__ = ("_connection", "_head", "_appended")

    def __init__(self, connection: sqlite3.Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._appended = False

    def fetch(self, sql: str, *params: SqlValue) -> list[Row]:
        """All rows of a query, as of this transaction."""
        return self._connection.execute(sql, params).fetchall()

    def execute(self, sql: str, *params: SqlValue) -> int:
        """Run a statement; the number of rows it changed."""
        return self._connection.execute(sql, params).rowcount

    def record(self, record: Record) -> int:
        """Append to the ledger; the record's number. Committed and signed with everything else in this transaction."""
        return self.append(canonical({"v": 1, **record.json_value()}))

    def append(self, body: bytes) -> int:
        """Append a record whose canonical body was built before the transaction."""
        number, link = self._head.number + 1, chained(self._head.hash, body)
        self._connection.execute("INSERT INTO ledger (id, body, hash) VALUES (?, ?, ?)", (number, body.decode(), link))
        self._head = Head(number, link)
        self._appended = True
        return number


@dataclass(eq=False, slots=True)
class _Work(Generic[T]):
    """A queued unit. Whoever takes `claim` first decides: the writer to run it, or its caller to abandon it."""

    unit: Callable[[Transaction], T]
    done: "asyncio.Future[T] | None"
    vital: bool
    claim: threading.Lock = field(default_factory=threading.Lock)
    value: T | None = None
    error: BaseException | None = None
    finished: bool = False

    def finish(self, value: T | None, error: BaseException | None) -> None:
        self.value, self.error, self.finished = value, error, True


AnyWork: TypeAlias = _Work[Any]


class Database:
    """The governed database of one process. Opening it never fails: what is wrong is said by each write and by `trouble`."""

    def __init__(self, path: Path, signer: Callable[[sqlite3.Connection], Signer], terms: Terms) -> None:
        self.path = path
        self.terms = terms
        self.trouble = ""
        self._signer = signer
        self._queue: queue.SimpleQueue[AnyWork | None] = queue.SimpleQueue()
        self._later: list[AnyWork] = []
        self._timer: asyncio.TimerHandle | None = None
        self._reader: aiosqlite.Connection | None = None
        self._reader_lock = anyio.Lock()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_forever, name="ledger-writer", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, signer: Callable[[sqlite3.Connection], Signer], terms: Terms | None = None
    ) -> AsyncGenerator["Database"]:
        """Open the database and its writer; leaving the context commits what was queued and closes both."""
        database = cls(path, signer, terms or Terms())
        database._thread.start()
        try:
            yield database
        finally:
            with anyio.move_on_after(1.5, shield=True):
                await database._close()

    async def fetch(self, sql: str, *params: SqlValue) -> list[Row]:
        """All rows of a query on the read-only connection. Raises `Unavailable` with the reason when it cannot be read."""
        try:
            reader = await self._open_reader()
            async with reader.execute(sql, params) as cursor:
                return cast(list[Row], await cursor.fetchall())
        except sqlite3.Error as error:
            self._reader = None
            raise unavailable(error) from error

    async def write(self, unit: Callable[[Transaction], T], *, vital: bool = False) -> T:
        """Run a unit of work; durable when this returns. `vital` ones also run below the free-space floor.

        Raises what the unit raises (then it left nothing behind), or `Unavailable` when it could not be written in time. A
        caller that is cancelled before the writer took the unit up leaves nothing behind either; after that it waits.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        work = _Work(unit, done, vital)
        self._submit(work)
        expiry = self._loop.call_later(self.terms.lock_seconds, _abandon, work)
        try:
            return await done
        except asyncio.CancelledError:
            if not work.claim.acquire(blocking=False):
                await self._finish_shielded(work)
            raise
        finally:
            expiry.cancel()

    def write_later(self, unit: Callable[[Transaction], object]) -> None:
        """Queue a vital unit to ride in the next batch, within 10 ms. A crash before that loses it; failures are logged."""
        self._later.append(_Work(unit, None, vital=True))
        if self._timer is None:
            self._timer = self._loop.call_later(LAZY_SECONDS, self._flush)

    async def _finish_shielded(self, work: AnyWork) -> None:
        with anyio.move_on_after(self.terms.lock_seconds, shield=True):
            while not work.finished:
                await anyio.sleep(0.001)

    def _submit(self, work: AnyWork) -> None:
        self._flush()
        self._queue.put(work)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for work in self._later:
            self._queue.put(work)
        self._later.clear()

    async def _open_reader(self) -> aiosqlite.Connection:
        if self._reader is None:
            async with self._reader_lock:
                if self._reader is None:
                    if not self.path.exists():
                        await self.write(lambda _: None, vital=True)
                    reader = await aiosqlite.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
                    await reader.execute("PRAGMA query_only = 1")
                    await reader.execute("PRAGMA busy_timeout = 5000")
                    self._reader = reader
        return self._reader

    async def _close(self) -> None:
        self._flush()
        self._queue.put(None)
        while self._thread.is_alive():
            await anyio.sleep(0.001)
        if self._reader is not None:
            await self._reader.close()

    # Everything below runs in the writer thread.

    def _write_forever(self) -> None:
        connection: sqlite3.Connection | None = None
        signer: Signer | None = None
        with contextlib.closing(_LockFile(self.path.with_suffix(".lock"))) as lock:
            while True:
                batch, last = self._next_batch()
                if batch:
                    try:
                        with lock:
                            if connection is None or signer is None:
                                connection = _connect(self.path)
                                signer = self._signer(connection)
                            _refuse_below_floor(batch, self.path, self.terms.free_space_floor_bytes)
                            _commit(connection, signer, batch)
                        self.trouble = ""
                    except (sqlite3.Error, OSError, OpsError) as error:
                        connection = self._fail(connection, batch, error)
                    self._report(batch)
                if last:
                    break
        if connection is not None:
            connection.close()

    def _next_batch(self) -> tuple[list[AnyWork], bool]:
        waiting = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(self._queue.get_nowait())
        return [w for w in waiting if w is not None], None in waiting

    def _fail(self, connection: sqlite3.Connection | None, batch: Sequence[AnyWork], error: Exception) -> None:
        """Nothing of the batch was committed. The connection is dropped, so that the next batch looks again."""
        failure = error if isinstance(error, OpsError) else unavailable(error)
        self.trouble = failure.message
        for work in batch:
            work.claim.acquire(blocking=False)
            work.finish(None, failure)
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _report(self, batch: Sequence[AnyWork]) -> None:
        for work in batch:
            if work.done is None and work.error is not None:
                log.error("a settlement could not be written: %s", work.error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, batch)


def unavailable(error: Exception) -> Unavailable:
    """An outside storage error in ops-mcp's own words."""
    text = str(error)
    known = {
        "database is locked": "another process holds the database",
        "attempt to write a readonly database": "the database file is read-only",
        "database or disk is full": "the disk is full",
        "disk I/O error": "the disk reports an I/O error",
        "file is not a database": "the database file is corrupt",
        "database disk image is malformed": "the database file is corrupt",
        "unable to open database file": "the database file cannot be opened",
    }
    why = next((said for shown, said in known.items() if shown in text), text)
    return Unavailable(
        f"The ledger cannot be written: {why}.",
        hint="Nothing that changes anything runs until this is mended. An operator can run `ops-mcp doctor`.",
        retry_after_seconds=5.0,
    )


def _commit(connection: sqlite3.Connection, signer: Signer, batch: Sequence[AnyWork]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = _read_head(connection)
        head = before
        for work in batch:
            if work.claim.acquire(blocking=False):
                head = _run(connection, head, work)
        if head.number != before.number:
            signed = signed_head(signer, head)
            connection.execute(
                "INSERT INTO ledger_heads (id, hash, key, signature) VALUES (?, ?, ?, ?)",
                (signed.number, signed.hash, signed.key, signed.signature),
            )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, head: Head, work: AnyWork) -> Head:
    """Run one unit in its own savepoint; what it raises undoes it alone and goes to its caller."""
    connection.execute("SAVEPOINT unit")
    transaction = Transaction(connection, head)
    try:
        value = work.unit(transaction)
    except sqlite3.OperationalError:
        raise
    except Exception as error:  # noqa: BLE001  # a unit's own error belongs to its caller, and must not take the batch along
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")
        work.finish(None, error)
        return head
    connection.execute("RELEASE unit")
    work.finish(value, None)
    return transaction._head  # pyright: ignore[reportPrivateUsage]  # the transaction is this module's own


def _read_head(connection: sqlite3.Connection) -> Head:
    row = connection.execute("SELECT id, hash FROM ledger ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        row = connection.execute(
            "SELECT last_id, json_extract(body, '$.last_hash') FROM ledger_stubs ORDER BY last_id DESC LIMIT 1"
        ).fetchone()
    return Head(*row) if row else Head.genesis()


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        path.chmod(0o600)
        prepare(connection, SCHEMA_VERSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_below_floor(batch: Sequence[AnyWork], path: Path, floor: int) -> None:
    if not floor:
        return
    space = os.statvfs(path.parent)
    if space.f_bavail * space.f_frsize >= floor:
        return
    refusal = Unavailable(
        "The disk is nearly full: only settlements, steps in progress, undo, freeze, kill and retention are written.",
        hint="An operator must free space or run `ops-mcp audit retain`.",
        retry_after_seconds=60.0,
    )
    for work in batch:
        if not work.vital and work.claim.acquire(blocking=False):
            work.finish(None, refusal)


def _abandon(work: AnyWork) -> None:
    if work.claim.acquire(blocking=False) and work.done is not None and not work.done.done():
        work.done.set_exception(unavailable(sqlite3.OperationalError("database is locked")))


def _resolve(batch: Sequence[AnyWork]) -> None:
    for work in batch:
        if work.done is None or work.done.done():
            continue
        if work.error is not None:
            work.done.set_exception(work.error)
        else:
            work.done.set_result(work.value)


class _LockFile:
    """The advisory lock beside the database; held for one batch at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


__all__ = ["Database", "Row", "SqlValue", "Terms", "Transaction", "unavailable"]
