"""The worker's loop over the fake place: it takes up what is committed, outlives crashes, and leaves when idle or told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.deploying.plans import Asked, Place, deploy_plan
from ops_mcp.domain.releases import Content, Deployment, Operation
from ops_mcp.errors import Conflict, InProgress, Unavailable
from ops_mcp.operations.loop import Desk, Rhythm, acquire, work
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from ops_mcp.store.leases import Claim
from tests.operations.fakes import BINDING, START, World, claim_of, open_world

pytestmark = pytest.mark.anyio

RHYTHM = Rhythm(lease_seconds=60, renew_seconds=10, poll_seconds=0.5, idle_seconds=30, crash_pause_seconds=1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


def desk(world: World, *, holder: str = "worker", version: str = "0.1.0", gone: str = "first", rhythm: Rhythm = RHYTHM) -> Desk:
    """A desk of a worker that knows `gone` to be dead."""

    def parts(fence: int, reins: Reins) -> Parts:
        return replace(world.parts, fence=fence, reins=reins)

    def is_gone(claim: Claim) -> bool:
        return claim.holder == gone

    return Desk(
        database=world.database,
        claim=claim_of(holder, version=version),
        parts=parts,
        clock=world.time.clock,
        sleep=world.time.sleep,
        is_gone=is_gone,
        rhythm=rhythm,
    )


@asynccontextmanager
async def working(desk: Desk, reins: Reins) -> AsyncGenerator[None]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(work, desk, reins)
            yield
            reins.pull()


async def until_final(world: World, deployment: str) -> str:
    with anyio.fail_after(20):
        while (state := await world.state(deployment)) not in {
            "healthy",
            "rolled_back",
            "down",
            "unknown",
            "cancelled",
            "failed",
        }:
            await anyio.sleep(0.001)
    return state


async def test_the_loop_runs_what_is_committed_while_it_works(world: World) -> None:
    async with working(desk(world), Reins()):
        await world.deploy("v1")
        assert await until_final(world, "dep_1") == "healthy"
        await world.deploy("broken")
        assert await until_final(world, "dep_2") == "rolled_back"
    assert world.provider.running == ["v1"]


async def test_an_idle_worker_leaves_and_gives_its_lease_back(world: World) -> None:
    with anyio.fail_after(20):
        await work(desk(world), Reins())
    lease = await leases.present(world.database)
    assert lease is not None
    assert not lease.is_live(world.time.now)


async def test_a_worker_with_a_supervised_service_does_not_leave(world: World) -> None:
    reins = Reins()
    async with working(desk(world), reins):
        await world.deploy("v1")
        await until_final(world, "dep_1")
        start = world.time.now
        with anyio.fail_after(20):
            while (world.time.now - start).total_seconds() < 5 * RHYTHM.idle_seconds:
                await anyio.sleep(0.001)
        assert not reins.pulled


async def test_a_second_worker_is_told_that_one_is_at_work(world: World) -> None:
    with anyio.fail_after(20), pytest.raises(InProgress):
        await acquire(desk(world, gone="nobody", rhythm=replace(RHYTHM, lease_seconds=2)))


async def test_a_worker_of_another_installation_is_refused_aloud(world: World) -> None:
    other = replace(desk(world, gone="nobody"), claim=claim_of("worker", state_dir="elsewhere"))
    with anyio.fail_after(20), pytest.raises(Conflict, match="another state_dir"):
        await acquire(other)


async def test_a_newer_version_takes_over_at_a_step_boundary_and_nothing_is_repeated(world: World) -> None:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(work, desk(world), Reins())
            await world.deploy("v1")
            while await world.state("dep_1") != "watching":
                await anyio.sleep(0.001)
            newer = Reins()
            group.start_soon(work, desk(world, holder="newer", version="0.2.0", gone="nobody"), newer)
            assert await until_final(world, "dep_1") == "healthy"
            newer.pull()
    assert world.provider.effects == ["start dep_1 v1"]
    lease = await leases.present(world.database)
    assert lease is not None
    assert lease.claim.version == "0.2.0"


async def test_an_operation_that_crashes_the_worker_again_and_again_is_given_up_as_unknown(world: World) -> None:
    world.provider.crashes = True
    async with working(desk(world), Reins()):
        await world.deploy("v1")
        assert await until_final(world, "dep_1") == "unknown"
    assert "failed on it several times" in (await world.get("dep_1")).detail


async def test_a_database_that_cannot_be_written_for_a_while_costs_no_operation_its_end(world: World) -> None:
    settled = world.settled
    failures = [Unavailable("the disk is full")] * 5

    def settle(tx: Transaction, operation: Operation, deployment: Deployment, *, at: datetime) -> None:
        if failures:
            raise failures.pop()
        settled(tx, operation, deployment, at=at)

    world.parts = replace(world.parts, settle=settle)
    async with working(desk(world), Reins()):
        await world.deploy("v1")
        assert await until_final(world, "dep_1") == "healthy"
    assert settled.states == ["dep_1 healthy"]
    assert world.provider.effects == ["start dep_1 v1"]


@pytest.mark.parametrize("load", [0.0, 0.1])
async def test_on_a_loaded_host_a_tenth_of_a_second_lies_between_two_operations(world: World, load: float) -> None:
    asked, nothing = Asked(tool="deploy", agent="ada", arguments={}), Place(None, None, None)
    for service in ("web", "docs", "shop"):
        binding = BINDING.evolve(service=service)
        await world.commit(deploy_plan(asked, content=Content(identity="v1"), binding=binding, place=nothing))

    now, waiting, begun_early = world.time.now, list[Operation](), list[str]()

    async def delay(operation: Operation) -> float:
        waiting.append(operation)
        return load

    async def sleep(seconds: float) -> None:
        """On this desk only these pauses take time: what else goes on meanwhile must not be taken for them."""
        nonlocal now
        if seconds >= RHYTHM.poll_seconds:
            return await world.time.sleep(seconds)
        begun_early.extend(await world.lines(waiting[-1].deployment))
        now += timedelta(seconds=seconds)
        return None

    async with working(replace(desk(world), delay=delay, clock=lambda: now, sleep=sleep), Reins()):
        for number in (1, 2, 3):
            await until_final(world, f"dep_{number}")
    assert [operation.deployment for operation in waiting] == ["dep_1", "dep_2", "dep_3"]
    assert now - START == 2 * timedelta(seconds=load)
    assert begun_early == []
