"""The database's files: opened privately and prepared, and the advisory lock beside them by which processes take turns."""

import fcntl
import os
import sqlite3
import stat
from pathlib import Path

from ops_mcp.store.schema import SCHEMA_VERSION, prepare


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
