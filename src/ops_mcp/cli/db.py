"""`ops-mcp db …`: whether the database is whole, and its schema."""

import sqlite3
from contextlib import closing

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import EXIT_UNVERIFIED, Reply, Table
from ops_mcp.config import Config
from ops_mcp.errors import NotConfigured, Unavailable
from ops_mcp.store.schema import SCHEMA_VERSION
from ops_mcp.values import JsonObject

db_command = group("db", help="The database: check and migrate.")

_TABLES = ("ledger", "operators", "agents", "approvals", "operations", "deployments", "reservations", "idempotency")


@command("check", group=db_command, seconds=None)
def db_check(desk: Desk) -> Reply:
    """Check the file's pages, its schema, and that the counters agree with the ledger."""
    config = desk.config()
    with closing(_open(config)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        damage = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        counts = {table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in _TABLES}  # noqa: S608
        negative = _below_zero(connection)
    whole = not damage and version == SCHEMA_VERSION and not negative
    rows = [(table, str(count)) for table, count in counts.items()]
    says = "The database is whole." if whole else "The database is not whole."
    lines = [
        f"Schema {version}; this ops-mcp writes {SCHEMA_VERSION}.",
        *damage,
        *(f"Below zero: {name}" for name in negative),
        says,
    ]
    data: JsonObject = {"whole": whole, "schema": version, "expected_schema": SCHEMA_VERSION, "rows": dict(counts)}
    data |= {"damage": list(damage), "below_zero": list(negative)}
    return Reply(data, (Table(("table", "rows"), rows), "\n".join(lines)), 0 if whole else EXIT_UNVERIFIED)


@command("migrate", group=db_command)
async def db_migrate(desk: Desk) -> Reply:
    """Bring the database to this version's schema, with a backup beside it. Older servers then ask to be restarted."""
    config = desk.config()
    with closing(_open(config)) as connection:
        before = connection.execute("PRAGMA user_version").fetchone()[0]
    async with desk.database() as database:
        await database.write(lambda _: None, vital=True)
    return Reply({"before": before, "schema": SCHEMA_VERSION}, (f"Schema {SCHEMA_VERSION} (it was {before}).",))


def _open(config: Config) -> sqlite3.Connection:
    """The file for reading only, so that looking never repairs, creates or migrates."""
    if not config.database_path.exists():
        raise NotConfigured(f"There is no database in {config.state_dir} yet.", hint="Run: ops-mcp init")
    try:
        connection = sqlite3.connect(f"file:{config.database_path}?mode=ro", uri=True)
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise Unavailable(
            f"The database cannot be read: {error}.", hint="Restore it from a backup; see: ops-mcp doctor"
        ) from error
    return connection


def _below_zero(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT scope, win FROM spend WHERE calls < 0 OR tokens < 0 OR usd_micros < 0")
    return [f"{scope} in {window}" for scope, window in found]
