"""How each MCP client wants to be told about a server: which file, which shape. Pure; writes nothing.

No shape for a project's files can hold a token: they carry a reference that the client fills in from the user's side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from ops_mcp.values import Json, JsonObject, Secret

NAME = "ops"


class ClientKind(StrEnum):
    """The clients whose configuration is known here."""

    claude_code = "claude-code"
    claude_desktop = "claude-desktop"
    cursor = "cursor"
    vscode = "vscode"


class Launch(NamedTuple):
    """How the client starts us."""

    command: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """One client's configuration: where, under which key, and how it refers to a value of the user's environment."""

    user_file: Callable[[Path, Mapping[str, str], str], Path]
    project_file: str | None
    key: str
    reference: str | None
    says_stdio: bool
    inputs: bool = False
    after: str = "Restart the client."


def shape_of(kind: ClientKind) -> Shape:
    return _SHAPES[kind]


def entry(shape: Shape, launch: Launch, token: Secret | None) -> JsonObject:
    """The server's entry. Without a token it holds the reference; where the client has none, no token at all."""
    made: JsonObject = {"type": "stdio"} if shape.says_stdio else {}
    made |= {"command": launch.command, "args": list(launch.arguments)}
    value = token.get_secret_value() if token else shape.reference
    return {**made, "env": {"OPS_MCP_TOKEN": value}} if value is not None else made


def merged(shape: Shape, present: JsonObject, name: str, made: JsonObject) -> JsonObject:
    """`present` with our entry added or replaced, everything else untouched."""
    servers = present.get(shape.key)
    result: JsonObject = {**present, shape.key: {**(servers if isinstance(servers, dict) else {}), name: made}}
    env = made.get("env")
    if shape.inputs and isinstance(env, dict) and env.get("OPS_MCP_TOKEN") == shape.reference:
        result["inputs"] = _with_input(present.get("inputs"))
    return result


def _with_input(present: Json) -> list[Json]:
    """VS Code asks for the token once and keeps it in its own secret store."""
    ours: JsonObject = {"type": "promptString", "id": "ops-mcp-token", "description": "ops-mcp agent token", "password": True}
    others = present if isinstance(present, list) else []
    return [*(one for one in others if not (isinstance(one, dict) and one.get("id") == ours["id"])), ours]


def _support(home: Path, environ: Mapping[str, str], platform: str) -> Path:
    """Where desktop applications keep their configuration."""
    if platform == "darwin":
        return home / "Library" / "Application Support"
    if platform == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")


_SHAPES: dict[ClientKind, Shape] = {
    ClientKind.claude_code: Shape(
        user_file=lambda home, _environ, _platform: home / ".claude.json",
        project_file=".mcp.json",
        key="mcpServers",
        reference="${OPS_MCP_TOKEN}",
        says_stdio=True,
        after="Start Claude Code with OPS_MCP_TOKEN in its environment; /mcp shows the server.",
    ),
    ClientKind.claude_desktop: Shape(
        user_file=lambda home, environ, platform: _support(home, environ, platform) / "Claude" / "claude_desktop_config.json",
        project_file=None,
        key="mcpServers",
        reference=None,
        says_stdio=False,
        after="Quit Claude Desktop fully and open it again.",
    ),
    ClientKind.cursor: Shape(
        user_file=lambda home, _environ, _platform: home / ".cursor" / "mcp.json",
        project_file=".cursor/mcp.json",
        key="mcpServers",
        reference="${env:OPS_MCP_TOKEN}",
        says_stdio=True,
        after="Start Cursor with OPS_MCP_TOKEN in its environment.",
    ),
    ClientKind.vscode: Shape(
        user_file=lambda home, environ, platform: _support(home, environ, platform) / "Code" / "User" / "mcp.json",
        project_file=".vscode/mcp.json",
        key="servers",
        reference="${input:ops-mcp-token}",
        says_stdio=True,
        inputs=True,
        after="VS Code asks for the token when it first starts the server, and keeps it.",
    ),
}  # fmt: skip
