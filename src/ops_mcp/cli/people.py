"""`ops-mcp operator …` and `ops-mcp agent …`."""

from pathlib import Path

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.begin import new_passphrase
from ops_mcp.cli.desk import Desk, parsed, parsed_name
from ops_mcp.cli.paint import Reply, Table, cell
from ops_mcp.domain.identity import Agent, Level, Operator
from ops_mcp.errors import InvalidArguments
from ops_mcp.governance.reputation import level_in_force
from ops_mcp.operator.verbs import (
    AddAgent,
    AddOperator,
    GiveOperatorToken,
    RevokeAgent,
    RevokeOperator,
    RotateToken,
    SetAgent,
    Verb,
)
from ops_mcp.secrets import write_private
from ops_mcp.store import keys, people
from ops_mcp.values import JsonObject

operator_command = group("operator", help="People who decide: add, list, revoke.")
agent_command = group("agent", help="Agents, their tiers and their tokens.")

LEVELS = click.Choice([level.value for level in Level])
FILE = click.Path(path_type=Path, dir_okay=False)


@command("add", group=operator_command, signed=True)
@click.argument("name")
@click.option("--slack", "slack_id", metavar="ID", help="Slack member id; this person may then answer there.")
@click.option("--public-key", metavar="HEX", help="Register a key that was made elsewhere instead of making one here.")
@click.option("--new-passphrase-file", type=FILE, help="File with the passphrase for the new key.")
@click.option("--no-passphrase", is_flag=True, help="Make the key without a passphrase (a same-user installation only).")
async def operator_add(
    desk: Desk, *, name: str, slack_id: str | None, public_key: str | None, new_passphrase_file: Path | None, no_passphrase: bool
) -> Reply:
    """Make NAME an operator with a key of their own."""
    hand = desk.signer()
    path = keys.operator_key_path(desk.config().config_dir, parsed_name(name))
    protected = True
    if public_key is None:
        newcomer = Desk(around=desk.around, passphrase_file=new_passphrase_file)
        passphrase = new_passphrase(newcomer, none_wanted=no_passphrase)
        protected = bool(passphrase.get_secret_value())
        public_key = keys.create_operator_key(path, passphrase).public
    given = keys.parse_public_text(keys.OPERATOR_PREFIX, public_key)
    verb = parsed(AddOperator, name=name, public_key=given, slack_id=slack_id, protected=protected)
    async with desk.database() as database:
        deed = await desk.order(database, verb, hand)
    where = f"\nTheir key: {path}" if path.exists() else ""
    return Reply({**deed.said, "key_file": str(path) if path.exists() else None}, (f"{name} is an operator now.{where}",))


@command("list", group=operator_command)
async def operator_list(desk: Desk) -> Reply:
    """Show the operators."""
    async with desk.database() as database:
        found = await people.operators(database)
    rows = [_operator_row(o) for o in found]
    table = Table(("operator", "slack", "passphrase", "state", "public key"), rows, "No operator yet. Run: ops-mcp init")
    return Reply({"operators": [o.json_value() for o in found]}, (table,))


@command("revoke", group=operator_command, signed=True)
@click.argument("name")
@click.option("--reason", required=True, help="Why; recorded.")
async def operator_revoke(desk: Desk, *, name: str, reason: str) -> Reply:
    """Take an operator's rights away; grants of theirs that nobody has used are worth nothing from now on."""
    deed = await desk.order_alone(parsed(RevokeOperator, name=name, reason=reason))
    return Reply(deed.said, (f"{name} is no operator any more.",))


@command("token", group=operator_command, signed=True)
@click.argument("name")
@click.option("--remove", is_flag=True, help="Take the token away instead of giving one.")
@click.option("--token-file", type=FILE, help="Write the token there (0600) instead of printing it.")
async def operator_token(desk: Desk, *, name: str, remove: bool, token_file: Path | None) -> Reply:
    """Give NAME a token to read /tasks and /metrics with, in place of the one they had. It can change nothing."""
    token = desk.new_token()
    verb = parsed(GiveOperatorToken, name=name, token_hash=None if remove else people.token_hash(token))
    deed = await desk.order_alone(verb)
    if remove:
        return Reply(deed.said, (f"{name} has no token any more.",))
    use = "It reads over HTTP, as `Authorization: Bearer TOKEN`, and can change nothing."
    return _with_token(deed.said, f"Operator {name} has a token; one from before no longer works.", token, token_file, use=use)


@command("add", group=agent_command, signed=True)
@click.argument("name")
@click.option(
    "--tier", "ceiling", type=LEVELS, default=Level.sandbox.value, show_default=True, help="The most it may ever change."
)
@click.option("--owner", help="The operator who answers for it; you, unless given.")
@click.option("--reputation/--no-reputation", default=True, help="Whether its score decides its level within the tier.")
@click.option("--token-file", type=FILE, help="Write the token there (0600) instead of printing it.")
async def agent_add(
    desk: Desk, *, name: str, ceiling: str, owner: str | None, reputation: bool, token_file: Path | None
) -> Reply:
    """Register an agent and print its token, once."""
    hand = desk.signer()
    token = desk.new_token()
    fields = {"name": name, "owner": owner or hand[0], "ceiling": ceiling, "reputation": reputation}
    verb = parsed(AddAgent, **fields, token_hash=people.token_hash(token))
    async with desk.database() as database:
        deed = await desk.order(database, verb, hand)
    return _with_token(deed.said, f"Agent {name}: tier {ceiling}, owner {verb.owner}.", token, token_file)


@command("list", group=agent_command)
async def agent_list(desk: Desk) -> Reply:
    """Show the agents, their tiers, scores and levels."""
    async with desk.database() as database:
        found = await people.agents(database)
    rows = [_agent_row(a) for a in found]
    table = Table(("agent", "owner", "tier", "score", "level", "state"), rows, "No agent yet. Run: ops-mcp agent add NAME")
    return Reply({"agents": [{**a.json_value(), "level": level_in_force(a).value} for a in found]}, (table,))


@command("set", group=agent_command, signed=True)
@click.argument("name")
@click.option("--tier", "ceiling", type=LEVELS, help="The most it may change.")
@click.option("--score", type=int, help="Its reputation, 0 to 999.")
@click.option("--reputation/--no-reputation", default=None, help="Whether its score decides its level within the tier.")
@click.option("--owner", help="The operator who answers for it.")
@click.option("--reason", required=True, help="Why; recorded.")
async def agent_set(
    desk: Desk, *, name: str, ceiling: str | None, score: int | None, reputation: bool | None, owner: str | None, reason: str
) -> Reply:
    """Change an agent's tier, score, reputation or owner."""
    verb = parsed(SetAgent, name=name, ceiling=ceiling, score=score, reputation=reputation, owner=owner, reason=reason)
    deed = await desk.order_alone(verb)
    now = Agent.model_validate(deed.said["agent"])
    return Reply(deed.said, (Table(("agent", "owner", "tier", "score", "level", "state"), [_agent_row(now)]),))


@command("rotate", group=agent_command, signed=True)
@click.argument("name")
@click.option("--reason", default="rotation", show_default=True, help="Why; recorded.")
@click.option("--token-file", type=FILE, help="Write the token there (0600) instead of printing it.")
async def agent_rotate(desk: Desk, *, name: str, reason: str, token_file: Path | None) -> Reply:
    """Give an agent a new token; the old one stops working at once."""
    token = desk.new_token()
    verb = parsed(RotateToken, name=name, token_hash=people.token_hash(token), reason=reason)
    deed = await desk.order_alone(verb)
    return _with_token(deed.said, f"Agent {name} has a new token; the old one no longer works.", token, token_file)


@command("revoke", group=agent_command, signed=True)
@click.argument("name")
@click.option("--reason", required=True, help="Why; recorded.")
async def agent_revoke(desk: Desk, *, name: str, reason: str) -> Reply:
    """End an agent for good; its name stays taken."""
    verb: Verb = parsed(RevokeAgent, name=name, reason=reason)
    deed = await desk.order_alone(verb)
    return Reply(deed.said, (f"{name} is revoked.",))


def _with_token(
    said: JsonObject,
    line: str,
    token: str,
    file: Path | None,
    *,
    use: str = "The agent's client gives it as OPS_MCP_TOKEN.",
) -> Reply:
    if file is None:
        text = f"{line}\nIts token, shown this once:\n\n  {token}\n\n{use}"
        return Reply({**said, "token": token}, (text,))
    if not file.parent.is_dir():
        raise InvalidArguments(f"There is no directory {file.parent}.", hint="The token was not shown: ops-mcp agent rotate NAME")
    write_private(file, token + "\n")
    return Reply({**said, "token_file": str(file)}, (f"{line}\nIts token is in {file}.",))


def _operator_row(operator: Operator) -> tuple[str, ...]:
    state = "revoked" if operator.revoked_at else "ok"
    return operator.name, cell(operator.slack_id), cell(operator.protected), state, operator.public_key


def _agent_row(agent: Agent) -> tuple[str, ...]:
    state = "revoked" if agent.revoked else "killed" if agent.killed else "ok"
    return agent.name, agent.owner, agent.ceiling, cell(agent.score), level_in_force(agent), state
