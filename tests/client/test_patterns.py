"""The examples of docs/client.md as they stand there, over stdio and HTTP, with the server killed in the middle and started
again: nothing is lost, nothing is there twice, and the order is kept."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.client.running import ROOT, Installation, installation

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SCRIPT = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)[0]

MY_AGENT = '''
"""The work of an agent, which waits at each step until the test lets it go on."""

import sys

def __getattr__(name):
    def step():
        print("at", name, flush=True)
        sys.stdin.readline()
        return name
    return step
'''

EXPECTED = {
    0: {
        "Mend the login": [
            ("starting", "Starting: Mend the login"), ("checkpoint", "Analysed the failing tests"),
            ("checkpoint", "Mended the session cookie"), ("checkpoint", "Tokens used: 150,000"), ("checkpoint", "All tests pass"),
            ("checkpoint", "Made: Mend the login"), ("complete", "Completed"),
        ],
    },
    1: {
        # Two tasks of one name, which sort by their ids, that is, by when they were opened.
        "Review the changes": [
            ("starting", "Starting: Review the changes"), ("checkpoint", "Read the changes of #7"), ("complete", "Completed"),
            ("starting", "Starting: Review the changes"), ("checkpoint", "Read the changes of #8"), ("complete", "Completed"),
        ],
    },
    2: {
        "Publish the release": [
            ("starting", "Starting: Publish the release"), ("working", "Built"), ("complete", "Published"),
        ],
    },
    3: {
        "Migrate the data": [
            ("working", "Prepared"), ("checkpoint", "Migrated"), ("checkpoint", "Counted the rows"), ("complete", "Completed"),
        ],
    },
}  # fmt: skip


PLAIN = 3


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "house") as one:
        yield one


@contextmanager
def running(made: Installation, code: str, over: str) -> Iterator["subprocess.Popen[str]"]:
    """An agent's program that stops at each of its steps."""
    (made.home / "my_agent.py").write_text(MY_AGENT, encoding="utf-8")
    environ = made.agents_environ(over) | {"PYTHONPATH": f"{made.home}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, cwd=made.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def steps(process: "subprocess.Popen[str]") -> Iterator[str]:
    """Each step as it is reached; the program goes on when the next one is asked for."""
    assert process.stdout is not None
    assert process.stdin is not None
    for line in process.stdout:
        if line.startswith("at "):
            yield line.split()[1]
            process.stdin.write("on\n")
            process.stdin.flush()


def kill_servers_of(process: "subprocess.Popen[str]") -> int:
    """Kill the servers that a program has started over stdio and that are there now."""
    servers = servers_of(process)
    for server in servers:
        server.kill()
    return len(servers)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < deadline


def servers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[1:] == ["-m", "ops_mcp"]]


def flushed(made: Installation, over: str) -> None:
    """What the program could not send any more is sent."""
    done = made.run("checkpoint", "--flush", "--strict", "--json", environ=made.agents_environ(over))
    assert (done.returncode, json.loads(done.stdout)["left"]) == (0, 0), done.stderr


def test_the_page_has_the_four_patterns_and_a_script() -> None:
    assert len(EXAMPLES) == len(EXPECTED) == 4
    assert SCRIPT.count("ops-mcp checkpoint") == 3


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("opened", ["before the server dies", "while the server is away"])
def test_a_pattern_over_http_outlives_the_servers_death(made: Installation, number: int, opened: str) -> None:
    if opened == "before the server dies":
        made.start()
    with running(made, EXAMPLES[number], "http") as process:
        for count, _step in enumerate(steps(process)):
            if count == 0:
                made.kill()
            elif made.server is None:
                made.start()
        assert process.wait(60) == 0
    flushed(made, "http")
    assert {name: made.checkpoints(name) for name in EXPECTED[number]} == EXPECTED[number]
    assert set(made.tasks()) == set(EXPECTED[number])
    assert set(made.tasks().values()) == {("completed", "complete")}


@pytest.mark.parametrize("number", range(4))
def test_a_pattern_over_stdio_outlives_its_servers_death(made: Installation, number: int) -> None:
    with running(made, EXAMPLES[number], "stdio") as process:
        killed = 0
        for count, _step in enumerate(steps(process)):
            if (count, number) == (1, PLAIN):
                until(lambda: servers_of(process))  # its thread starts one when the first line was emitted
            killed += kill_servers_of(process)
        assert process.wait(60) == 0
    flushed(made, "stdio")
    assert killed >= 1
    assert {name: made.checkpoints(name) for name in EXPECTED[number]} == EXPECTED[number]
    assert set(made.tasks().values()) == {("completed", "complete")}


def test_the_first_pattern_is_told_in_one_thread_no_faster_than_allowed(made: Installation) -> None:
    """20, 50 and 80 %: the start, what was forced, the context level just reached and the end are told; the rest is withheld."""
    made.start()
    with running(made, EXAMPLES[0], "http") as process:
        for _step in steps(process):
            reached = time.monotonic()
            until(lambda since=reached: time.monotonic() > since + 1.2)  # what is forced keeps a second's distance
        assert process.wait(60) == 0
    flushed(made, "http")
    until(lambda: "COMPLETE" in made.told.read_text(encoding="ascii"))
    posts = [json.loads(line) for line in made.told.read_text(encoding="ascii").splitlines()]
    assert len({post["thread"] for post in posts}) == 1
    told = [re.findall(r"Last Action: (.*)", post["untrusted"])[0] for post in posts]
    assert told[0] == "Starting: Mend the login"
    assert told[-1] == "Completed"
    assert told[1] == "Mended the session cookie"
    # The context level was reached within a second of what was forced: told a second later, or with the end if that is sooner.
    assert told[2:-1] in ([], ["Tokens used: 150,000"])
    bodies = [json.loads(body) for (body,) in made.rows("SELECT body FROM checkpoints ORDER BY number")]
    assert [body["progress"] for body in bodies] == [0, 20, 50, 50, 80, 80, 100]
    task = json.loads(made.rows("SELECT body FROM tasks")[0][0])
    assert (task["tokens_used"], task["context"], task["artifacts"]) == (150_000, "warn", 1)


BURST = """
import anyio
from my_agent import begin
from ops_mcp.client import agent_task

async def main():
    async with agent_task("Burst", environment="sandbox") as task:
        for number in range(120):
            if number % 30 == 10:
                begin()
            await task.checkpoint(f"step {number}", progress=number % 100)

anyio.run(main)
"""


def test_a_server_that_is_killed_while_checkpoints_stream_in_loses_and_doubles_none(made: Installation) -> None:
    made.start()
    with running(made, BURST, "http") as process:
        for _step in steps(process):
            made.kill()
            made.start()
        assert process.wait(120) == 0
    flushed(made, "http")
    said = [action for _, action in made.checkpoints("Burst")]
    assert said == ["Starting: Burst", *(f"step {number}" for number in range(120)), "Completed"]


@pytest.mark.parametrize("over", ["http", "stdio"])
def test_the_shell_script_reports_on_one_task(made: Installation, over: str) -> None:
    if over == "http":
        made.start()
    program = made.home / "ops-mcp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ops_mcp "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environ = made.agents_environ(over)
    environ["PATH"] = f"{made.home}:{environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", SCRIPT], env=environ, cwd=made.home, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert made.checkpoints("Nightly backup") == [
        ("starting", "Begun"), ("working", "Dumped the database"), ("complete", "Uploaded"),
    ]  # fmt: skip
