"""`ops-mcp init`: the directories, the first operator, the ledger."""

import json
import re
import secrets

import click
from anyio import to_thread

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk, Hand, parsed, passphrase_in
from ops_mcp.cli.paint import Reply
from ops_mcp.config import Config
from ops_mcp.domain.addresses import Address
from ops_mcp.domain.identity import OperatorName
from ops_mcp.errors import Conflict
from ops_mcp.operator.verbs import AddOperator
from ops_mcp.secrets import make_private_directory, write_private
from ops_mcp.store import keys, people
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.database import Database
from ops_mcp.values import Secret

STARTING_CONFIG = """\
# ops-mcp: every setting, with its default, is described in docs/reference/config.md.
# Without [environments] there are three: sandbox, staging and production.

# [environments.production]
# tier = "prod"
# approval = "always"
# four_eyes = true

# [budgets.work]
# calls_per_hour = 60
"""


NEXT = """
Next:
  ops-mcp service add PATH --environment sandbox
  ops-mcp agent add NAME
  ops-mcp connect claude-code"""


@command("init", signed=True)
@click.option("--no-passphrase", is_flag=True, help="Make the key without a passphrase (a same-user installation only).")
@click.option("--database", "url", metavar="URL", help="A PostgreSQL for several servers, postgresql://…; once for all of them.")
async def init_command(desk: Desk, *, no_passphrase: bool, url: str | None) -> Reply:
    """Prepare an installation: directories, the ledger, and you as its first operator."""
    desk.refuse_agents()
    config = desk.config()
    if url is not None:
        make_directories(config)
        await _prepare(config, Address.parse(url), url)
        config = desk.config()
    name = desk.operator or desk.around.environ.get("OPS_MCP_OPERATOR") or _login(desk)
    make_directories(config)
    async with desk.database(create=True) as database:
        await _require_nobody(database)
        hand, protected = _first_key(desk, config, name, no_passphrase=no_passphrase)
        verb = parsed(AddOperator, name=name, public_key=hand[1].public, protected=protected)
        await desk.order(database, verb, hand)
    return _reply(config, name, hand[1], protected=protected)


def make_directories(config: Config) -> None:
    """Everything that must be private is made so, also where it was there before."""
    for directory in (config.config_dir, config.state_dir):
        make_private_directory(directory)
    for name in ("operators", "services", "policies", "secrets"):
        make_private_directory(config.config_dir / name)
    if not (config.config_dir / "config.toml").exists():
        write_private(config.config_dir / "config.toml", STARTING_CONFIG)


async def _prepare(config: Config, address: Address, url: str) -> None:
    """The tables, the ledger's key, and the URL where every later command finds it."""
    from ops_mcp.store.preparing import prepare  # with its driver, which few need

    if config.address is not None and config.address.name != address.name:
        raise Conflict(
            f"This installation uses {config.address.shown} already.", hint="Take database_url out of config.toml first."
        )
    if config.address is None and config.database_path.exists():
        raise Conflict(
            f"This installation has a database already: {config.database_path}.", hint="Move it with: ops-mcp db copy --to URL"
        )
    key_file = keys.ledger_key_path(config.state_dir)
    key = keys.load_ledger_key(key_file) if key_file.exists() else keys.create_ledger_key(key_file)
    ledger = secrets.token_hex(16)
    await to_thread.run_sync(lambda: prepare(address, ledger=ledger, public_key=key.public))
    if config.address is None:
        keep_url(config, url)


def keep_url(config: Config, url: str) -> None:
    """Put the URL first in config.toml, which only its owner reads: after a table it would belong to that."""
    file = config.config_dir / "config.toml"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    write_private(file, f"database_url = {json.dumps(url)}\n\n{before}")


def new_passphrase(desk: Desk, *, none_wanted: bool) -> Secret:
    """The passphrase for a new key: from a file, else asked for twice; empty where nobody can be asked."""
    if none_wanted:
        return Secret("")
    if (file := desk.passphrase_source()) is not None:
        return passphrase_in(file)
    if not desk.around.can_ask:
        return Secret("")
    return Secret(desk.ask("New passphrase (empty for none)", hidden=True, twice=True))


async def _require_nobody(database: Database) -> None:
    if known := await people.operators(database):
        raise Conflict(
            f"This installation has operators already: {', '.join(o.name for o in known)}.",
            hint="One of them adds another with: ops-mcp operator add NAME",
        )


def _first_key(desk: Desk, config: Config, name: str, *, no_passphrase: bool) -> tuple[Hand, bool]:
    """Make the key, or take up the one that an interrupted `init` left behind."""
    path = keys.operator_key_path(config.config_dir, name)
    if path.exists():
        return desk_hand(desk, name), keys.operator_key_is_protected(path)
    passphrase = new_passphrase(desk, none_wanted=no_passphrase)
    return (OperatorName(name), keys.create_operator_key(path, passphrase)), bool(passphrase.get_secret_value())


def desk_hand(desk: Desk, name: str) -> Hand:
    """The key that lies here for `name`, opened."""
    path = keys.operator_key_path(desk.config().config_dir, name)
    return OperatorName(name), keys.load_operator_key(path, desk.passphrase(path))


def _login(desk: Desk) -> str:
    """The login name as far as it can be an operator's name."""
    login = desk.around.environ.get("USER") or desk.around.environ.get("LOGNAME") or "operator"
    return re.sub(r"[^a-z0-9-]+", "-", login.lower()).strip("-")[:63] or "operator"


def _reply(config: Config, name: str, key: SigningKey, *, protected: bool) -> Reply:
    public = keys.public_text(keys.OPERATOR_PREFIX, key.public)
    lines = [
        f"Configuration  {config.config_dir}",
        f"State          {config.state_dir}",
        *([f"Database       {config.address.shown}"] if config.address else []),
        f"Operator       {name} ({public})",
    ]
    if not protected:
        lines.append("The key has no passphrase: whoever runs as this user can approve. Good for a sandbox, not for prod.")
    if config.address:
        lines.append(f"Every other server of this database needs a copy of {keys.ledger_key_path(config.state_dir)}, mode 600.")
    lines.append(NEXT)
    data = {
        "config_dir": str(config.config_dir),
        "state_dir": str(config.state_dir),
        "database": config.address.shown if config.address else str(config.database_path),
        "operator": name,
        "public_key": public,
        "protected": protected,
    }
    return Reply(dict(data), ("\n".join(lines),))
