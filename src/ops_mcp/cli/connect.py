"""`ops-mcp connect CLIENT`: adds us to a client's configuration. A token goes into a user's own file only, when given."""

import json
import shutil
import sys
from pathlib import Path
from typing import cast

import click

from ops_mcp.cli.app import command
from ops_mcp.cli.clients import NAME, ClientKind, Launch, Shape, entry, merged, shape_of
from ops_mcp.cli.desk import TOKEN_PREFIX, Desk
from ops_mcp.cli.paint import Part, Reply
from ops_mcp.errors import InvalidArguments, NotConfigured
from ops_mcp.secrets import others_may_read, write_private
from ops_mcp.values import Json, JsonObject, Secret

HIDDEN = "opsmcp_…"


@command("connect")
@click.argument("client", type=click.Choice([kind.value for kind in ClientKind]))
@click.option(
    "--project", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Write this project's file instead."
)
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="Put this file's token in your own configuration."
)
@click.option("--remote", metavar="URL", help="Reach the ops-mcp server at URL instead of serving here.")
@click.option("--name", default=NAME, show_default=True, help="What the client calls the server.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
def connect_command(
    desk: Desk, *, client: str, project: Path | None, token_file: Path | None, remote: str | None, name: str, dry_run: bool
) -> Reply:
    """Add ops-mcp to a client: claude-code, claude-desktop, cursor or vscode."""
    shape = shape_of(ClientKind(client))
    file = _file(desk, shape, client, project)
    token = _token(token_file, project)
    made = entry(shape, _launch(desk, remote, portable=project is not None), token)
    wanted = merged(shape, _present(file), name, made)
    if not dry_run:
        _write(file, wanted, private=project is None)
    shown = _without_token(merged(shape, {}, name, made), token)
    data: JsonObject = {"client": client, "file": str(file), "written": not dry_run, "token_written": bool(token)}
    data |= {"entry": _without_token(made, token)}
    return Reply(data, _told(shape, file, shown, data, project=project))


def _told(shape: Shape, file: Path, shown: JsonObject, data: JsonObject, *, project: Path | None) -> tuple[Part, ...]:
    done = f"Added to {file}." if data["written"] else f"Would add to {file}:\n{json.dumps(shown, indent=2, ensure_ascii=False)}"
    if data["token_written"]:
        token = "It holds the agent's token: the file is yours alone (0600)."  # noqa: S105  # about a token
    elif shape.reference is None:
        token = "It holds no token, so the client is anonymous: sandbox only. Give --token-file FILE to act as an agent."  # noqa: S105
    else:
        token = f"It holds no token, only the reference {shape.reference}."
    where = "Commit it if you like; each user brings their own token." if project else ""
    return tuple(line for line in (done, token, where, shape.after) if line)


def _file(desk: Desk, shape: Shape, client: str, project: Path | None) -> Path:
    if project is None:
        return shape.user_file(desk.around.home, desk.around.environ, sys.platform)
    if shape.project_file is None:
        raise InvalidArguments(f"{client} has no configuration of a project.", hint="Leave out --project.")
    return project / shape.project_file


def _token(file: Path | None, project: Path | None) -> Secret | None:
    """The token to write, if the operator gave one. Never for a project's file: those are shared and committed."""
    if file is None:
        return None
    if project is not None:
        raise InvalidArguments("A token is never written into a project's files.", hint="Leave out --token-file, or --project.")
    try:
        if others_may_read(file):
            raise NotConfigured(f"{file} is readable by others.", hint="Run: ops-mcp agent rotate NAME --token-file FILE")
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(
            f"The token file {file} cannot be read.", hint="ops-mcp agent add NAME --token-file FILE makes one."
        ) from error
    if not token.startswith(TOKEN_PREFIX):
        raise InvalidArguments(f"{file} holds no agent's token.", hint="ops-mcp agent add NAME --token-file FILE makes one.")
    return Secret(token)


def _launch(desk: Desk, remote: str | None, *, portable: bool) -> Launch:
    """How the client starts us. A project's file names no path of this machine."""
    arguments: list[str] = ["--remote", remote] if remote else []
    if portable:
        return Launch("ops-mcp", tuple(arguments))
    config = desk.config()
    if desk.config_dir or "OPS_MCP_CONFIG" in desk.around.environ:
        arguments += ["--config", str(config.config_dir.absolute())]
    if desk.state_dir or "OPS_MCP_STATE" in desk.around.environ:
        arguments += ["--state", str(config.state_dir.absolute())]
    beside = Path(sys.executable).with_name("ops-mcp")
    script = str(beside) if beside.exists() else shutil.which("ops-mcp", path=desk.around.environ.get("PATH"))
    return Launch(script, tuple(arguments)) if script else Launch(sys.executable, ("-m", "ops_mcp", *arguments))


def _present(file: Path) -> JsonObject:
    if not file.exists():
        return {}
    try:
        present: Json = json.loads(file.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError) as error:
        raise NotConfigured(
            f"{file} cannot be read as JSON, so it is left alone.", hint="Mend it, or add the entry of --dry-run."
        ) from error
    if not isinstance(present, dict):
        raise NotConfigured(f"{file} holds no JSON object, so it is left alone.", hint="Mend it first.")
    return present


def _write(file: Path, content: JsonObject, *, private: bool) -> None:
    """Replace the file in one step; a user's own is private from the start."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        real = file.resolve()  # dotfiles are often links into a repository; the link stays
        write_private(real, text)
        if not private:
            real.chmod(0o644)
    except OSError as error:
        raise NotConfigured(
            f"{file} cannot be written: {error.strerror}.", hint="Make its directory writable for you."
        ) from error


def _without_token(value: JsonObject, token: Secret | None) -> JsonObject:
    if token is None:
        return value
    return cast(JsonObject, json.loads(json.dumps(value).replace(token.get_secret_value(), HIDDEN)))
