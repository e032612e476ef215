"""`ops-mcp db …`: whether the database is whole, its schema, and the way from a file to a PostgreSQL."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from anyio import to_thread

from ops_mcp.cli.app import command, group
from ops_mcp.cli.audit import exported, own_public_key
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import EXIT_UNVERIFIED, Reply, Table
from ops_mcp.config import Config
from ops_mcp.domain.addresses import Address
from ops_mcp.domain.calls import Cost
from ops_mcp.errors import Conflict, NotConfigured, Unavailable
from ops_mcp.store import keys, leases, rebuild, verify
from ops_mcp.store.database import Database
from ops_mcp.store.schema import SCHEMA_VERSION
from ops_mcp.values import Json, JsonObject

db_command = group("db", help="The database: check, migrate, copy.")

_TABLES = ("ledger", "operators", "agents", "approvals", "operations", "deployments", "reservations", "idempotency")


@command("check", group=db_command, seconds=None)
@click.option("--repair", is_flag=True, help="Make the counters what the ledger says.")
async def db_check(desk: Desk, *, repair: bool) -> Reply:
    """Check the schema, a file's pages, and that the budget counters agree with the ledger."""
    if repair:
        desk.refuse_agents()
    config = desk.config()
    version, damage = (await to_thread.run_sync(_at_server, config.address), []) if config.address else _looked_at(config)
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
    """Bring the database to this version's schema; a file gets a backup beside it. Older servers then ask to be restarted."""
    config = desk.config()
    if config.address is not None:
        return await _migrated_server(config.address)
    with closing(_open(config)) as connection:
        before = connection.execute("PRAGMA user_version").fetchone()[0]
    async with desk.database() as database:
        await database.write(lambda _: None, vital=True)
    return Reply({"before": before, "schema": SCHEMA_VERSION}, (f"Schema {SCHEMA_VERSION} (it was {before}).",))


@command("copy", group=db_command, seconds=None)
@click.option("--to", "url", required=True, metavar="URL", help="An empty PostgreSQL, postgresql://USER@HOST/DATABASE.")
async def db_copy(desk: Desk, *, url: str) -> Reply:
    """Copy everything from the embedded database into a PostgreSQL, and verify the ledger there. The file stays as it is."""
    desk.refuse_agents()
    config, address = desk.config(), Address.parse(url)
    _refuse_copying(desk, config)
    from ops_mcp.store.preparing import copy  # with its driver, which few need

    key = keys.load_ledger_key(keys.ledger_key_path(config.state_dir))
    counts = await to_thread.run_sync(lambda: copy(config.database_path, address, public_key=key.public))
    finding = await _verified(config, address)
    said = f"The ledger in {address.shown}: {finding}"
    table = Table(("table", "rows"), [(name, str(count)) for name, count in counts.items() if count])
    whole = isinstance(finding, verify.Intact | verify.IntactUpTo)
    data: JsonObject = {"to": address.shown, "rows": dict(counts), "verdict": type(finding).__name__, "text": str(finding)}
    then = "Set database_url (or OPS_MCP_DATABASE_URL) to it for every server, and move the file away."
    return Reply(data, (table, f"{said}\n{then}" if whole else said), 0 if whole else EXIT_UNVERIFIED)


def _refuse_copying(desk: Desk, config: Config) -> None:
    if config.address is not None:
        raise Conflict(f"This installation uses {config.address.shown} already.", hint="Copy with pg_dump and pg_restore.")
    with closing(_open(config)):
        held = leases.peek(config.database_path)
    if held is not None and held.is_live(desk.now()):
        raise Conflict("A worker is at work on the file.", hint="Close all clients and run: ops-mcp worker stop")


async def _verified(config: Config, address: Address) -> verify.Finding:
    """What the auditor's program says of an export from there."""
    key_file = keys.ledger_key_path(config.state_dir)
    signer = keys.signer_at(address, key_file, new_ledger_id=str)
    with TemporaryDirectory(prefix="ops-mcp-") as folder:
        export = Path(folder) / "ledger.jsonl"
        async with Database.open(address, signer=signer) as database:
            await exported(database, export, lambda _: None)
        return verify.verify(export, [own_public_key(config)], [])


async def _migrated_server(address: Address) -> Reply:
    from ops_mcp.store.preparing import migrate  # with its driver, which few need

    before = await to_thread.run_sync(migrate, address)
    said = f"Schema {SCHEMA_VERSION} (it was {before}) in {address.shown}."
    return Reply({"before": before, "schema": SCHEMA_VERSION}, (said,))


def _at_server(address: Address) -> int:
    from ops_mcp.store.postgres import connected  # with its driver, which few need
    from ops_mcp.store.postgres_schema import version_of

    with connected(address) as server:
        version = version_of(server)
    if version is None:
        raise NotConfigured(f"{address.shown} was not prepared for ops-mcp.", hint="Run: ops-mcp init --database URL")
    return version


def _looked_at(config: Config) -> tuple[int, list[str]]:
    """The file's schema, and what is wrong with its pages."""
    with closing(_open(config)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return version, [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]


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
