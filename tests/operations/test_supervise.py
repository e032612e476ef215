"""Supervision after a deployment is done: what is seen, when it restarts, and when it gives up."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.releases import HealthVerdict
from ops_mcp.errors import ProviderError
from ops_mcp.operations.run import run
from ops_mcp.operations.supervise import Supervision
from tests.operations.fakes import World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def serve(world: World, content: str = "v1") -> Supervision:
    assert (await run(await world.deploy(content), world.parts)).state == "healthy"
    return Supervision(world.parts)


async def rounds(world: World, supervision: Supervision, *, seconds: int) -> None:
    """One round a second for so long."""
    end = world.time.now.timestamp() + seconds
    with anyio.fail_after(20):
        while world.time.now.timestamp() < end:
            await supervision.round()
            await world.time.sleep(1)


async def escalations(world: World) -> int:
    rows = await world.database.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'operation.escalated'")
    return int(rows[0][0])


def starts(world: World) -> int:
    return len([e for e in world.provider.effects if e.startswith("start")])


async def test_a_service_that_stays_well_is_left_alone(world: World) -> None:
    supervision = await serve(world)
    await rounds(world, supervision, seconds=120)
    assert starts(world) == 1
    assert (await world.get("dep_1")).health is HealthVerdict.healthy


async def test_an_exited_service_is_seen_within_seconds_restarted_and_healthy_again(world: World) -> None:
    supervision = await serve(world)
    await rounds(world, supervision, seconds=3)
    world.provider.processes["dep_1"].ended = True
    await rounds(world, supervision, seconds=7)
    assert starts(world) == 2
    found = await world.get("dep_1")
    assert (found.health, found.serving) == (HealthVerdict.healthy, True)
    assert [line for line in await world.lines("dep_1") if line.startswith("supervise")] == ["supervise begun", "supervise done"]


async def test_a_failing_probe_is_repeated_soon_and_only_the_second_failure_counts(world: World) -> None:
    supervision = await serve(world)
    world.provider.unwell = True
    await rounds(world, supervision, seconds=5)
    assert starts(world) == 1
    await rounds(world, supervision, seconds=30)
    assert starts(world) >= 2


async def test_after_two_restarts_a_person_is_told_once_and_the_verdict_is_failing(world: World) -> None:
    supervision = await serve(world)
    world.provider.unwell = True
    await rounds(world, supervision, seconds=400)
    assert starts(world) == 3
    assert await escalations(world) == 1
    assert (await world.get("dep_1")).health is HealthVerdict.failing


async def test_a_service_that_recovers_by_itself_is_healthy_again(world: World) -> None:
    supervision = await serve(world)
    world.provider.unwell = True
    await rounds(world, supervision, seconds=400)
    world.provider.unwell = False
    await rounds(world, supervision, seconds=100)
    assert (await world.get("dep_1")).health is HealthVerdict.healthy


async def test_a_restart_that_the_provider_refuses_counts_as_one(world: World) -> None:
    supervision = await serve(world)
    world.provider.processes["dep_1"].ended = True
    world.provider.failures["restart"] = [ProviderError("no room"), ProviderError("no room")]
    await rounds(world, supervision, seconds=120)
    assert starts(world) == 1
    assert await escalations(world) == 1


async def test_a_place_where_a_deployment_is_under_way_is_left_to_it(world: World) -> None:
    supervision = await serve(world)
    await world.deploy("v2")
    world.provider.processes["dep_1"].ended = True
    await rounds(world, supervision, seconds=60)
    assert starts(world) == 1


async def test_supervision_without_the_lease_restarts_nothing(world: World) -> None:
    supervision = await serve(world)
    await world.take_lease(dead_fence=world.parts.fence)
    world.provider.processes["dep_1"].ended = True
    with pytest.raises(ExceptionGroup):
        await rounds(world, supervision, seconds=10)
    assert starts(world) == 1
