"""Chooses between serving over stdio and the terminal's commands by a glance at the arguments.

Serving must start about as fast as a bare server, so nothing here imports what only the commands need.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_COMPLETING = "_OPS_MCP_COMPLETE"
"""Set by the shell while it asks for completions; it then runs us without arguments."""


class Serving(NamedTuple):
    """How to serve over stdio: here, or through the server at `remote`."""

    remote: str | None = None
    config_dir: Path | None = None
    state_dir: Path | None = None


def start(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; the exit code."""
    serving = None if _COMPLETING in os.environ else serving_asked(arguments)
    if serving is None:
        from ops_mcp.cli.app import run  # click and everything the commands need

        return run(arguments)
    if sys.stdin.isatty():
        print("Waiting for an MCP client on standard input. For commands: ops-mcp --help", file=sys.stderr)
    from ops_mcp.cli import stdio  # the server, heavy, and only needed here

    return stdio.serve(remote=serving.remote, config_dir=serving.config_dir, state_dir=serving.state_dir)


def serving_asked(arguments: Sequence[str]) -> Serving | None:
    """The stdio server's options when there is nothing but them; None for everything else."""
    given = Serving()
    rest = list(arguments)
    while rest:
        name, joined, value = rest.pop(0).partition("=")
        if name not in ("--remote", "--config", "--state"):
            return None
        if not joined:
            if not rest:
                return None
            value = rest.pop(0)
        match name:
            case "--remote":
                given = given._replace(remote=value)
            case "--config":
                given = given._replace(config_dir=Path(value))
            case _:
                given = given._replace(state_dir=Path(value))
    return given
