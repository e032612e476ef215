"""A worker tells what was withheld, notices who fell silent, forgets what is over, and goes when nothing of it is left."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp import worker
from ops_mcp.operations.loop import Rhythm, work
from ops_mcp.operations.parts import Reins
from ops_mcp.operations.tasks import FORGET_EVERY
from tests.house import House, house
from tests.tools.supervise.test_checkpoint import report

pytestmark = pytest.mark.anyio

RHYTHM = Rhythm(idle_seconds=10, rounds_seconds=0.02, chores_seconds=0.05, poll_seconds=0.02, lease_seconds=100_000)


@asynccontextmanager
async def at_work(tmp_path: Path, **supervise: Any) -> AsyncGenerator[tuple[House, anyio.Event]]:
    """A house whose worker is a real one; the event is set when it goes."""
    channels = {"ops": {"kind": "file", "path": str(tmp_path / "told.jsonl")}}
    async with house(tmp_path, channels=channels, supervise={"channel": "ops", **supervise}) as home:
        gone = anyio.Event()

        async def working() -> None:
            await work(worker.desk_of(home.opened, RHYTHM), Reins())
            gone.set()

        async with anyio.create_task_group() as group:
            group.start_soon(working)
            yield home, gone
            group.cancel_scope.cancel()


async def posts(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    """What was told so far, once there is so much of it."""
    file = tmp_path / "told.jsonl"
    with anyio.fail_after(30):
        while not file.exists() or len(file.read_text().splitlines()) < count:
            await anyio.sleep(0.02)
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_the_newest_withheld_checkpoint_is_told_once_its_time_has_come(tmp_path: Path) -> None:
    # S2-01
    async with at_work(tmp_path) as (home, _):
        agent = await home.agent()
        task = (await report(home, agent, action="first"))["task"]
        await posts(tmp_path, 1)
        for action in ("second", "third"):
            assert (await report(home, agent, task, action=action))["posted"] == "later"
        home.advance(seconds=30)
        told = await posts(tmp_path, 2)
        assert ["Last Action: " + action in str(post) for action, post in zip(("first", "third"), told, strict=True)] == [
            True,
            True,
        ]


async def test_a_task_that_fell_silent_is_told_once_and_keeps_no_worker(tmp_path: Path) -> None:
    # S2-91
    async with at_work(tmp_path) as (home, gone):
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await posts(tmp_path, 1)
        home.advance(seconds=899)
        await looked(home)
        assert not gone.is_set(), "a task that goes on may still stall"
        assert len(await posts(tmp_path, 1)) == 1
        home.advance(seconds=1)
        assert "STALLED" in str((await posts(tmp_path, 2))[-1])
        with anyio.fail_after(30):
            while not gone.is_set():
                home.advance(seconds=5)
                await anyio.sleep(0.02)
        assert len(await posts(tmp_path, 2)) == 2
        shown = await home.app.sights.tasks.get(task)
        assert shown is not None
        assert shown.state == "stalled"


async def looked(home: House) -> None:
    """Until the worker had several rounds and chores: each of them writes within its pace."""
    for _ in range(20):
        await home.database.write(lambda _: None)
        await anyio.sleep(0.02)


async def test_a_worker_that_was_killed_is_followed_by_one_that_tells_what_was_withheld(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (home, _):
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await posts(tmp_path, 1)
        await report(home, agent, task, action="withheld")
        moment = home.now[0]
    async with at_work(tmp_path) as (home, _):
        home.now[0] = moment
        home.advance(seconds=30)
        assert "Last Action: withheld" in str((await posts(tmp_path, 2))[-1])


async def test_a_task_is_forgotten_when_an_operator_keeps_it_no_longer(tmp_path: Path) -> None:
    async with at_work(tmp_path, keep_days=1) as (home, _):
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await report(home, agent, task, status="complete")
        await report(home, agent, name="Waits", status="blocked", reason="no key")
        other = (await report(home, agent, name="Goes on"))["task"]
        await posts(tmp_path, 4)
        for _ in range(2):
            home.advance(hours=13)
            await report(home, agent, other)
        home.advance(seconds=FORGET_EVERY.total_seconds())
        with anyio.fail_after(30):
            while await home.count("tasks") > 1:
                await anyio.sleep(0.02)
        assert (await home.app.sights.tasks.get(other)) is not None
