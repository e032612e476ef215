"""`ops-mcp completion` and `ops-mcp version`."""

import platform
import sys
from importlib.metadata import version as installed

import click
from click.shell_completion import get_completion_class

from ops_mcp import __version__
from ops_mcp.cli.app import command, terminal
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply
from ops_mcp.errors import Unsupported

WHERE = {
    "bash": 'Add to ~/.bashrc: eval "$(ops-mcp completion bash)"',
    "zsh": 'Add to ~/.zshrc: eval "$(ops-mcp completion zsh)"',
    "fish": "Run: ops-mcp completion fish > ~/.config/fish/completions/ops-mcp.fish",
}


@command("completion")
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion_command(desk: Desk, *, shell: str) -> Reply:  # noqa: ARG001  # every command has a desk
    """Print the completion script of SHELL."""
    completion = get_completion_class(shell)
    if completion is None:
        raise Unsupported(f"There is no completion for {shell}.", hint=f"There is one for: {', '.join(WHERE)}.")
    script = completion(terminal, {}, "ops-mcp", "_OPS_MCP_COMPLETE").source()
    return Reply({"shell": shell, "script": script, "install": WHERE[shell]}, (f"# {WHERE[shell]}\n{script}",))


@command("version")
def version_command(desk: Desk) -> Reply:  # noqa: ARG001  # every command has a desk
    """Show the version of ops-mcp and of what it stands on."""
    data = {"ops_mcp": __version__, "mcp": installed("mcp"), "python": platform.python_version(), "platform": sys.platform}
    return Reply(dict(data), (f"ops-mcp {__version__} (mcp {data['mcp']}, Python {data['python']}, {sys.platform})",))
