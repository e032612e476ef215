"""The file of samples: opened privately, prepared, and what SQLite says of it in our own words."""

import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import aiosqlite

from ops_mcp.errors import Unavailable
from ops_mcp.store.transaction import Row

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE, environment TEXT NOT NULL, newest_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS series_environment ON series (environment);
CREATE TABLE IF NOT EXISTS recent (
    start_ms INTEGER NOT NULL, series INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (start_ms, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS thinned (
    start_ms INTEGER NOT NULL, series INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (start_ms, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS families (
    environment TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, help TEXT NOT NULL,
    PRIMARY KEY (environment, name)) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('format', 1), ('generation', 1), ('next_series', 1);
"""
_WHY = {
    "database is locked": "another process holds it",
    "readonly database": "its file is read-only",
    "disk is full": "the disk is full",
    "disk I/O error": "the disk reports an I/O error",
    "not a database": "its file is corrupt",
    "malformed": "its file is corrupt",
    "unable to open": "its file cannot be opened",
    "Permission denied": "its file is read-only",
    "No space left": "the disk is full",
}


async def writer(path: Path) -> aiosqlite.Connection:
    """The connection that writes, one for each process; SQLite's own lock makes processes take turns."""
    _keep_private(path)
    connection = await aiosqlite.connect(path, isolation_level=None, timeout=5.0)
    try:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        await _prepare(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def reader(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    await connection.execute("PRAGMA query_only = 1")
    return connection


async def fetched(connection: aiosqlite.Connection, sql: str, params: Iterable[object] = ()) -> list[Row]:
    return cast(list[Row], await connection.execute_fetchall(sql, tuple(params)))


def unavailable(error: Exception, path: Path) -> Unavailable:
    """What keeps the store from being used. Nothing else depends on it: deploying goes on."""
    text = str(error)
    why = next((said for shown, said in _WHY.items() if shown in text), type(error).__name__)
    mend = f"An operator can move {path.name} away from the state directory: it is begun anew, without the samples it had."
    return Unavailable(
        f"The metric store cannot be used: {why}.",
        hint=mend if "corrupt" in why else "An operator must mend this; deploying and the ledger do not depend on it.",
        retry_after_seconds=5.0,
    )


async def _prepare(connection: aiosqlite.Connection) -> None:
    """The schema, unless it is there: whoever only reads must not wait for whoever writes."""
    tables = await fetched(connection, "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('meta', 'families')")
    if tables[0][0] != 2:
        await connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
    (found,) = await fetched(connection, "SELECT value FROM meta WHERE name = 'format'")
    if found[0] != FORMAT:
        raise Unavailable(
            f"The metric store has format {found[0]}, and this version reads {FORMAT}.", hint="Use the version that wrote it."
        )


def _keep_private(path: Path) -> None:
    """Readable by its owner alone, as are the files that SQLite puts beside it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return
    if mode & 0o077:
        path.chmod(mode & 0o700)


DatabaseTroubles = (sqlite3.Error, OSError)
"""What opening and using the file may raise."""
