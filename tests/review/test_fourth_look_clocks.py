"""A clock that is set back by an hour: nothing rests until the hour is over, and nothing is told twice."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.releases import Operation
from ops_mcp.governance.load import Gauge, Guard, Measure
from ops_mcp.operations.chores import paced
from ops_mcp.operations.loop import work
from ops_mcp.operations.parts import Reins
from ops_mcp.operations.sample import Scraping
from ops_mcp.store import outbox
from ops_mcp.store.guard import is_due
from tests.alerts.watching import watched
from tests.channels.receiving import notice
from tests.operations.fakes import START, open_world
from tests.operations.test_loop import desk, until_final
from tests.operations.test_sample import exposing, sampled_world

pytestmark = pytest.mark.anyio

AN_HOUR = timedelta(hours=1)


async def test_a_chore_is_done_at_its_pace_on_the_earlier_clock() -> None:
    now, done = [START], list[datetime]()

    async def chore() -> None:
        done.append(now[0])

    calmly = paced(chore, timedelta(minutes=1), lambda: now[0])
    for step in (timedelta(), -AN_HOUR, timedelta(seconds=59), timedelta(seconds=1)):
        now[0] += step
        await calmly()
    assert done == [START, START - AN_HOUR, START - AN_HOUR + timedelta(minutes=1)]


def test_a_reading_of_the_host_that_was_made_in_the_future_is_made_again() -> None:
    guard = Guard({measure: Gauge(10.0, START) for measure in Measure})
    assert not is_due(guard, START + timedelta(seconds=1))
    assert is_due(guard, START - AN_HOUR)


async def test_operations_are_taken_up_when_the_load_of_the_host_sets_them_apart(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        reins, paused, wrong = Reins(), list[float](), [timedelta()]

        def clock() -> datetime:
            return world.time.now - wrong[0]

        async def a_moment(_operation: Operation) -> float:
            return 0.1

        async def sleep(seconds: float) -> None:
            paused.append(seconds)
            await world.time.sleep(seconds)

        async with anyio.create_task_group() as group:
            group.start_soon(work, replace(desk(world), delay=a_moment, sleep=sleep, clock=clock), reins)
            await world.deploy("v1")
            assert await until_final(world, "dep_1") == "healthy"
            wrong[0] = AN_HOUR
            await world.deploy("v2")
            assert await until_final(world, "dep_2") == "healthy"
            reins.pull()
        assert max(paused) <= 60


async def test_pages_of_metrics_are_fetched_on(tmp_path: Path) -> None:
    async with exposing(b"a 1\n") as exposed, sampled_world(tmp_path) as (world, store):
        reins, wrong = Reins(), [timedelta()]

        def clock() -> datetime:
            return world.time.now - wrong[0]

        async def set_back_once() -> None:
            while not exposed.asked:
                await anyio.sleep(0.001)
            wrong[0], start = AN_HOUR, world.time.now
            while len(exposed.asked) < 2 and world.time.now < start + timedelta(minutes=5):
                await anyio.sleep(0.001)
            reins.pull()

        async with anyio.create_task_group() as group:
            group.start_soon(set_back_once)
            await Scraping(replace(world.parts, reins=reins, clock=clock), store, lambda: [exposed.page()]).run()
        assert len(exposed.asked) >= 2


async def test_what_was_enqueued_before_is_sent_now(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.database.write(lambda tx: outbox.enqueue(tx, notice("ntc_1"), at=START))
        before = START - AN_HOUR
        assert await outbox.is_due(world.database, notice("ntc_1").channel, before)
        claimed = await world.database.write(lambda tx: outbox.claim(tx, notice("ntc_1").channel, fence=1, at=before, most=5))
        assert [one.notice.id for one in claimed] == ["ntc_1"]


async def test_an_alert_that_fires_goes_on_firing_and_its_end_is_seen_and_told_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(for_seconds=30, channels=["pager"])
        for _ in range(4):
            await world.round(9)
        assert await world.states() == ["firing"]
        world.home.advance(minutes=1)
        await world.rounds.tell()
        world.home.advance(minutes=-60)
        assert [one["state"] for one in await world.round(9)] == ["firing"], "it was not seen anew, and waits for nothing"
        assert await world.round(1) == []
        for _ in range(8):
            world.home.advance(minutes=1)
            await world.rounds.tell()
        assert [one["title"] for one in await world.told()] == [
            "[medium] 1 firing in staging: High",
            "[medium] 1 resolved in staging: High",
        ]


async def test_what_fires_again_on_the_earlier_clock_is_told(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(channels=["pager"])
        await world.round(9)
        world.home.advance(minutes=1)
        await world.rounds.tell()
        world.home.advance(minutes=-60)
        assert await world.round(1) == []
        assert len(await world.round(9)) == 1
        for _ in range(8):
            world.home.advance(minutes=1)
            await world.rounds.tell()
        assert len(await world.told()) >= 1
        await world.round(1)
        for _ in range(8):
            world.home.advance(minutes=1)
            await world.rounds.tell()
        assert (await world.told())[-1]["title"] == "[medium] 1 resolved in staging: High"
        assert not await world.home.database.fetch("SELECT 1 FROM alert_groups"), "and nothing is left to tell"


async def test_another_worker_goes_on_after_the_clock_was_set_back(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule()
        await world.round(1)
        world.home.advance(minutes=-60)
        await world.worker()
        assert len(await world.round(9)) == 1
