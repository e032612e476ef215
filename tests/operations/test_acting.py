"""What a place does besides deploying: promoted, scaled, set and provisioned once, told of, waited for, and metered."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.deploying.place_plans import Source, promote_plan, provision_plan, scale_plan, variable_plan
from ops_mcp.deploying.plans import Asked
from ops_mcp.domain.observations import Variable
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import (
    DeploymentId,
    DeploymentKind,
    HealthVerdict,
    Observed,
    Operation,
    Placement,
    Plan,
    Presence,
    Provision,
    SetVariable,
    Usage,
)
from ops_mcp.errors import ProviderError
from ops_mcp.operations.looking import observe
from ops_mcp.operations.run import run
from ops_mcp.ports import Tell
from tests.operations.fakes import BINDING, START, FakeProvider, World, open_world

pytestmark = pytest.mark.anyio


@dataclass
class Able(FakeProvider):
    """A place of memory that can do all of it. `variables_set` and `made` are every real effect, in order."""

    kept: dict[str, str] = field(default_factory=dict[str, str])
    made: list[str] = field(default_factory=list[str])
    limited_for: list[float] = field(default_factory=list[float])
    handles_seen: list[str] = field(default_factory=list[str])
    dies_after_telling: bool = False
    parts: int = 3

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        self._put_off()
        self.handles_seen.append(placement.handle)
        await tell("the place has queued it", handle=f"place-{placement.deployment}")
        if self.dies_after_telling:
            self.dies_after_telling = False
            raise Killed
        for part in range(self.parts):
            await tell(f"building, part {part}")
            await self.time.sleep(10 / self.parts)
        found = await super().deploy(placement, replaces=replaces, tell=tell)
        return found.evolve(usage=Usage(requests=7, build_seconds=61), handle=f"place-{placement.deployment}")

    async def promote(self, placement: Placement, *, origin: Placement, replaces: Placement | None, tell: Tell) -> Observed:
        self.effects.append(f"promote {origin.deployment} {origin.handle}")
        return await super().deploy(placement, replaces=replaces, tell=tell)

    async def scale(self, placement: Placement, *, restores: Placement, tell: Tell) -> Observed:
        self.effects.append(f"scale {restores.deployment} to {placement.release.replicas}")
        return self._put(placement, None)

    async def variables(self, binding: Binding) -> Sequence[Variable]:
        return ()

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        self._put_off()
        self.kept[wanted.name] = wanted.value or f"secret {wanted.secret}"
        self.effects.append(f"set {wanted.name}")
        return Usage(requests=1)

    async def provision(self, binding: Binding, wanted: Provision, *, handle: str = "", tell: Tell) -> Observed:
        if not handle:
            self.made.append(wanted.name)
            await tell("the place makes it", handle=f"work-{wanted.name}")
            if self.dies_after_telling:
                self.dies_after_telling = False
                raise Killed
        return Observed(deployment=DeploymentId("dep_nothing"), presence=Presence.running, detail=f"{wanted.name} is made.")

    def _put_off(self) -> None:
        if self.limited_for:
            raise ProviderError("not now", temporary=True, retry_after_seconds=self.limited_for.pop(0))


class Killed(BaseException):
    """The worker is gone."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        able = Able(opened.time)
        opened.provider = able
        opened.parts = replace(opened.parts, providers={"fake": able}, probe=able.probe)
        yield opened


def able(world: World) -> Able:
    assert isinstance(world.provider, Able)
    return world.provider


async def finish(world: World, operation: Operation) -> str:
    with anyio.fail_after(20):
        return (await run(operation, world.parts)).state.value


async def committed(world: World, plan: Plan) -> Operation:
    return await world.commit(plan)


def asked(tool: str) -> Asked:
    return Asked(tool=tool, agent="ada", arguments={"service": "web"})


async def notes(world: World, operation: Operation) -> list[str]:
    return [s.detail for s in await world.stored.steps(operation.deployment) if (s.step, s.event) == ("release", "note")]


async def test_what_the_place_tells_is_in_the_journal_and_its_name_is_stored_at_once(world: World) -> None:
    operation = await world.deploy("v1")
    assert await finish(world, operation) == "healthy"
    told = await notes(world, operation)
    assert told[0] == "the place has queued it"
    assert told[-1] == "building, part 2"
    deployment = await world.get("dep_1")
    assert deployment.handle == "place-dep_1"
    assert deployment.usage == Usage(requests=7, build_seconds=61)


async def test_notes_that_follow_each_other_too_fast_are_dropped(world: World) -> None:
    able(world).parts = 200
    await finish(world, operation := await world.deploy("v1"))
    assert 2 <= len(await notes(world, operation)) <= 40


async def test_the_next_worker_gives_the_place_its_own_name_for_what_was_begun(world: World) -> None:
    able(world).dies_after_telling = True
    operation = await world.deploy("v1")
    with pytest.raises(BaseExceptionGroup):
        await finish(world, operation)
    assert await finish(world, operation) == "healthy"
    assert able(world).handles_seen == ["", "place-dep_1"]
    assert world.provider.effects == ["start dep_1 v1"]


async def test_a_place_that_puts_off_for_an_hour_is_waited_for_and_one_that_goes_on_is_not(world: World) -> None:
    able(world).limited_for = [600.0] * 5
    operation = await world.deploy("v1")
    assert await finish(world, operation) == "healthy"
    assert world.time.now - START >= timedelta(seconds=3000)
    able(world).limited_for = [600.0] * 50
    assert await finish(world, await world.deploy("v2")) == "rolled_back"


async def test_a_look_does_not_wait_for_a_place_that_puts_it_off(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    world.provider.failures["status"] = [ProviderError("not now", temporary=True, retry_after_seconds=300)]
    before = world.time.now
    seen = await observe((await world.get("dep_1")).placement, world.parts)
    assert seen.presence in (Presence.unknown, Presence.running)
    assert world.time.now - before < timedelta(seconds=60)


async def test_a_promotion_takes_over_what_was_built_elsewhere(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    origin = await world.get("dep_1")
    source = Source("staging", origin, as_built=True)
    other = BINDING.model_copy(update={"service": "shop"})
    plan = promote_plan(asked("promote"), source=source, binding=other, place=await world.place())
    plan = plan.model_copy(
        update={"target_state": "nothing", "work": plan.work and plan.work.evolve(replaces=None, back_to=None)}
    )
    operation = await committed(world, plan)
    assert await finish(world, operation) == "healthy"
    assert "promote dep_1 place-dep_1" in world.provider.effects
    assert (await world.get(operation.deployment)).kind is DeploymentKind.promote


async def test_scaling_changes_the_replicas_and_its_undo_brings_them_back(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    operation = await committed(world, scale_plan(asked("scale"), replicas=3, binding=BINDING, place=await world.place()))
    assert await finish(world, operation) == "healthy"
    assert "scale dep_1 to 3" in world.provider.effects
    assert (await world.get(operation.deployment)).release.replicas == 3
    assert await world.serving() == operation.deployment


async def test_a_variable_for_the_next_release_leaves_what_runs_and_its_watch_alone(world: World) -> None:
    first = await world.deploy("v1")
    async with anyio.create_task_group() as group:
        group.start_soon(finish, world, first)
        while (await world.get("dep_1")).state != "watching":
            await anyio.sleep(0.005)
        wanted = SetVariable(name="GREETING", value="hello")
        plan = variable_plan(asked("variable_set"), wanted=wanted, binding=BINDING, place=await world.place())
        operation = await committed(world, plan)
        assert await finish(world, operation) == "applied"
    assert able(world).kept == {"GREETING": "hello"}
    assert await world.state("dep_1") == "healthy"
    assert await world.serving() == "dep_1"
    set_one = await world.get(operation.deployment)
    assert set_one.health is HealthVerdict.unverified
    assert not set_one.serving
    assert await world.locked_by() == []


async def test_a_variable_at_once_is_set_first_and_then_what_serves_is_released_anew(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    wanted = SetVariable(name="GREETING", secret="web-greeting", redeploy=True)
    plan = variable_plan(asked("variable_set"), wanted=wanted, binding=BINDING, place=await world.place())
    operation = await committed(world, plan)
    assert await finish(world, operation) == "healthy"
    assert world.provider.effects[-3:] == ["set GREETING", "end dep_1", "start dep_2 v1"]
    assert able(world).kept == {"GREETING": "secret web-greeting"}


async def test_a_variable_that_cannot_be_set_fails_and_touches_nothing_else(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    wanted = SetVariable(name="GREETING", value="hello", redeploy=True)
    plan = variable_plan(asked("variable_set"), wanted=wanted, binding=BINDING, place=await world.place())
    operation = await committed(world, plan)
    able(world).limited_for = [4000.0, 4000.0]
    assert await finish(world, operation) == "failed"
    assert world.provider.running == ["v1"]
    assert await world.serving() == "dep_1"
    assert world.settled.states[-1] == "dep_2 failed"


async def test_a_worker_killed_while_something_is_made_does_not_have_it_made_twice(world: World) -> None:
    wanted = Provision(template="postgres", name="orders-db")
    plan = provision_plan(asked("provision"), wanted=wanted, binding=BINDING, place=await world.place())
    operation = await committed(world, plan)
    able(world).dies_after_telling = True
    with pytest.raises(BaseExceptionGroup):
        await finish(world, operation)
    assert await finish(world, operation) == "applied"
    assert able(world).made == ["orders-db"]
    assert (await world.get(operation.deployment)).detail == "orders-db is made."


async def test_a_kill_before_a_variable_is_set_ends_it_without_effect(world: World) -> None:
    wanted = SetVariable(name="GREETING", value="hello")
    plan = variable_plan(asked("variable_set"), wanted=wanted, binding=BINDING, place=await world.place())
    operation = await committed(world, plan)
    await world.kill()
    assert await finish(world, operation) == "cancelled"
    assert able(world).kept == {}
