"""The embedded database's files: opened privately and prepared, read, and the advisory lock beside them by which processes take
turns."""

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import aiosqlite
import anyio

from ops_mcp.errors import Unavailable
from ops_mcp.store.batches import FreeSpace
from ops_mcp.store.chain import Signer
from ops_mcp.store.outages import unavailable
from ops_mcp.store.schema import SCHEMA_VERSION, prepare, refuse_newer
from ops_mcp.store.seam import Connection, Row, SqlValue
from ops_mcp.store.transaction import Writing

_BUSY_PAUSE_SECONDS = 0.002
_FOLD_AT_PAGES = 1000


class FileWriting(Writing):
    """Batches in a file."""

    def __init__(self, path: Path, connection: sqlite3.Connection, signer: Signer) -> None:
        super().__init__(connection, signer)
        self._path = path
        self._log: int | None = None

    def begin(self, *, seconds: float, durable: bool = True) -> None:
        """One that is not durable leaves it to others, too, to fold the log into the file."""
        if durable is not self._durable:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self.connection.execute(f"PRAGMA wal_autocheckpoint = {_FOLD_AT_PAGES if durable else 0}")
            self._durable = durable
        until = time.monotonic() + seconds
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= until:
                    raise
                time.sleep(_BUSY_PAUSE_SECONDS)
            else:
                return

    def version(self) -> int:
        return self.connection.execute("PRAGMA data_version").fetchone()[0]

    def refuse_other_schema(self) -> None:
        refuse_newer(self.connection, SCHEMA_VERSION)

    def is_the_databases(self, error: Exception) -> bool:
        """Locked, full, read-only, or (a plain `DatabaseError`) corrupt."""
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError

    def log_file(self) -> int:
        """The write-ahead log, opened to be made durable. Raises `OSError`."""
        if self._log is None:
            self._log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        return self._log

    def close(self) -> None:
        super().close()
        if self._log is not None:
            os.close(self._log)
            self._log = None


class FileStorage:
    """`seam.Storage` in a file. `create` makes it, where somebody reads it before anybody wrote."""

    def __init__(self, path: Path, signer: Callable[[Connection], Signer], create: Callable[[], Awaitable[None]]) -> None:
        self._path = path
        self._signer = signer
        self._create = create
        self._lock = LockFile(path.with_suffix(".lock"))
        self._space = FreeSpace(path.parent)
        self._reader: aiosqlite.Connection | None = None
        self._reader_lock = anyio.Lock()
        self.take_turn, self.take_turn_if_free = self._lock.take, self._lock.take_if_free
        self.give_turn_back, self.close = self._lock.give_back, self._lock.close
        self.refuse_below = self._space.refuse_below

    async def fetch(self, sql: str, params: Sequence[SqlValue]) -> list[Row]:
        try:
            reader = await self._open_reader()
            return cast(list[Row], await reader.execute_fetchall(sql, params))
        except sqlite3.Error as error:
            await self.close_readers()
            raise unavailable(error) from error

    async def close_readers(self) -> None:
        """Close what failed, so that the next read looks again: its thread would keep the process from ending."""
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(sqlite3.Error):
                await reader.close()

    def open(self, *, doubtful: bool) -> FileWriting:
        connection = connect(self._path)
        try:
            if doubtful:
                fold(connection)
            return FileWriting(self._path, connection, self._signer(connection))
        except BaseException:
            connection.close()
            raise

    def unavailable(self, error: Exception) -> Unavailable:
        return unavailable(error)

    async def _open_reader(self) -> aiosqlite.Connection:
        if self._reader is None:
            async with self._reader_lock:
                if self._reader is None:
                    if not self._path.exists():
                        await self._create()
                    self._reader = await aiosqlite.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)
                    await self._reader.execute("PRAGMA query_only = 1")
                    await self._reader.execute("PRAGMA busy_timeout = 5000")
        return self._reader


def connect(path: Path) -> sqlite3.Connection:
    """The writer's connection, at this release's schema. A file that exists keeps its mode, but for what others may do."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _keep_private(path)
    # Its batches run in the event loop's thread or in the writer's, never in both at once.
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=5.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        prepare(connection, SCHEMA_VERSION)
        connection.execute("PRAGMA busy_timeout = 0")  # who waits for another writer decides where: see Database
    except BaseException:
        connection.close()
        raise
    return connection


def fold(connection: sqlite3.Connection) -> None:
    """Write all of the write-ahead log into the file, durably. Raises `sqlite3.OperationalError` while somebody reads it."""
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise sqlite3.OperationalError("database is locked")


def _keep_private(path: Path) -> None:
    """SQLite gives the files beside it the mode of this one. Who made it read-only meant it: only others lose what they had."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return
    if mode & 0o077:
        path.chmod(mode & 0o700)


class LockFile:
    """The advisory lock beside the database; held for one batch at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> None:
        """Wait for our turn."""
        fcntl.flock(self._opened(), fcntl.LOCK_EX)

    def take_if_free(self) -> bool:
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _opened(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file

    def give_back(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
