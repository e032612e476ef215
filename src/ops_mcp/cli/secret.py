"""`ops-mcp secret …`: values go in by prompt or standard input, and never come out."""

import sys

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.errors import InvalidArguments
from ops_mcp.secrets import LARGEST_SECRET_BYTES, Secrets
from ops_mcp.values import Secret

secret_command = group("secret", help="Values that services need and nobody sees.")


@command("set", group=secret_command)
@click.argument("name")
def secret_set(desk: Desk, *, name: str) -> Reply:
    """Store a secret under NAME. The value is asked for, or read from standard input; it is never an argument."""
    desk.refuse_agents()
    summary = Secrets(desk.config().config_dir).put(name, _value(desk, name))
    return Reply(summary.json_value(), (f"{name} is set ({summary.digest}). A binding refers to it as {name!r}.",))


@command("list", group=secret_command)
def secret_list(desk: Desk) -> Reply:
    """Show names and digests, and what uses them."""
    config = desk.config()
    uses = {ref: f"{b.service} in {b.environment}" for b in config.bindings for ref in b.secrets.values()}
    found = Secrets(config.config_dir).summaries()
    rows = [(s.name, s.digest or "-", uses.get(s.name, "-"), s.trouble or "ok") for s in found]
    missing = sorted(set(uses) - {s.name for s in found})
    rows += [(name, "-", uses[name], "not set") for name in missing]
    table = Table(("secret", "digest", "used by", "state"), rows, "No secret is set. Run: ops-mcp secret set NAME")
    return Reply({"secrets": [s.json_value() for s in found], "missing": list(missing)}, (table,))


@command("remove", group=secret_command)
@click.argument("name")
def secret_remove(desk: Desk, *, name: str) -> Reply:
    """Forget a secret."""
    desk.refuse_agents()
    Secrets(desk.config().config_dir).remove(name)
    return Reply({"removed": name}, (f"{name} is removed.",))


def _value(desk: Desk, name: str) -> Secret:
    if desk.around.can_ask:
        return Secret(desk.ask(f"Value of {name}", hidden=True))
    raw = sys.stdin.buffer.read(LARGEST_SECRET_BYTES + 2)
    try:
        return Secret(raw.decode().removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError as error:
        raise InvalidArguments("A secret is text in UTF-8.", hint="Encode other values, for instance with base64.") from error
