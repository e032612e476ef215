"""`ops-mcp doctor`: what is missing, and how to get it."""

import sqlite3
from contextlib import closing

from anyio import to_thread

from ops_mcp.cli import checks_slack, checks_watching
from ops_mcp.cli.app import command
from ops_mcp.cli.checks import Finding, Patient, examine
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import EXIT_FAILED, Part, Reply, Table
from ops_mcp.config import Config
from ops_mcp.errors import OpsError
from ops_mcp.store import keys, leases
from ops_mcp.store.leases import Lease
from ops_mcp.store.outages import unavailable
from ops_mcp.values import JsonObject

_OPERATORS = "SELECT COUNT(*) FROM operators WHERE revoked_at IS NULL"


@command("doctor")
async def doctor_command(desk: Desk) -> Reply:
    """Look at everything ops-mcp needs; say what is missing and how to get it. Ends with 1 where something fails."""
    config = desk.config()
    schema, operators, trouble = await to_thread.run_sync(_look_at_server, config) if config.address else _look(config)
    lease = None if trouble or schema is None else _lease(config)
    patient = Patient(
        config=config,
        token=desk.around.environ.get("OPS_MCP_TOKEN"),
        schema=schema,
        trouble=trouble,
        lease=lease,
        lease_is_live=lease is not None and lease.is_live(desk.now()),
        operators=operators,
    )
    found = (*await examine(patient), *await checks_watching.examine(config), *await checks_slack.examine(config))
    return _reply(found)


def _look(config: Config) -> tuple[int | None, int, str]:
    """Schema and number of operators, read without creating, migrating or repairing anything; or what is in the way."""
    if not config.database_path.exists():
        return None, 0, ""
    try:
        with closing(sqlite3.connect(f"file:{config.database_path}?mode=ro", uri=True)) as connection:
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
            operators = connection.execute(_OPERATORS).fetchone()[0] if schema else 0
        return schema, operators, _unwritable(config)
    except sqlite3.Error as error:
        return None, 0, unavailable(error).message


def _look_at_server(config: Config) -> tuple[int | None, int, str]:
    """The same of a PostgreSQL, and whether this server has the ledger's key. In a thread: the driver waits in its own loop."""
    from ops_mcp.store.postgres import connected  # with its driver
    from ops_mcp.store.postgres_schema import version_of

    assert config.address is not None, "asked for only where there is one"
    try:
        with connected(config.address) as server:
            schema = version_of(server)
            if schema is None:
                return None, 0, f"{config.address.shown} was not prepared for ops-mcp: run `ops-mcp init --database URL`."
            operators = server.execute(_OPERATORS).rows[0][0]
            keys.shared_signer(server, keys.ledger_key_path(config.state_dir))
            return schema, operators, ""
    except OpsError as error:
        return None, 0, f"{error.message} {error.hint}"


def _unwritable(config: Config) -> str:
    try:
        with config.database_path.open("r+b"):
            return ""
    except OSError as error:
        return f"{config.database_path} cannot be written: {error.strerror}."


def _lease(config: Config) -> Lease | None:
    try:
        return leases.peek(config.database)
    except (OpsError, sqlite3.Error):
        return None


def _reply(findings: tuple[Finding, ...]) -> Reply:
    failed = [f for f in findings if f.state == "fail"]
    warned = [f for f in findings if f.state == "warn"]
    rows = [(f.state, f.what, f.says) for f in findings]
    fixes = [f"{f.what}: {f.fix}" for f in (*failed, *warned) if f.fix]
    parts: list[Part] = [Table(("", "what", "how it is"), rows)]
    if fixes:
        parts.append("\nTo do:\n" + "\n".join(f"  {fix}" for fix in fixes))
    data: JsonObject = {"ok": not failed, "findings": [f.json_value() for f in findings]}
    return Reply(data, tuple(parts), EXIT_FAILED if failed else 0)
