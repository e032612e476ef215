"""What every place must do, whatever it is made of: the same tests for all, looked at from behind, in the place's own records."""

import anyio
import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import HealthVerdict, Presence
from ops_mcp.errors import InProgress, OpsError
from ops_mcp.operations.looking import observe
from ops_mcp.ports import Logs, Restarts
from tests.contracts.stage import Behaviour, Fault
from tests.contracts.trial import Trial

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ON_THE_WAY = ("check begun", "release begun", "verify begun", "watch begun", "done done")
ON_THE_WAY_BACK = ("verify failed", "verify undo_begun", "undo note")


async def unheard(doing: str, *, handle: str = "") -> None:
    """Nobody is told."""


def need(trial: Trial, fault: Fault) -> None:
    if fault not in trial.stage.faults:
        pytest.skip(f"a {trial.stage.provider.kind} place cannot be {fault.value}")


async def test_a_release_is_put_in_place_verified_watched_and_serves(trial: Trial) -> None:
    ref = await trial.stage.publish(Behaviour.good)
    operation = await trial.deploy(ref)
    content = operation.plan.content
    assert await trial.finish(operation) == "healthy"
    assert await trial.stage.live() == content
    assert await trial.stage.starts(content) == 1
    deployment = await trial.get(operation)
    assert deployment.serving
    assert deployment.health is HealthVerdict.healthy
    seen = await observe(deployment.placement, trial.parts)
    assert seen.presence is Presence.running
    assert seen.deployment == operation.deployment


async def test_a_deployment_that_is_repeated_starts_nothing_twice(trial: Trial) -> None:
    ref = await trial.stage.publish(Behaviour.good)
    operation = await trial.deploy(ref)
    await trial.finish(operation)
    placement = (await trial.get(operation)).placement
    for known in (placement, placement.evolve(handle="")):
        seen = await trial.stage.provider.deploy(known, replaces=None, tell=unheard)
        assert seen.presence is Presence.running
        assert seen.handle == placement.handle
    assert await trial.stage.starts(operation.plan.content) == 1


async def test_a_release_that_fails_its_check_gives_way_to_the_one_before(trial: Trial) -> None:
    good = await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    bad = await trial.deploy(await trial.stage.publish(Behaviour.broken))
    assert await trial.finish(bad) == "rolled_back"
    assert await trial.stage.live() == before
    serving = await trial.stored.serving(trial.stage.binding.service, trial.stage.binding.environment)
    assert serving is not None
    assert serving.id == good


async def test_a_first_release_that_fails_is_stopped_and_the_service_is_down(trial: Trial) -> None:
    bad = await trial.deploy(await trial.stage.publish(Behaviour.broken))
    assert await trial.finish(bad) == "down"
    assert await trial.stage.live() == ""
    assert await trial.stage.starts(bad.plan.content) == 1


async def test_a_release_that_fails_while_it_is_watched_gives_way_to_the_one_before(trial: Trial) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    bad = await trial.deploy(await trial.stage.publish(Behaviour.dies))
    assert await trial.finish(bad) == "rolled_back"
    assert await trial.stage.live() == before
    assert (await trial.get(bad)).verified_at is not None


async def test_a_rollback_puts_back_the_release_before_and_a_second_one_undoes_the_first(trial: Trial) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    first = await trial.stage.live()
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    second = await trial.stage.live()
    assert first != second
    back = await trial.rollback()
    assert await trial.finish(back) == "healthy", (await trial.get(back)).detail
    assert await trial.stage.live() == first
    forth = await trial.rollback()
    assert await trial.finish(forth) == "healthy", (await trial.get(forth)).detail
    assert await trial.stage.live() == second
    seen = await observe((await trial.get(forth)).placement, trial.parts)
    assert seen.presence is Presence.running


async def test_a_rollback_that_is_repeated_puts_nothing_back_twice(trial: Trial) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    first = await trial.stage.live()
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    back = await trial.rollback()
    assert await trial.finish(back) == "healthy"
    starts = await trial.stage.starts(first)
    work = back.plan.work
    assert work is not None
    assert work.restores is not None
    restores = await trial.stored.get(work.restores)
    assert restores is not None
    placement = (await trial.get(back)).placement
    await trial.stage.provider.rollback(placement, restores=restores.placement, ends=None, tell=unheard)
    assert await trial.stage.starts(first) == starts
    assert await trial.stage.live() == first


async def test_a_second_deployment_is_refused_while_one_is_on_its_way(trial: Trial) -> None:
    one = await trial.deploy(await trial.stage.publish(Behaviour.good))
    with pytest.raises(InProgress):
        await trial.deploy(await trial.stage.publish(Behaviour.good))
    assert await trial.finish(one) == "healthy"


async def test_a_newer_release_ends_the_watch_of_the_one_before_and_serves(trial: Trial) -> None:
    one = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with anyio.create_task_group() as group:
        group.start_soon(trial.finish, one)
        await trial.reaches(one, "watching")
        two = await trial.deploy(await trial.stage.publish(Behaviour.good))
        assert await trial.finish(two) == "healthy"
    assert (await trial.get(one)).state == "superseded"
    assert await trial.stage.live() == two.plan.content


async def test_a_deployment_that_is_cancelled_is_undone(trial: Trial) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    next_one = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with anyio.create_task_group() as group:
        group.start_soon(trial.finish, next_one)
        await trial.reaches(next_one, "watching")
        await trial.cancel(next_one)
    assert (await trial.get(next_one)).state == "cancelled"
    assert await trial.stage.live() == before


async def test_a_restart_starts_the_same_release_once_more(trial: Trial) -> None:
    if not isinstance(trial.stage.provider, Restarts):
        pytest.skip(f"a {trial.stage.provider.kind} place cannot restart; the tool says unsupported")
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    again = await trial.restart()
    assert await trial.finish(again) == "healthy", (await trial.get(again)).detail
    assert await trial.stage.live() == before


async def test_what_vanished_behind_our_back_is_noticed_and_never_called_healthy(trial: Trial) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    one = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with anyio.create_task_group() as group:
        group.start_soon(trial.finish, one)
        await trial.reaches(one, "watching")
        deployment = await trial.get(one)
        await trial.stage.lose(deployment.id, deployment.handle)
    assert (await trial.get(one)).state in ("rolled_back", "failed"), (await trial.get(one)).detail
    assert (await trial.get(one)).health is HealthVerdict.failing


@pytest.mark.parametrize("line", ON_THE_WAY)
async def test_a_worker_killed_on_the_way_leaves_one_release_and_one_end(trial: Trial, line: str) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    killed = await trial.killed_at(line, operation)
    if killed:
        assert await trial.finish(operation) == "healthy", (await trial.get(operation)).detail
    assert await trial.stage.live() == operation.plan.content
    assert await trial.stage.starts(operation.plan.content) == 1
    assert trial.settled.states.count(f"{operation.deployment} healthy") <= 1


@pytest.mark.parametrize("line", ON_THE_WAY_BACK)
async def test_a_worker_killed_on_the_way_back_leaves_the_release_before(trial: Trial, line: str) -> None:
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    bad = await trial.deploy(await trial.stage.publish(Behaviour.broken))
    if await trial.killed_at(line, bad):
        assert await trial.finish(bad) == "rolled_back", (await trial.get(bad)).detail
    assert await trial.stage.live() == before
    assert await trial.stage.starts(bad.plan.content) == 1


async def test_a_place_that_is_down_for_a_while_delays_and_repeats_nothing(trial: Trial) -> None:
    need(trial, Fault.down)
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with trial.stage.troubled(Fault.down):
        state = await trial.finish(operation)
    assert state in ("healthy", "down", "failed", "unknown")
    if state == "healthy":
        assert await trial.stage.live() == operation.plan.content
    assert await trial.stage.starts(operation.plan.content) <= 1


async def test_a_slow_place_gets_the_release_once(trial: Trial) -> None:
    need(trial, Fault.slow)
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with trial.stage.troubled(Fault.slow):
        assert await trial.finish(operation) == "healthy", (await trial.get(operation)).detail
    assert await trial.stage.starts(operation.plan.content) == 1


async def test_a_place_that_puts_every_request_off_for_ten_minutes_gets_the_release_once(trial: Trial) -> None:
    need(trial, Fault.limited)
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    began = trial.stage.clock()
    async with trial.stage.troubled(Fault.limited):
        assert await trial.finish(operation) == "healthy", (await trial.get(operation)).detail
    assert (trial.stage.clock() - began).total_seconds() > 600
    assert await trial.stage.starts(operation.plan.content) == 1
    assert await trial.stage.live() == operation.plan.content


async def test_a_credential_without_the_right_changes_nothing_and_says_what_is_needed(trial: Trial) -> None:
    need(trial, Fault.forbidden)
    await trial.deployed(await trial.stage.publish(Behaviour.good))
    before = await trial.stage.live()
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with trial.stage.troubled(Fault.forbidden):
        state = await trial.finish(operation)
    assert state in ("rolled_back", "failed", "unknown"), state
    assert await trial.stage.live() == before
    assert await trial.stage.starts(operation.plan.content) == 0
    assert "token" in (await trial.get(operation)).detail


async def test_states_that_nobody_has_heard_of_are_never_taken_for_success(trial: Trial) -> None:
    need(trial, Fault.odd)
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    async with trial.stage.troubled(Fault.odd):
        with anyio.move_on_after(5):
            await trial.finish(operation)
        seen = await observe((await trial.get(operation)).placement, trial.parts)
    assert seen.presence is Presence.unknown
    assert await trial.stage.starts(operation.plan.content) <= 1


async def test_the_lines_of_a_release_can_be_read_newest_first(trial: Trial) -> None:
    if not isinstance(trial.stage.provider, Logs):
        pytest.skip(f"a {trial.stage.provider.kind} place keeps no logs; the tool says unsupported")
    operation = await trial.deploy(await trial.stage.publish(Behaviour.good))
    await trial.finish(operation)
    placement = (await trial.get(operation)).placement
    page = await trial.stage.provider.logs(placement, LogQuery(limit=5))
    times = [line.at for line in page.items if line.at is not None]
    assert times == sorted(times, reverse=True)
    assert len(page.items) <= 5


async def test_a_ref_that_does_not_exist_is_refused_before_anything_happens(trial: Trial) -> None:
    with pytest.raises(OpsError) as refused:
        await trial.stage.provider.resolve(trial.stage.binding, "no-such-branch")
    assert refused.value.hint
