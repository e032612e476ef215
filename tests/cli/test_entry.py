"""How a command line is taken: what serves, what is a command, and what an error ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from inline_snapshot import snapshot

from ops_mcp.cli.app import COMMANDS
from ops_mcp.cli.app import terminal as commands
from ops_mcp.cli.entry import Serving, serving_asked
from ops_mcp.cli.paint import EXIT_CODES
from ops_mcp.errors import Code
from tests.cli.conftest import Terminal


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], Serving()),
        (["--remote", "https://ops.example.com/mcp"], Serving(remote="https://ops.example.com/mcp")),
        (["--config=/c", "--state", "/s"], Serving(config_dir=Path("/c"), state_dir=Path("/s"))),
        (["status"], None),
        (["--json"], None),
        (["--config", "/c", "status"], None),
        (["--config"], None),
        (["--help"], None),
    ],
)
def test_only_the_servers_own_options_serve_over_stdio(arguments: list[str], asked: Serving | None) -> None:
    assert serving_asked(arguments) == asked


def test_every_kind_of_error_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(Code)


def test_every_command_has_json_and_help() -> None:
    for name, made in all_commands():
        assert made.help, name
        assert any(option.name == "as_json" for option in made.params), name
        assert all(option.help for option in made.params if isinstance(option, click.Option)), name


def test_the_commands_are_those_that_were_reviewed() -> None:
    assert [name for name, _ in all_commands()] == snapshot(
        [
            "serve",
            "init",
            "doctor",
            "status",
            "connect",
            "service add",
            "service list",
            "service remove",
            "inventory list",
            "inventory import",
            "secret set",
            "secret list",
            "secret remove",
            "operator add",
            "operator list",
            "operator revoke",
            "operator token",
            "agent add",
            "agent list",
            "agent set",
            "agent rotate",
            "agent revoke",
            "budget show",
            "budget reset",
            "approvals",
            "approve",
            "deny",
            "page",
            "alerts open",
            "alerts rules",
            "alerts import",
            "alerts export",
            "alerts silence",
            "alerts assign",
            "metrics",
            "top",
            "freeze",
            "unfreeze",
            "kill",
            "unkill",
            "task list",
            "task show",
            "task cancel",
            "checkpoint",
            "outbox list",
            "outbox retry",
            "figures",
            "audit verify",
            "audit search",
            "audit export",
            "audit anchor",
            "audit retain",
            "policy show",
            "policy explain",
            "policy test",
            "db check",
            "db migrate",
            "db copy",
            "worker status",
            "worker stop",
            "completion",
            "version",
        ]
    )


def test_a_wrong_option_ends_with_2_and_says_where_help_is(terminal: Terminal) -> None:
    told = terminal("agent", "add", "--nope", "--json")
    assert told.code == 2
    assert told.problem["hint"] == "Try: ops-mcp agent add --help"
    assert told.out == ""


def test_json_may_stand_before_the_command(terminal: Terminal) -> None:
    assert terminal("--json", "agent", "list").data == {"agents": []}


def test_without_an_installation_commands_say_how_to_make_one(bare: Terminal) -> None:
    told = bare("status", "--json")
    assert (told.code, told.problem["code"], told.problem["hint"]) == (7, "not_configured", "Run: ops-mcp init")
    assert not bare.state_dir.exists()


def test_errors_go_to_standard_error_as_message_and_hint(terminal: Terminal) -> None:
    told = terminal("agent", "revoke", "ghost", "--reason", "x")
    assert (told.out, told.err) == ("", "not_found: There is no agent 'ghost'.\nThere is none yet. Run: ops-mcp agent add NAME\n")


def test_a_broken_configuration_names_file_and_field(terminal: Terminal) -> None:
    (terminal.config_dir / "config.toml").write_text("[http]\nprot = 1\n", encoding="utf-8")
    told = terminal("status", "--json")
    assert told.code == 7
    assert "config.toml: http.prot" in told.problem["message"]


def test_a_real_process_installs_and_lists_without_colours_or_control_characters(tmp_path: Path) -> None:
    assert ops_mcp(tmp_path, "init").returncode == 0
    assert ops_mcp(tmp_path, "agent", "add", "bot").returncode == 0
    listed = ops_mcp(tmp_path, "agent", "list")
    assert listed.stdout.splitlines()[1].split() == ["bot", "operator", "sandbox", "100", "sandbox", "ok"]
    assert "\x1b" not in listed.stdout


def test_a_real_process_takes_a_secret_from_standard_input_only(tmp_path: Path) -> None:
    ops_mcp(tmp_path, "init")
    told = ops_mcp(tmp_path, "secret", "set", "db", given="hunter2\n")
    assert told.returncode == 0
    assert "hunter2" not in told.stdout + told.stderr
    assert (tmp_path / ".config/ops-mcp/secrets/db").read_text(encoding="utf-8") == "hunter2"
    assert "hunter2" not in ops_mcp(tmp_path, "secret", "list", "--json").stdout
    assert ops_mcp(tmp_path, "secret", "set", "db", "hunter3").returncode == 2
    assert ops_mcp(tmp_path, "secret", "remove", "db").returncode == 0


def test_the_completion_of_a_shell_is_asked_without_starting_a_server(tmp_path: Path) -> None:
    asked = ops_mcp(tmp_path, _OPS_MCP_COMPLETE="bash_complete", COMP_WORDS="ops-mcp age", COMP_CWORD="1")
    assert (asked.returncode, asked.stdout) == (0, "plain,agent\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(bare: Terminal, shell: str) -> None:
    assert "_OPS_MCP_COMPLETE" in bare("completion", shell).out


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    ops_mcp(tmp_path, "init")
    with subprocess.Popen(
        [sys.executable, "-m", "ops_mcp", "policy", "show"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path), text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=30) == 0
    assert errors == ""


def test_importing_the_entry_imports_no_command(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, ops_mcp.cli; print(sorted({'click', 'pydantic', 'mcp', 'rich'} & set(sys.modules)))"],
        capture_output=True, text=True, timeout=30, env=environment(tmp_path), check=True,
    )  # fmt: skip
    assert told.stdout == "[]\n"


def test_the_server_over_stdio_never_opens_an_operators_key(tmp_path: Path) -> None:
    """The key is made unreadable in a way that any attempt to open it would show: it is a named pipe that blocks."""
    ops_mcp(tmp_path, "init")
    key = tmp_path / ".config/ops-mcp/operators/operator.key"
    key.unlink()
    os.mkfifo(key, 0o600)
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    told = ops_mcp(tmp_path, given=json.dumps(hello) + "\n")
    answer: Any = json.loads(told.stdout.splitlines()[0])
    assert answer["result"]["serverInfo"]["name"] == "ops-mcp"


def all_commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        made = commands.get_command(click.Context(commands), name)
        assert made is not None, name
        if isinstance(made, click.Group):
            found += [(f"{name} {sub}", command) for sub, command in made.commands.items()]
        else:
            found.append((name, made))
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], **more}


def ops_mcp(home: Path, *arguments: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops_mcp", *arguments],
        input=given, capture_output=True, text=True, timeout=30, env=environment(home, **more), check=False,
    )  # fmt: skip
