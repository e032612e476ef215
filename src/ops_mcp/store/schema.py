"""Numbered migrations of the governed database, applied each in its own transaction."""

import sqlite3
from importlib import resources

from ops_mcp.errors import Unavailable
from ops_mcp.store.seam import Connection

SCHEMA_VERSION = 8
"""What this release writes. A database of a later version is refused; an earlier one is migrated with a backup beside it."""


def prepare(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database to `version`: an empty file gets everything. Raises `Unavailable` for a newer one."""
    present = connection.execute("PRAGMA user_version").fetchone()[0]
    if present == version:
        return
    refuse_newer(connection, version)
    if present:
        _back_up(connection, present)
    for number, script in migrations():
        if number > present:
            _apply(connection, number, script)


def refuse_newer(connection: Connection, version: int) -> None:
    """Raises `Unavailable` where a later release has migrated the database, also while this one had it open."""
    present = connection.execute("PRAGMA user_version").fetchone()[0]
    if present > version:
        raise Unavailable(
            f"The database has schema {present}; this ops-mcp knows {version}.",
            hint="A newer ops-mcp has taken over this state directory. Restart this client with the newer version.",
        )


def migrations() -> list[tuple[int, str]]:
    """Every migration with its number, in order."""
    folder = resources.files("ops_mcp.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.split("_", 1)[0]), f.read_text(encoding="utf-8")) for f in files]


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _back_up(connection: sqlite3.Connection, present: int) -> None:
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    with sqlite3.connect(f"{path}.schema-{present}.bak") as copy:
        connection.backup(copy)
    copy.close()
