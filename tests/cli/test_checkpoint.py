"""`ops-mcp checkpoint` in a script: it prints the task, ends with 0 whatever becomes of the server, and acts as the agent."""

import json
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from tests.cli.conftest import Terminal
from tests.client.running import installation

HTTP = {"OPS_MCP_URL": "http://127.0.0.1:9/mcp", "OPS_MCP_TOKEN": "opsmcp_" + "a" * 30}


def test_without_a_server_it_says_so_ends_with_0_and_prints_a_name_that_goes_on(bare: Terminal) -> None:
    bare.environ |= HTTP
    begun = bare("checkpoint", "--name", "Backup", "--environment", "sandbox", "Begun")
    assert begun.code == 0
    assert begun.out.startswith("local_")
    assert begun.err == snapshot(
        """\
unavailable: ops-mcp cannot be reached.
It is kept and sent later.
"""
    )
    told = bare("checkpoint", "--task", begun.out.strip(), "--progress", "50", "Half", "--json")
    assert (told.code, told.data) == (
        0,
        {"left": 2, "task": begun.out.strip(), "stored": False, "spooled": True, "cancel_requested": False},
    )
    assert told.problem["code"] == "unavailable"


def test_a_strict_script_is_told_by_the_exit_code(bare: Terminal) -> None:
    bare.environ |= HTTP
    assert bare("checkpoint", "--name", "Backup", "--environment", "sandbox", "Begun", "--strict").code == 6
    assert bare("checkpoint", "--flush", "--strict").code == 6
    told = bare("checkpoint", "--flush")
    assert (told.code, told.out) == (0, "")
    assert told.err == snapshot("""\
unavailable: 1 checkpoints wait to be sent.
Run: ops-mcp doctor
""")


def test_without_a_token_nothing_is_kept_and_the_script_goes_on(bare: Terminal) -> None:
    told = bare("checkpoint", "--name", "Backup", "--environment", "sandbox", "Begun")
    assert (told.code, told.err.splitlines()[0]) == (0, "not_configured: OPS_MCP_TOKEN is not set to a token.")
    assert bare("checkpoint", "--name", "Backup", "--environment", "sandbox", "Begun", "--strict").code == 7


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "TEXT is missing."),
        (("Begun",), "There is no task to report on."),
        (("Begun", "--name", "x"), "There is no task to report on."),
        (("Begun", "--task", "t", "--artifact", "pull_request=http://x"), "--artifact: give KIND=https://…"),
    ],
)
def test_what_a_script_forgot_is_a_usage_error(bare: Terminal, arguments: tuple[str, ...], problem: str) -> None:
    bare.environ |= HTTP
    told = bare("checkpoint", *arguments, "--json")
    assert (told.code, told.problem["message"]) == (2, problem)


@pytest.mark.slow
def test_it_reports_as_the_agent_and_hears_that_the_end_is_wanted(tmp_path: Path) -> None:
    with installation(tmp_path / "house") as made:
        environ = made.agents_environ("http")
        made.start()
        opened = made.run(
            "checkpoint", "--name", "Backup", "--environment", "sandbox", "--kind", "build", "--artifact",
            "pull_request=https://example.com/1", "Begun", "--json", environ=environ,
        )  # fmt: skip
        task = json.loads(opened.stdout)["task"]
        assert (opened.returncode, json.loads(opened.stdout)["stored"], opened.stderr) == (0, True, "")
        made.must("task", "cancel", task, "--reason", "enough")
        told = made.run("checkpoint", "--task", task, "--status", "working", "Half", environ=environ)
        assert (told.returncode, told.stdout) == (0, f"{task}\n")
        assert told.stderr == "Stop: operator:olivia asked for the end of this task. enough\n"
        refused = made.run("checkpoint", "--task", task.replace("task_0", "task_1"), "Half", "--strict", environ=environ)
        assert (refused.returncode, refused.stderr.splitlines()[0]) == (4, "not_found: There is no task with this id.")
        assert made.checkpoints("Backup") == [("starting", "Begun"), ("working", "Half")]
