"""The file of the log store: its tables, how it is opened, and what keeps it from being used, in our own words."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops_mcp.errors import Unavailable

VERSION = 1

_SCHEMA = """
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, environment TEXT NOT NULL, service TEXT NOT NULL, deployment TEXT NOT NULL, origin TEXT NOT NULL,
    numbered INTEGER NOT NULL DEFAULT 0,
    UNIQUE (environment, service, deployment, origin)
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, level INTEGER NOT NULL, first_number INTEGER NOT NULL,
    records INTEGER NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL, worst INTEGER NOT NULL,
    ascii INTEGER NOT NULL, packed INTEGER NOT NULL, bytes INTEGER NOT NULL, marks BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX chunks_by_time ON chunks (stream, last_us, first_us, worst);
CREATE INDEX chunks_by_level ON chunks (stream, level, first_number);
CREATE INDEX chunks_by_age ON chunks (packed, last_us);
CREATE TABLE positions (
    environment TEXT NOT NULL, service TEXT NOT NULL, deployment TEXT NOT NULL, revision INTEGER NOT NULL, position TEXT NOT NULL,
    open TEXT NOT NULL, ended INTEGER NOT NULL, read_us INTEGER NOT NULL,
    PRIMARY KEY (environment, service, deployment)
) WITHOUT ROWID;
CREATE TABLE services (
    id INTEGER PRIMARY KEY, environment TEXT NOT NULL, service TEXT NOT NULL, memory BLOB NOT NULL, revision INTEGER NOT NULL,
    UNIQUE (environment, service)
);
CREATE TABLE counts (
    service INTEGER NOT NULL, minute INTEGER NOT NULL, template TEXT NOT NULL, severity INTEGER NOT NULL,
    records INTEGER NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
    PRIMARY KEY (service, minute, template, severity)
) WITHOUT ROWID;
CREATE TABLE watches (service INTEGER NOT NULL, since_us INTEGER NOT NULL, until_us INTEGER NOT NULL,
    PRIMARY KEY (service, since_us)) WITHOUT ROWID;
"""

_BUSY_SECONDS = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def opened(path: Path) -> sqlite3.Connection:
    """The file to write in, made if it is not there. The caller holds it in one thread at a time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Before SQLite opens it: what it puts beside the file has the file's rights.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            # In this order: both can only be chosen before the first table.
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # What the last moments before a power failure held is read again: lines and positions go together.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -8000")
        _migrated(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrated(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise Unavailable("The log store was written by a newer ops-mcp.", hint="Update ops-mcp here.")
        if not version:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")


def read_only(path: Path) -> sqlite3.Connection | None:
    """The file to read in; None where it, or what it is to hold, is not there yet."""
    if not path.exists():
        return None
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0]:
            connection.execute("PRAGMA query_only = 1")
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


@contextmanager
def transaction(connection: sqlite3.Connection, *, reads: bool = False) -> Generator[sqlite3.Connection]:
    """All of it or nothing; a reading one sees one state of the file throughout."""
    connection.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def translated(doing: str) -> Generator[None]:
    """Raises `Unavailable` for what SQLite or the disk says. `doing`: read or written."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            f"The log store cannot be {doing}: {_why(error)}.",
            hint="An operator can free space or look at the state directory; collecting goes on by itself once it can.",
            retry_after_seconds=5.0,
        ) from error


def is_corrupt(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def set_aside(path: Path) -> Path:
    """Give a file that cannot be read another name, in place of one set aside before, so that a new one can begin."""
    aside = path.with_suffix(".corrupt.db")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.replace(aside)
    return aside


def microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _why(error: sqlite3.Error | OSError) -> str:
    if is_corrupt(error):
        return "its file is corrupt"
    text = str(error)
    known = {
        "database is locked": "another process holds it",
        "readonly": "its file is read-only",
        "disk is full": "the disk is full",
        "No space left": "the disk is full",
        "disk I/O error": "the disk reports an I/O error",
        "unable to open": "its file cannot be opened",
        "Permission denied": "its file cannot be opened",
        "no such table": "its file is not one of ops-mcp's",
    }
    return next((said for shown, said in known.items() if shown in text), type(error).__name__)
