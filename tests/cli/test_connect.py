"""What is written for each client: the right file, the right shape, and never a token in a project."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from ops_mcp.cli.clients import ClientKind, Launch, entry, merged, shape_of
from ops_mcp.values import Secret
from tests.cli.conftest import Terminal

TOKEN = "opsmcp_" + "x" * 43
LAUNCH = Launch("ops-mcp", ("--state", "/s"))


def test_each_client_gets_its_own_shape() -> None:
    made = {kind.value: merged(shape_of(kind), {}, "ops", entry(shape_of(kind), LAUNCH, None)) for kind in ClientKind}
    assert made == snapshot(
        {
            "claude-code": {
                "mcpServers": {
                    "ops": {
                        "type": "stdio",
                        "command": "ops-mcp",
                        "args": ["--state", "/s"],
                        "env": {"OPS_MCP_TOKEN": "${OPS_MCP_TOKEN}"},
                    }
                }
            },
            "claude-desktop": {"mcpServers": {"ops": {"command": "ops-mcp", "args": ["--state", "/s"]}}},
            "cursor": {
                "mcpServers": {
                    "ops": {
                        "type": "stdio",
                        "command": "ops-mcp",
                        "args": ["--state", "/s"],
                        "env": {"OPS_MCP_TOKEN": "${env:OPS_MCP_TOKEN}"},
                    }
                }
            },
            "vscode": {
                "servers": {
                    "ops": {
                        "type": "stdio",
                        "command": "ops-mcp",
                        "args": ["--state", "/s"],
                        "env": {"OPS_MCP_TOKEN": "${input:ops-mcp-token}"},
                    }
                },
                "inputs": [
                    {"type": "promptString", "id": "ops-mcp-token", "description": "ops-mcp agent token", "password": True}
                ],
            },
        }
    )


@pytest.mark.parametrize(
    ("client", "platform", "file"),
    [
        ("claude-code", "linux", ".claude.json"),
        ("claude-desktop", "darwin", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", ".config/Claude/claude_desktop_config.json"),
        ("cursor", "linux", ".cursor/mcp.json"),
        ("vscode", "linux", ".config/Code/User/mcp.json"),
        ("vscode", "darwin", "Library/Application Support/Code/User/mcp.json"),
    ],
)
def test_each_client_reads_its_own_file(client: str, platform: str, file: str) -> None:
    home = Path("/home/alice")
    assert shape_of(ClientKind(client)).user_file(home, {}, platform) == home / file


def test_what_was_there_stays_and_our_entry_is_replaced_not_doubled() -> None:
    shape = shape_of(ClientKind.vscode)
    present = {"servers": {"other": {"command": "x"}}, "inputs": [{"id": "theirs"}], "theme": "dark"}
    once = merged(shape, present, "ops", entry(shape, LAUNCH, None))
    assert merged(shape, once, "ops", entry(shape, LAUNCH, None)) == once
    assert (once["theme"], once["servers"]["other"]) == ("dark", {"command": "x"})
    assert [one["id"] for one in once["inputs"]] == ["theirs", "ops-mcp-token"]


@pytest.mark.parametrize("kind", list(ClientKind))
def test_a_given_token_stands_in_the_entry_and_asks_for_nothing(kind: ClientKind) -> None:
    shape = shape_of(kind)
    made = entry(shape, LAUNCH, Secret(TOKEN))
    assert made["env"] == {"OPS_MCP_TOKEN": TOKEN}
    assert "inputs" not in merged(shape, {}, "ops", made)


@pytest.mark.parametrize(
    ("client", "file"), [("claude-code", ".mcp.json"), ("cursor", ".cursor/mcp.json"), ("vscode", ".vscode/mcp.json")]
)
def test_a_projects_file_holds_a_reference_and_no_path_of_this_machine(terminal: Terminal, client: str, file: str) -> None:
    project = terminal.root / "project"
    project.mkdir()
    terminal.environ["OPS_MCP_TOKEN"] = TOKEN
    assert terminal("connect", client, "--project", str(project)).code == 0
    text = (project / file).read_text(encoding="utf-8")
    assert TOKEN not in text
    assert str(terminal.root) not in text
    assert sys.prefix not in text
    assert json.loads(text)


def test_a_token_is_refused_for_a_project(terminal: Terminal) -> None:
    terminal("agent", "add", "bot", "--token-file", str(terminal.root / "token"))
    told = terminal("connect", "cursor", "--project", str(terminal.root), "--token-file", str(terminal.root / "token"))
    assert told.code == 2
    assert not (terminal.root / ".cursor").exists()


def test_a_users_own_file_may_hold_the_token_and_is_private_then(terminal: Terminal) -> None:
    terminal("agent", "add", "bot", "--token-file", str(terminal.root / "token"))
    told = terminal("connect", "claude-desktop", "--token-file", str(terminal.root / "token"), "--json")
    assert (told.code, told.data["token_written"]) == (0, True)
    assert "opsmcp_token" not in told.out
    file = Path(told.data["file"])
    assert json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["ops"]["env"] == {"OPS_MCP_TOKEN": "opsmcp_token-0"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_dry_run_writes_nothing_and_shows_only_our_entry(terminal: Terminal) -> None:
    file = terminal.root / ".claude.json"
    file.write_text('{"mcpServers": {"other": {"env": {"KEY": "theirs"}}}}', encoding="utf-8")
    told = terminal("connect", "claude-code", "--dry-run")
    assert "theirs" not in told.out
    assert '"ops"' in told.out
    assert "theirs" in file.read_text(encoding="utf-8")
    assert "ops" not in json.loads(file.read_text(encoding="utf-8"))["mcpServers"]


def test_a_file_that_is_no_json_is_left_alone(terminal: Terminal) -> None:
    file = terminal.root / ".claude.json"
    file.write_text("// mine\n{", encoding="utf-8")
    assert terminal("connect", "claude-code").code == 7
    assert file.read_text(encoding="utf-8") == "// mine\n{"


def test_a_remote_server_is_reached_through_the_bridge(terminal: Terminal) -> None:
    told = terminal("connect", "cursor", "--remote", "https://ops.example.com/mcp", "--dry-run", "--json")
    made: Any = told.data["entry"]
    assert made["args"][-2:] == ["--remote", "https://ops.example.com/mcp"]
