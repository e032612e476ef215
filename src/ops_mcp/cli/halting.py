"""`ops-mcp freeze`, `unfreeze`, `kill`, `unkill`: in force at the next call of every process."""

import click

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import Reply
from ops_mcp.errors import InvalidArguments
from ops_mcp.operator.verbs import FreezeChanges, Kill, Unfreeze, Unkill


@command("freeze", signed=True)
@click.option("--environment", "-e", help="The environment to freeze.")
@click.option("--all", "everywhere", is_flag=True, help="Every environment.")
@click.option("--reason", required=True, help="Why; agents are told, and it is recorded.")
async def freeze_command(desk: Desk, *, environment: str | None, everywhere: bool, reason: str) -> Reply:
    """Stop changes to what runs in an environment. Undo, and the way back from a bad release, still work."""
    place = _one("--environment NAME", environment, "--all", everywhere)
    deed = await desk.order_alone(parsed(FreezeChanges, environment=place, reason=reason))
    return Reply(deed.said, (f"Frozen: {place or 'every environment'}. To lift it: ops-mcp unfreeze",))


@command("unfreeze", signed=True)
@click.option("--environment", "-e", help="The environment to open again.")
@click.option("--all", "everywhere", is_flag=True, help="Lift the freeze of every environment.")
@click.option("--reason", default="over", show_default=True, help="Why; recorded.")
async def unfreeze_command(desk: Desk, *, environment: str | None, everywhere: bool, reason: str) -> Reply:
    """Lift a freeze."""
    place = _one("--environment NAME", environment, "--all", everywhere)
    deed = await desk.order_alone(parsed(Unfreeze, environment=place, reason=reason))
    return Reply(deed.said, (f"Open again: {place or 'every environment that is not frozen by name'}.",))


@command("kill", signed=True)
@click.option("--agent", help="The agent to stop.")
@click.option("--everyone", is_flag=True, help="Every agent, anonymous callers too.")
@click.option("--reason", required=True, help="Why; recorded.")
async def kill_command(desk: Desk, *, agent: str | None, everyone: bool, reason: str) -> Reply:
    """Refuse every further call of an agent, or of everyone. Deployments of theirs that are not done are undone."""
    who = _one("--agent NAME", agent, "--everyone", everyone)
    deed = await desk.order_alone(parsed(Kill, agent=who, reason=reason))
    return Reply(deed.said, (f"Killed: {who or 'everyone'}. To lift it: ops-mcp unkill",))


@command("unkill", signed=True)
@click.option("--agent", help="The agent to let act again.")
@click.option("--everyone", is_flag=True, help="Lift the kill of everyone; agents killed by name stay killed.")
@click.option("--reason", default="over", show_default=True, help="Why; recorded.")
async def unkill_command(desk: Desk, *, agent: str | None, everyone: bool, reason: str) -> Reply:
    """Lift a kill."""
    who = _one("--agent NAME", agent, "--everyone", everyone)
    deed = await desk.order_alone(parsed(Unkill, agent=who, reason=reason))
    return Reply(deed.said, (f"May act again: {who or 'everyone who is not killed by name'}.",))


def _one(named: str, name: str | None, flag: str, everything: bool) -> str | None:
    """The one that was named, or None for everything; never both and never neither."""
    if (name is not None) == everything:
        raise InvalidArguments(f"Give either {named} or {flag}.", hint="Exactly one of the two.")
    return name
