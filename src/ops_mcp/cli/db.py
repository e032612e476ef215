"""`ops-mcp db …`: whether the database is whole, and its schema."""

import sqlite3
from contextlib import closing

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import EXIT_UNVERIFIED, Reply, Table
from ops_mcp.config import Config
from ops_mcp.domain.calls import Cost
from ops_mcp.errors import NotConfigured, Unavailable
from ops_mcp.store import rebuild
from ops_mcp.store.schema import SCHEMA_VERSION
from ops_mcp.values import Json, JsonObject

db_command = group("db", help="The database: check and migrate.")

_TABLES = ("ledger", "operators", "agents", "approvals", "operations", "deployments", "reservations", "idempotency")


@command("check", group=db_command, seconds=None)
@click.option("--repair", is_flag=True, help="Make the counters what the ledger says.")
async def db_check(desk: Desk, *, repair: bool) -> Reply:
    """Check the file's pages, its schema, and that the budget counters agree with the ledger."""
    if repair:
        desk.refuse_agents()
    with closing(_open(desk.config())) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        damage = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    if damage or version != SCHEMA_VERSION:
        return _not_whole(version, damage)
    async with desk.database() as database:
        counts = {table: (await database.fetch(f"SELECT COUNT(*) FROM {table}"))[0][0] for table in _TABLES}  # noqa: S608
        wrong = await database.write(rebuild.repair if repair else rebuild.compare, vital=True)
    lines = [f"{d.charge.scope} in {d.charge.name}: stored {_said(d.stored)}, by the ledger {_said(d.rebuilt)}" for d in wrong]
    whole = not wrong or repair
    lines.append(_verdict(len(wrong), repaired=repair))
    differences: list[Json] = [
        {"scope": d.charge.scope, "window": d.charge.name, "stored": d.stored.json_value(), "rebuilt": d.rebuilt.json_value()}
        for d in wrong
    ]
    data: JsonObject = {"whole": whole, "schema": version, "damage": [], "rows": dict(counts), "differences": differences}
    table = Table(("table", "rows"), [(name, str(count)) for name, count in counts.items()])
    return Reply(data, (table, "\n".join(lines)), 0 if whole else EXIT_UNVERIFIED)


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


def _not_whole(version: int, damage: list[str]) -> Reply:
    data: JsonObject = {"whole": False, "schema": version, "damage": [*damage], "rows": {}, "differences": []}
    said = [f"The schema is {version}; this ops-mcp writes {SCHEMA_VERSION}."] if version != SCHEMA_VERSION else []
    hint = "Restore it from a backup." if damage else "Run: ops-mcp db migrate"
    return Reply(data, ("\n".join([*damage, *said, hint]),), EXIT_UNVERIFIED)


def _verdict(wrong: int, *, repaired: bool) -> str:
    if not wrong:
        return "The database is whole, and its counters agree with the ledger."
    return (
        f"{wrong} counters were set to what the ledger says."
        if repaired
        else f"{wrong} counters differ. Run: ops-mcp db check --repair"
    )


def _said(cost: Cost) -> str:
    return f"{cost.calls} calls, {cost.tokens} tokens, {cost.usd_micros / 1e6:.6f} USD"
