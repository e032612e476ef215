"""A hundred agents with fifty checkpoints each through HTTP: all are stored, people are told no faster than they asked for, and
of every task the last state."""

import json
import sqlite3
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from ops_mcp.cli.app import run
from ops_mcp.cli.desk import Surroundings
from ops_mcp.client import Reach, Supervisor, agent_task
from ops_mcp.values import Secret
from tests.client.running import Installation, installation

AGENTS, CHECKPOINTS = 100, 50
INTERVAL = 10.0
"""Seconds between two posts of a task: shorter than the default, so that there are some within the test."""
RATE = 600
"""Messages a minute that the channel takes."""

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def hired(made: Installation, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The tokens of a hundred agents, made by the terminal's own command in this process, which is quicker."""
    around = Surroundings(made.environ, Surroundings.real().clock, Surroundings.real().new_secret, can_ask=False)
    tokens: list[str] = []
    for number in range(AGENTS):
        capsys.readouterr()
        assert run(["agent", "add", f"agent-{number}", "--tier", "staging", "--json"], around) == 0
        tokens.append(json.loads(capsys.readouterr().out)["token"])
    return tokens


async def work(made: Installation, number: int, token: str) -> None:
    reach = Reach(url=made.url, token=Secret(token), spool=made.home / "spool")
    async with Supervisor(reach) as ours, agent_task(f"job {number}", environment="sandbox", server=ours) as task:
        for step in range(CHECKPOINTS):
            await task.checkpoint(f"step {step}", progress=step * 2, force=step == CHECKPOINTS // 2)


async def test_a_hundred_agents_report_and_all_is_stored_and_told_in_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation(tmp_path / "house", interval=INTERVAL, rate=RATE) as made:
        tokens = await anyio.to_thread.run_sync(hired, made, capsys)
        made.start()
        async with anyio.create_task_group() as group:
            for number, token in enumerate(tokens):
                group.start_soon(work, made, number, token)
        # What a loaded machine could not take in time lies in the spool; the next one to start sends it.
        for token in tokens:
            async with Supervisor(Reach(url=made.url, token=Secret(token), spool=made.home / "spool")) as ours:
                if ours.left():
                    await ours.flush(60)
                assert ours.left() == 0
        stored = {f"job {number}": made.checkpoints(f"job {number}") for number in range(AGENTS)}
        steps = [("checkpoint", f"step {step}") for step in range(CHECKPOINTS)]
        for name, checkpoints in stored.items():
            assert checkpoints == [("starting", f"Starting: {name}"), *steps, ("complete", "Completed")], name
        assert set(made.tasks().values()) == {("completed", "complete")}
        with anyio.fail_after(240):
            while waiting(made):
                await anyio.sleep(0.5)
        judged(made)


def waiting(made: Installation) -> int:
    try:
        undelivered = "SELECT COUNT(*) FROM outbox WHERE state <> 'delivered'"
        untold = "SELECT COUNT(*) FROM tasks WHERE post_due_at IS NOT NULL"
        return int(made.rows(f"SELECT ({undelivered}) + ({untold})")[0][0])
    except sqlite3.OperationalError:  # locked for a moment
        return 1


def judged(made: Installation) -> None:
    """What arrived in the channel, against what the operator wants."""
    sent = {
        id: (datetime.fromisoformat(created), datetime.fromisoformat(settled))
        for id, created, settled in made.rows("SELECT id, enqueued_at, settled_at FROM outbox")
    }
    posts = [json.loads(line) for line in made.told.read_text(encoding="ascii").splitlines()]
    assert len({post["id"] for post in posts}) == len(posts) == len(sent)
    arrived = sorted(settled for _, settled in sent.values())
    gap = timedelta(seconds=60 / RATE)
    assert not [pair for pair in pairwise(arrived) if pair[1] - pair[0] < gap]
    threads: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for post in posts:
        threads[post["thread"]].append(post)
    assert len(threads) == AGENTS
    for thread in threads.values():
        assert "COMPLETE" in thread[-1]["title"]
        hurried = 0
        for before, after in pairwise(thread):
            if sent[after["id"]][0] - sent[before["id"]][0] < timedelta(seconds=INTERVAL):
                hurried += 1
        # At once are told the forced one and the end; all others keep their distance.
        assert hurried <= 2, [post["title"] for post in thread]
