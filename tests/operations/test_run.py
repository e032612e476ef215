"""One operation from its commit to its end: what is started, what is undone, and what is said about it."""

import functools
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import HealthVerdict, Operation
from ops_mcp.errors import LeaseLost, ProviderError
from ops_mcp.operations.run import run
from tests.operations.fakes import BINDING, World, open_world, unheard

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def finish(world: World, operation: Operation) -> str:
    with anyio.fail_after(20):
        return (await run(operation, world.parts)).state.value


async def healthy(world: World, content: str) -> str:
    """Deploy a good release to its end; its deployment's id."""
    operation = await world.deploy(content)
    assert await finish(world, operation) == "healthy"
    return operation.deployment


async def test_a_committed_deploy_runs_to_healthy_and_is_settled_once(world: World) -> None:
    operation = await world.deploy("v1")
    assert await finish(world, operation) == "healthy"
    assert world.settled.states == ["dep_1 healthy"]
    assert world.provider.effects == ["start dep_1 v1"]
    assert await world.serving() == "dep_1"
    assert await world.locked_by() == []
    assert (await world.get("dep_1")).health is HealthVerdict.healthy


async def test_the_undo_of_every_step_is_in_the_journal_before_the_step_runs(world: World) -> None:
    operation = await world.deploy("v1")
    await finish(world, operation)
    begun = [s for s in await world.stored.steps(operation.deployment) if s.event == "begun"]
    assert [s.step for s in begun] == ["check", "snapshot", "release", "verify", "watch"]
    assert all(s.data["undo"] for s in begun)
    records = await world.database.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'operation.step'")
    assert records[0][0] == len(await world.stored.steps(operation.deployment))


async def test_a_second_release_replaces_the_first(world: World) -> None:
    await healthy(world, "v1")
    await healthy(world, "v2")
    assert world.provider.effects == ["start dep_1 v1", "end dep_1", "start dep_2 v2"]
    assert world.provider.running == ["v2"]
    assert await world.serving() == "dep_2"


@pytest.mark.parametrize("content", ["broken", "dead", "breaks"])
async def test_a_bad_release_is_rolled_back_to_the_last_healthy_one_which_is_verified(world: World, content: str) -> None:
    await healthy(world, "v1")
    assert await finish(world, await world.deploy(content)) == "rolled_back"
    assert world.provider.running == ["v1"]
    assert await world.serving() == "dep_1"
    assert (await world.get("dep_2")).health is HealthVerdict.failing
    assert (await world.get("dep_1")).health is HealthVerdict.healthy
    assert await world.locked_by() == []
    assert world.settled.states[-1] == "dep_2 rolled_back"


async def test_a_release_that_dies_during_the_watch_is_rolled_back(world: World) -> None:
    await healthy(world, "v1")
    world.provider.dies_after["v2"] = 25
    assert await finish(world, await world.deploy("v2")) == "rolled_back"
    assert "exited with code 3" in (await world.get("dep_2")).detail
    assert world.provider.running == ["v1"]


async def test_a_release_whose_port_is_answered_by_another_process_is_not_healthy(world: World) -> None:
    await healthy(world, "v1")
    world.provider.squatted = "v2"
    assert await finish(world, await world.deploy("v2")) == "rolled_back"
    assert "another process" in (await world.get("dep_2")).detail


async def test_a_first_release_that_fails_is_stopped_and_the_service_is_down(world: World) -> None:
    assert await finish(world, await world.deploy("broken")) == "down"
    assert world.provider.running == []
    assert await world.serving() is None
    assert await world.locked_by() == []


async def test_a_release_that_is_slow_to_come_up_has_until_the_deadline(world: World) -> None:
    await healthy(world, "v1")
    assert await finish(world, await world.deploy("slow")) == "healthy"


async def test_a_release_slower_than_the_deadline_is_rolled_back(world: World) -> None:
    await healthy(world, "v1")
    quick = BINDING.evolve(health=BINDING.health.evolve(verify_seconds=10))
    assert await finish(world, await world.deploy("slow", binding=quick)) == "rolled_back"
    assert world.provider.running == ["v1"]


async def test_an_agent_killed_during_the_build_has_it_stopped_and_undone(world: World) -> None:
    await healthy(world, "v1")
    operation = await world.deploy("hangs")
    world.time.after(5, world.kill)
    assert await finish(world, operation) == "cancelled"
    assert world.provider.effects == ["start dep_1 v1"]


async def test_a_secret_in_a_providers_message_is_stored_nowhere(world: World, tmp_path: Path) -> None:
    world.provider.failures["deploy"] = [ProviderError("login with hunter2 failed")]
    world.parts = replace(world.parts, redact=lambda text: text.replace("hunter2", "[REDACTED]"))
    assert await finish(world, await world.deploy("v1")) == "down"
    assert "login with [REDACTED] failed" in (await world.get("dep_1")).detail
    assert not [f for f in tmp_path.glob("ops.db*") if b"hunter2" in f.read_bytes()]


async def test_a_release_that_cannot_be_built_leaves_the_old_one_running(world: World) -> None:
    await healthy(world, "v1")
    world.provider.failures["deploy"] = [ProviderError("the build failed")]
    assert await finish(world, await world.deploy("v2")) == "rolled_back"
    assert world.provider.effects == ["start dep_1 v1"]
    assert "the build failed" in (await world.get("dep_2")).detail


async def test_a_provider_that_hangs_is_given_up_in_time_and_undone(world: World) -> None:
    await healthy(world, "v1")
    operation = await world.deploy("hangs")
    world.time.after(5, functools.partial(world.cancel, "dep_2"))
    assert await finish(world, operation) == "cancelled"
    assert world.provider.running == ["v1"]


async def test_temporary_failures_of_the_provider_are_tried_again(world: World) -> None:
    world.provider.failures["deploy"] = [ProviderError("busy", temporary=True), ProviderError("busy", temporary=True)]
    assert await finish(world, await world.deploy("v1")) == "healthy"
    assert world.provider.effects == ["start dep_1 v1"]


async def test_an_undo_that_fails_is_failed_says_so_and_is_escalated(world: World) -> None:
    await healthy(world, "v1")
    world.provider.failures["rollback"] = [ProviderError("the old release is gone")]
    assert await finish(world, await world.deploy("broken")) == "failed"
    assert "The undo failed: the old release is gone" in (await world.get("dep_2")).detail
    assert await world.database.fetch("SELECT 1 FROM ledger WHERE kind = 'operation.escalated'")


async def test_the_old_release_failing_after_the_undo_is_failed_too(world: World) -> None:
    await healthy(world, "v1")
    world.provider.dies_after["v1"] = 1
    assert await finish(world, await world.deploy("broken")) == "failed"
    assert (await world.get("dep_1")).health is HealthVerdict.failing


async def test_a_cancelled_deployment_is_undone(world: World) -> None:
    await healthy(world, "v1")
    operation = await world.deploy("v2")
    world.time.after(30, functools.partial(world.cancel, "dep_2"))
    assert await finish(world, operation) == "cancelled"
    assert world.provider.running == ["v1"]
    assert await world.serving() == "dep_1"


async def test_killing_the_agent_before_done_triggers_the_undo(world: World) -> None:
    await healthy(world, "v1")
    operation = await world.deploy("v2")
    world.time.after(30, world.kill)
    assert await finish(world, operation) == "cancelled"
    assert world.provider.running == ["v1"]
    assert "killed" in (await world.get("dep_2")).detail


async def test_a_freeze_before_the_check_withdraws_and_one_after_it_lets_the_plan_finish(world: World) -> None:
    operation = await world.deploy("v1")
    world.time.after(1, world.freeze)
    assert await finish(world, operation) == "healthy"
    assert await finish(world, await world.deploy("v2")) == "cancelled"
    assert "frozen: The environment is frozen: holiday" in (await world.get("dep_2")).detail
    assert world.provider.running == ["v1"]
    assert await world.locked_by() == []


async def test_a_recovery_passes_the_freeze(world: World) -> None:
    await healthy(world, "v1")
    await healthy(world, "v2")
    await world.freeze()
    await world.database.write(
        lambda tx: tx.execute(
            "UPDATE deployments SET health = 'failing', body = json_set(body, '$.health', 'failing') WHERE id = 'dep_2'"
        )
    )
    operation = await world.rollback()
    assert operation.plan.recovery
    assert await finish(world, operation) == "healthy"
    assert world.provider.running == ["v1"]


async def test_a_newer_deploy_supersedes_the_watch_of_the_older_one(world: World) -> None:
    older = await world.deploy("v1")
    async with anyio.create_task_group() as group:
        group.start_soon(finish, world, older)
        with anyio.fail_after(10):
            while await world.state("dep_1") != "watching":
                await anyio.sleep(0)
        newer = await world.deploy("v2")
        assert await finish(world, newer) == "healthy"
    assert await world.state("dep_1") == "superseded"
    assert (await world.get("dep_1")).health is HealthVerdict.healthy
    assert sorted(world.settled.states) == ["dep_1 superseded", "dep_2 healthy"]
    assert world.provider.running == ["v2"]


async def test_a_rollback_during_a_deploy_cancels_and_undoes_it_first(world: World) -> None:
    await healthy(world, "v1")
    running = await world.deploy("hangs")
    async with anyio.create_task_group() as group:
        group.start_soon(finish, world, running)
        with anyio.fail_after(10):
            while await world.state("dep_2") != "releasing":
                await anyio.sleep(0)
        rollback = await world.rollback()
        assert await finish(world, rollback) == "healthy"
    assert await world.state("dep_2") == "cancelled"
    assert world.provider.running == ["v1"]
    assert await world.serving() == "dep_3"
    assert await world.locked_by() == []


async def test_a_restart_starts_the_same_release_once_more(world: World) -> None:
    await healthy(world, "v1")
    assert await finish(world, await world.restart()) == "healthy"
    assert world.provider.effects == ["start dep_1 v1", "end dep_1", "start dep_2 v1"]


async def test_what_cannot_be_known_after_an_interruption_is_unknown_and_not_repeated(world: World) -> None:
    operation = await world.deploy("v1")
    await interrupted_in_release(world, operation)
    world.provider.blind = True
    assert await finish(world, operation) == "unknown"
    assert world.provider.effects == ["start dep_1 v1"]
    assert await world.locked_by() == []


async def test_a_release_found_ended_after_an_interruption_is_undone_and_not_started_again(world: World) -> None:
    operation = await world.deploy("v1")
    await interrupted_in_release(world, operation)
    world.provider.dies_after["v1"] = 0
    assert await finish(world, operation) == "down"
    assert world.provider.effects[0] == "start dep_1 v1"
    assert not [e for e in world.provider.effects[1:] if e.startswith("start")]


async def test_a_worker_without_the_lease_writes_nothing_and_starts_nothing(world: World) -> None:
    operation = await world.deploy("v1")
    await world.take_lease(dead_fence=world.parts.fence)
    with pytest.raises(LeaseLost):
        await finish(world, operation)
    assert world.provider.effects == []
    assert await world.lines("dep_1") == []


async def test_a_worker_told_to_let_go_stops_between_two_looks_and_the_next_one_finishes(world: World) -> None:
    operation = await world.deploy("v1")
    world.time.after(30, world.parts.reins.pull)
    assert await finish(world, operation) == "watching"
    fence = await world.take_lease(dead_fence=world.parts.fence)
    assert await finish(world.at_next_worker(fence), operation) == "healthy"
    assert world.provider.effects == ["start dep_1 v1"]
    assert world.settled.states == ["dep_1 healthy"]


async def test_an_unknown_provider_is_said_to_be_unknown(world: World) -> None:
    elsewhere = Binding.model_validate({"service": "web", "environment": "staging", "provider": "mars"})
    state = await finish(world, await world.deploy("v1", binding=elsewhere))
    assert state == "unknown"
    assert "mars" in (await world.get("dep_1")).detail


async def interrupted_in_release(world: World, operation: Operation) -> None:
    """Leave the journal as a worker that was killed right after the provider had started the release."""
    from ops_mcp.operations.beginning import begin
    from ops_mcp.operations.course import Course

    deployment = await begin(Course(operation, world.parts), await world.get(operation.deployment))
    await world.provider.deploy(deployment.placement, replaces=None, tell=unheard)
