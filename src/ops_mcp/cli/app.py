"""The commands: their table, their common options, and how errors become exit codes. Modules are imported when they are used."""

import functools
import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import anyio
import click

from ops_mcp.cli.desk import Desk, Surroundings
from ops_mcp.cli.paint import EXIT_CODES, EXIT_USAGE, Reply, complain, show
from ops_mcp.errors import Code, DeadlineExceeded, OpsError, Problem

COMMANDS = {
    "serve": "serving", "init": "begin", "doctor": "doctor", "status": "status", "connect": "connect",
    "service": "services", "inventory": "inventory", "secret": "secret",
    "operator": "people", "agent": "people", "budget": "budget",
    "approvals": "approving", "approve": "approving", "deny": "approving", "page": "page",
    "alerts": "alerts", "metrics": "metrics", "top": "metrics",
    "freeze": "halting", "unfreeze": "halting", "kill": "halting", "unkill": "halting",
    "task": "task", "checkpoint": "checkpoint", "outbox": "outbox", "figures": "figures", "audit": "audit", "policy": "policy",
    "db": "db", "worker": "worker", "completion": "shell", "version": "shell",
}  # fmt: skip
"""Every command and the module of this room that has it, in the order of the help."""

INTERRUPTED = 130

Body: TypeAlias = Callable[..., Reply | Awaitable[Reply]]


class Terminal(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ops_mcp.cli.{COMMANDS[cmd_name]}")
        return cast(click.Command, getattr(module, f"{cmd_name}_command"))


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every command takes."""
    directory = click.Path(path_type=Path, file_okay=False)
    for option in (
        click.option("--state", "state_dir", type=directory, help="State directory (OPS_MCP_STATE)."),
        click.option("--config", "config_dir", type=directory, help="Configuration directory (OPS_MCP_CONFIG)."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON of a stable shape."),
    ):
        function = option(function)
    return function


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every command takes that an operator signs."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--passphrase-file", type=file, help="File with the key's passphrase (OPS_MCP_OPERATOR_PASSPHRASE_FILE)."),
        click.option("--operator", metavar="NAME", help="Who gives the order, where several keys are here (OPS_MCP_OPERATOR)."),
    ):
        function = option(function)
    return function


def command(
    name: str, *, group: click.Group | None = None, signed: bool = False, seconds: float | None = 60
) -> Callable[[Body], click.Command]:
    """Declare a command. Its body takes a `Desk` and its own options and returns a `Reply`; it may be async.

    `seconds` bounds an async body; None is for those that run until they are stopped.
    """

    def declared(body: Body) -> click.Command:
        @functools.wraps(body)
        def callback(**given: Any) -> int:
            context = click.get_current_context()
            desk = _desk(context, given, signed=signed)
            reply = _outcome(body, desk, given, seconds)
            show(reply, as_json=desk.as_json)
            return reply.exit_code

        dressed = common_options(signing_options(callback) if signed else callback)
        made = click.command(name, help=body.__doc__)(dressed)
        if group is not None:
            group.add_command(made)
        return made

    return declared


def group(name: str, *, help: str) -> click.Group:
    """A group of commands."""
    return click.Group(name, help=help, no_args_is_help=True)


def run(arguments: Sequence[str], around: Surroundings | None = None) -> int:
    """Run a command line; the exit code."""
    as_json = "--json" in arguments
    try:
        code = terminal.main(list(arguments), prog_name="ops-mcp", standalone_mode=False, obj=around)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except OpsError as error:
        complain(error.problem, as_json=as_json)
        return EXIT_CODES[error.code]
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    except click.UsageError as error:
        complain(_usage(error), as_json=as_json)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has seen enough; without this Python complains once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _desk(context: click.Context, given: dict[str, Any], *, signed: bool) -> Desk:
    """The desk from the common options, given before or after the command's name."""
    outer = context.find_root().params
    return Desk(
        around=context.obj or Surroundings.real(),
        as_json=given.pop("as_json") or outer.get("as_json", False),
        config_dir=given.pop("config_dir") or outer.get("config_dir"),
        state_dir=given.pop("state_dir") or outer.get("state_dir"),
        operator=given.pop("operator") if signed else None,
        passphrase_file=given.pop("passphrase_file") if signed else None,
    )


def _outcome(body: Body, desk: Desk, given: dict[str, Any], seconds: float | None) -> Reply:
    answer = body(desk, **given)
    return answer if isinstance(answer, Reply) else anyio.run(_bounded, answer, seconds)


async def _bounded(answer: Awaitable[Reply], seconds: float | None) -> Reply:
    try:
        with anyio.fail_after(seconds):
            return await answer
    except TimeoutError as error:
        raise DeadlineExceeded(f"No answer within {seconds:g} seconds.", hint="Run: ops-mcp doctor") from error


def _usage(error: click.UsageError) -> Problem:
    path = error.ctx.command_path if error.ctx else "ops-mcp"
    return Problem(code=Code.invalid_arguments, message=error.format_message(), hint=f"Try: {path} --help")


@click.group("ops-mcp", cls=Terminal, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def terminal(**_: Any) -> None:
    """Operations for AI agents, governed.

    Without a command, ops-mcp serves MCP over standard input and output; with --remote URL it passes the calls on to a server
    elsewhere. Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 not found, 5 not verified, 6 unavailable, 7 not configured,
    8 verified only up to a record, 130 interrupted.
    """
