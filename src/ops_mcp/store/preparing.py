"""A PostgreSQL made ready for servers: prepared, migrated, and filled from an embedded database.

Each is one transaction, under the installation's lock, and leaves nothing where it fails. Nothing here runs in a thread with an
event loop.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import Conflict, NotConfigured
from ops_mcp.store.files import connect
from ops_mcp.store.postgres import ServerConnection, connected
from ops_mcp.store.postgres_schema import refuse_prepared, require_schema, script_of, version_of
from ops_mcp.store.schema import SCHEMA_VERSION

_CHUNK = 5_000


def prepare(address: Address, *, ledger: str, public_key: str) -> None:
    """Make the tables, and say whose ledger is in them. Raises `Conflict` for a database that has them."""
    with connected(address) as server:
        _begin(server, address)
        refuse_prepared(version_of(server), address.shown)
        server.script(script_of(above=0))
        _keep_fact(server, "schema", str(SCHEMA_VERSION))
        _keep_fact(server, "ledger_id", ledger)
        _keep_fact(server, "ledger_key", public_key)
        server.execute("COMMIT")


def migrate(address: Address) -> int:
    """Bring the database to this release's schema; which it was before. Servers of before refuse it from then on."""
    with connected(address) as server:
        _begin(server, address)
        before = version_of(server)
        if before is None or before > SCHEMA_VERSION:
            require_schema(server)
        if before is not None and before < SCHEMA_VERSION:
            server.execute("SELECT nextval('batches')")  # so that whoever has it open looks at the schema again
            server.script(script_of(above=before))
            _keep_fact(server, "schema", str(SCHEMA_VERSION))
        server.execute("COMMIT")
        return before or SCHEMA_VERSION


def copy(file: Path, address: Address, *, public_key: str) -> dict[str, int]:
    """Fill an empty database with everything that the file holds; the rows by table. Nobody writes the file meanwhile."""
    with closing(connect(file)) as source, connected(address) as server:
        source.execute("BEGIN IMMEDIATE")
        facts = dict(source.execute("SELECT name, value FROM facts").fetchall())
        if "ledger_id" not in facts:
            raise NotConfigured(
                f"{file} has no ledger yet.", hint="Run `ops-mcp init --database URL` instead: nothing is to be copied."
            )
        _begin(server, address)
        refuse_prepared(version_of(server), address.shown)
        server.script(script_of(above=0))
        counts: dict[str, int] = {}
        for table in _tables(source):
            counts[table] = _copy_table(source, server, address, table)
        _keep_fact(server, "schema", str(SCHEMA_VERSION))
        _keep_fact(server, "ledger_key", public_key)
        # The next worker's fence must go on from there; whoever holds the lease holds it of the file.
        server.execute("UPDATE leases SET expires_at = '1970-01-01T00:00:00+00:00'")
        server.execute("COMMIT")
        source.execute("ROLLBACK")
        return counts


def _begin(server: ServerConnection, address: Address) -> None:
    server.execute("BEGIN")
    server.execute(server.turn)
    if server.execute("SELECT current_setting('server_encoding')").rows[0][0] != "UTF8":
        raise Conflict(f"{address.shown} is not in UTF-8.", hint="Create the database with ENCODING 'UTF8'.")
    if not server.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (address.room,)).rows:
        server.execute(f"CREATE SCHEMA {address.room}")  # parsed: letters, digits and _


def _keep_fact(server: ServerConnection, name: str, value: str) -> None:
    server.execute(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )


def _tables(source: sqlite3.Connection) -> list[str]:
    """Those that others refer to come first."""
    names = [row[0] for row in source.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    names = [name for name in names if not name.startswith("sqlite_")]
    referred = {row[2] for name in names for row in source.execute(f"PRAGMA foreign_key_list({name})")}
    return sorted(names, key=lambda name: (name not in referred, name))


def _copy_table(source: sqlite3.Connection, server: ServerConnection, address: Address, table: str) -> int:
    """Columns that are derived (not in `table_info`) are derived anew."""
    about = source.execute(f"PRAGMA table_info({table})").fetchall()
    names = [row[1] for row in about]
    found, count = source.execute(f"SELECT {', '.join(names)} FROM {table}"), 0
    while rows := found.fetchmany(_CHUNK):
        records = [tuple(_taken(value) for value in row) for row in rows]
        coming = server.driver.copy_records_to_table(table, schema_name=address.room, columns=names, records=records, timeout=600)
        server.wait(coming)
        count += len(rows)
    for identity in [row[1] for row in about if row[2] == "INTEGER" and row[5] and len([r for r in about if r[5]]) == 1]:
        top = source.execute(f"SELECT COALESCE(MAX({identity}), 0) FROM {table}").fetchone()[0]
        server.execute(f"ALTER TABLE {table} ALTER COLUMN {identity} RESTART WITH {top + 1}")
    return count


def _taken(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
