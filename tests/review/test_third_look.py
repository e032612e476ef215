"""What a reviewer broke in the work on places: answers before their record, acts that got in the way, meters, undos."""

import fcntl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client as McpClient
from mcp import MCPError
from mcp.types import PromptReference

from ops_mcp.call import call
from ops_mcp.config import Meter
from ops_mcp.deploying.place_plans import provision_plan, scale_plan, variable_plan
from ops_mcp.deploying.plans import Asked
from ops_mcp.domain.calls import Call, CallId, Cost
from ops_mcp.domain.identity import Client, Credential, Effect
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import (
    Content,
    DeploymentId,
    DeploymentState,
    HealthVerdict,
    Observed,
    Operation,
    Placement,
    Presence,
    Provision,
    SetVariable,
    Usage,
)
from ops_mcp.errors import DeadlineExceeded, OpsError, ProviderError, Unavailable
from ops_mcp.operations.run import run
from ops_mcp.operations.supervise import Supervision
from ops_mcp.ports import Tell
from ops_mcp.server import build
from ops_mcp.store import deployments, operations, rebuild
from ops_mcp.store.database import Transaction
from ops_mcp.store.ledger import Admitted
from ops_mcp.store.settlement import Settlement, settle_operation
from tests.house import START, House, MemoryPlace, house
from tests.operations.fakes import BINDING, FakeProvider, World, open_world
from tests.store.ledgers import opened
from tests.store.test_ahead import FRAGILE, a_record, at_work
from tests.tools.capable import furnish
from tests.wire.fakes import door

pytestmark = pytest.mark.anyio


# Answers and their records


DOOM = (
    "CREATE TRIGGER doom AFTER INSERT ON ledger WHEN NEW.body LIKE '%\"call.admitted\"%'"
    " BEGIN INSERT INTO children (parent) VALUES (1); END"
)


async def doomed(home: House) -> None:
    """From now on the commit of every admission fails, after everything in it went well."""
    await home.database.write(lambda tx: [tx.execute(statement) for statement in (*FRAGILE, DOOM)])


async def test_no_resource_and_no_completion_is_answered_whose_record_cannot_be_made_durable(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        credential = await home.agent()
        await doomed(home)
        gate, ahead = partial(call, home.app), partial(call, home.app, ahead=True)
        server = build(gate, home.app.tools, door=door(credential), held_back=ahead)
        async with McpClient(server) as client:
            with pytest.raises(MCPError):
                await client.read_resource("ops://inventory")
            with pytest.raises(MCPError):
                await client.complete(PromptReference(name="safe-deploy"), {"name": "environment", "value": "s"})
        assert await home.records("call.admitted") == []


async def test_a_read_that_was_never_admitted_credits_nothing_however_it_ended(tmp_path: Path) -> None:
    async with house(tmp_path, sync=lambda: None) as home:
        credential = await home.agent()
        await doomed(home)
        for ends in ("settle", "settle_later"):
            asked = Call(
                id=CallId(f"call_{ends}"), tool="services", effect=Effect.read, at=home.now[0], digest="d",
                ceiling=Cost(calls=1, tokens=4000), client=Client(),
            )  # fmt: skip
            admitted = await home.app.ledger.admit(asked, credential, home.app.rules(), ahead=True)
            assert isinstance(admitted, Admitted)
            settlement = Settlement(
                call=asked, caller="ada", outcome="cancelled", at=home.now[0], cost=Cost(), windows=admitted.windows
            )
            if ends == "settle":  # as for a caller that went away, or a tool that crashed
                with suppress(Unavailable):
                    await home.app.ledger.settle(settlement)
            else:
                home.app.ledger.settle_later(settlement)
        assert await home.records("call.settled") == []
        spent = await home.database.fetch("SELECT SUM(calls), SUM(tokens) FROM spend WHERE scope LIKE 'ada:%'")
        assert spent in ([(None, None)], [(0, 0)])
        assert await home.database.write(rebuild.compare) == ()


async def test_a_caller_that_goes_away_while_another_process_writes_leaves_no_admission_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        with ledger.file.with_suffix(".lock").open("rb") as other, anyio.fail_after(10):
            fcntl.flock(other, fcntl.LOCK_EX)
            with anyio.move_on_after(0.05):
                await ledger.database.write_ahead(a_record)
            fcntl.flock(other, fcntl.LOCK_UN)
            await ledger.database.write(lambda _: None)
        assert await ledger.database.fetch("SELECT id FROM ledger") == []


async def test_a_settlement_that_can_never_be_written_is_logged_and_takes_nobody_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        ledger.database.write_later(_impossible)
        assert await ledger.database.write(a_record) == 1
        assert "a settlement could not be written" in caplog.text


def _impossible(_: Transaction) -> None:
    raise ZeroDivisionError


# What is metered

METER = {"request": 10, "build_minute": 4000, "most_requests": 100, "most_build_minutes": 5}
CEILING = 100 * 10 + 5 * 4000


@dataclass
class PlaceWithAGuest(MemoryPlace):
    """While its refs are looked up, `leaving` is left in the writer's queue: it rides in the batch of the commit that follows."""

    leaving: list[Any] = field(default_factory=list[Any])
    home: House | None = None

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        assert self.home is not None
        while self.leaving:
            self.home.database.write_later(self.leaving.pop())
        return await super().resolve(binding, ref)


async def ended(home: House, change: dict[str, Any], *, after: float = 0) -> None:
    """End the one open operation as the worker does so many seconds later, with its deployment changed like this."""

    def unit(tx: Transaction) -> None:
        [(name,)] = tx.fetch("SELECT deployment FROM operations WHERE final = 0")
        operation = operations.operation_of_deployment(tx, name)
        assert operation is not None
        deployment = deployments.change(tx, name, lambda d: d.evolve(**change))
        operations.finish(tx, operation)
        at = START + timedelta(seconds=after)
        settle_operation(tx, operation, deployment, at=at, meters={"memory": Meter.model_validate(METER)})

    await home.database.write(unit)


async def money(home: House) -> set[int]:
    """What is spent in the agent's own windows."""
    await home.database.write(lambda _: None)
    rows = await home.database.fetch("SELECT usd_micros FROM spend WHERE scope LIKE 'ada:%work%'")
    return {int(row[0]) for row in rows}


async def test_a_caller_that_goes_away_during_its_commit_leaves_counters_that_the_ledger_can_tell(tmp_path: Path) -> None:
    async with house(tmp_path, meters={"memory": METER}, prices={"deploy": 700}) as home:
        home.finish.clear()
        place = PlaceWithAGuest(home=home)
        furnish(home, {"memory": place})
        agent = await home.agent()
        loop = home.database._loop  # pyright: ignore[reportPrivateUsage]
        with anyio.CancelScope() as scope:
            place.leaving.append(lambda tx: loop.call_soon_threadsafe(scope.cancel) and None)
            await home.call(agent, "deploy", service="web", environment="staging")
        assert scope.cancelled_caught
        assert await home.count("operations") == 1
        assert await home.database.write(rebuild.compare) == ()
        await ended(home, {"usage": Usage(requests=3)})
        assert await home.database.write(rebuild.compare) == ()
        assert await money(home) == {730}


async def begun(home: House, agent: Credential) -> None:
    with anyio.move_on_after(0.5):
        await home.call(agent, "deploy", service="web", environment="staging")
    await home.database.write(lambda _: None)


async def test_an_operation_is_never_credited_more_than_its_call_reserved(tmp_path: Path) -> None:
    """The worker may have read other prices than the server that admitted the call."""
    async with house(tmp_path, prices={"deploy": 700}) as home:
        home.finish.clear()
        agent = await home.agent()
        await begun(home, agent)
        assert await money(home) == {700}
        await ended(home, {"usage": Usage(), "released_at": START})
        assert min(await money(home)) >= 0
        assert await home.database.write(rebuild.compare) == ()


@pytest.mark.parametrize(
    ("state", "seconds", "costs"),
    [
        (DeploymentState.rolled_back, 130, 700 + 1000 + 3 * 4000),
        (DeploymentState.failed, 59, 700 + 1000 + 4000),
        (DeploymentState.cancelled, 0, 700 + 1000),
        (DeploymentState.unknown, 3600, 700 + CEILING),
        (DeploymentState.cancelled, None, 700),  # withdrawn before its place was asked for anything
        (DeploymentState.applied, 59, 700),
    ],
)
async def test_a_release_whose_place_never_told_what_it_took_is_charged_the_most_it_can_have_been(
    tmp_path: Path, state: DeploymentState, seconds: float | None, costs: int
) -> None:
    """A build that fails is billed like any other, so that failing builds must not be a way past the budget."""
    async with house(tmp_path, meters={"memory": METER}, prices={"deploy": 700}) as home:
        home.finish.clear()
        agent = await home.agent()
        await begun(home, agent)
        if seconds is not None:
            await home.database.write(_release_begun)
        await ended(home, {"state": state}, after=seconds or 0)
        assert await money(home) == {costs}
        assert await home.database.write(rebuild.compare) == ()


def _release_begun(tx: Transaction) -> None:
    [(name,)] = tx.fetch("SELECT deployment FROM operations WHERE final = 0")
    operation = operations.operation_of_deployment(tx, name)
    assert operation is not None
    operations.append(tx, operation, operations.Entry("release", "begun"), at=START)


# Acts beside what runs


@dataclass
class Able(FakeProvider):
    """Provisions until told to end, scales, sets variables, and names what it puts back anew each time."""

    endless: bool = False
    told: list[str] = field(default_factory=list[str])
    seen: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    fails_after_telling: list[ProviderError] = field(default_factory=list[ProviderError])

    async def scale(self, placement: Placement, *, restores: Placement, tell: Tell) -> Observed:
        self._fail("scale")
        return self._put(placement, restores)

    async def variables(self, binding: Binding) -> Sequence[Any]:
        return ()

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        self._fail("set")
        return Usage(requests=1)

    async def provision(self, binding: Binding, wanted: Provision, *, handle: str = "", tell: Tell) -> Observed:
        for said in self.told:
            await tell(said)
            await self.time.sleep(5)
        if self.endless:
            await anyio.sleep_forever()
        return Observed(deployment=DeploymentId("dep_nothing"), presence=Presence.running, detail="made")

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        handle = f"again-{len(self.seen)}"
        self.seen.append((placement.handle, restores.handle))
        self._fail("rollback")
        found = self._put(placement, ends)
        await tell("it goes back", handle=handle)
        if self.fails_after_telling:
            raise self.fails_after_telling.pop(0)
        return found.evolve(usage=Usage(requests=5))

    async def status(self, placement: Placement) -> Observed:
        if placement.handle:
            self.seen.append(("status", placement.handle))
        return await super().status(placement)


def able(world: World) -> Able:
    assert isinstance(world.provider, Able)
    return world.provider


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    async with open_world(tmp_path) as opened_world:
        place = Able(opened_world.time)
        opened_world.provider = place
        opened_world.parts = replace(opened_world.parts, providers={"fake": place}, probe=place.probe)
        yield opened_world


def asked(tool: str) -> Asked:
    return Asked(tool=tool, agent="ada", arguments={"service": "web"})


async def finish(world: World, operation: Operation) -> str:
    with anyio.fail_after(20):
        return (await run(operation, world.parts)).state.value


async def provisioning(world: World) -> Operation:
    wanted = Provision(template="postgres", name="orders-db")
    plan = provision_plan(asked("provision"), wanted=wanted, binding=BINDING, place=await world.place())
    return await world.commit(plan)


async def reached(world: World, deployment: str, state: str) -> None:
    with anyio.fail_after(20):
        while await world.state(deployment) != state:
            await anyio.sleep(0.005)


async def test_a_failing_release_is_rolled_back_though_something_is_being_made_beside_it(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    able(world).endless = True
    async with anyio.create_task_group() as group:
        group.start_soon(finish, world, await world.deploy("breaks"))
        await reached(world, "dep_2", "watching")
        before = world.time.now
        act = await provisioning(world)
        group.start_soon(finish, world, act)
        await reached(world, act.deployment, "releasing")
        await reached(world, "dep_2", "rolled_back")
        assert await world.state(act.deployment) == "releasing"
        assert world.time.now - before < timedelta(seconds=600)
        group.cancel_scope.cancel()
    assert await world.serving() == "dep_1"
    assert world.provider.running == ["v1"]


async def test_what_serves_is_supervised_while_something_is_made_beside_it(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    able(world).endless = True
    async with anyio.create_task_group() as group:
        act = await provisioning(world)
        group.start_soon(finish, world, act)
        await reached(world, act.deployment, "releasing")
        world.provider.processes["dep_1"].ended = True
        supervision = Supervision(world.parts)
        assert await supervision.round() == 1
        with anyio.fail_after(20):
            while world.provider.running != ["v1"]:
                await world.time.sleep(1)
                await supervision.round()
        assert await world.state(act.deployment) == "releasing"
        group.cancel_scope.cancel()


async def test_an_act_of_which_no_answer_came_in_time_is_unknown_and_not_said_to_have_failed(world: World) -> None:
    world.provider.failures["set"] = [DeadlineExceeded("The place has not said so in time.")]
    wanted = SetVariable(name="GREETING", value="hello")
    plan = variable_plan(asked("variable_set"), wanted=wanted, binding=BINDING, place=await world.place())
    assert await finish(world, await world.commit(plan)) == "unknown"


@pytest.mark.parametrize("how", ["cancel", "kill"])
async def test_an_act_that_is_stopped_on_request_is_cancelled_and_says_nothing_against_its_agent(world: World, how: str) -> None:
    able(world).endless = True
    act = await provisioning(world)
    async with anyio.create_task_group() as group:
        group.start_soon(finish, world, act)
        await reached(world, act.deployment, "releasing")
        await (world.cancel(act.deployment) if how == "cancel" else world.kill())
    found = await world.get(act.deployment)
    assert (found.state, "what it did until then stands" in found.detail) == (DeploymentState.cancelled, True)
    assert await world.locked_by() == []


# Undoing


async def test_an_undo_keeps_the_name_that_the_place_told_for_what_it_puts_back(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    assert await finish(world, await world.deploy("broken")) == "rolled_back"
    assert (await world.get("dep_1")).handle == "again-0"


@pytest.mark.parametrize("error", [ProviderError("gone", temporary=True), ProviderError("no answer")])
async def test_an_undo_that_failed_after_it_was_told_a_name_looks_and_asks_again_by_that_name(
    world: World, error: ProviderError
) -> None:
    await finish(world, await world.deploy("v1"))
    able(world).fails_after_telling = [error]
    assert await finish(world, await world.deploy("broken")) == "rolled_back"
    told = [seen for seen in able(world).seen if seen[0] != "status"]
    assert ("", "") not in able(world).seen[1:]
    assert (await world.get("dep_1")).handle == f"again-{len(told) - 1}"


async def test_what_an_undo_took_at_its_place_is_metered_with_the_rest(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    await finish(world, await world.deploy("broken"))
    assert (await world.get("dep_2")).usage == Usage(requests=5)


async def test_scaling_what_fails_is_undone_to_what_it_was_and_does_not_take_it_down(world: World) -> None:
    await finish(world, await world.deploy("v1"))
    await world.database.write(
        lambda tx: deployments.change(tx, "dep_1", lambda d: d.evolve(health=HealthVerdict.failing)) and None
    )
    operation = await world.commit(scale_plan(asked("scale"), replicas=3, binding=BINDING, place=await world.place()))
    world.provider.unwell = True
    await finish(world, operation)
    assert world.provider.running == ["v1"]
    assert await world.serving() == "dep_1"


# Waiting and telling


async def test_a_place_that_says_to_come_back_at_once_is_not_asked_for_ever(world: World) -> None:
    away: list[OpsError] = [ProviderError("not now", temporary=True, retry_after_seconds=0) for _ in range(20_000)]
    world.parts = replace(world.parts, patience=replace(world.parts.patience, limited_seconds=60))
    world.provider.failures["deploy"] = away
    assert await finish(world, await world.deploy("v1")) in ("down", "rolled_back")


async def test_no_half_of_a_secret_stays_in_a_note_that_was_too_long(world: World) -> None:
    secret = "correct horse battery staple"
    world.parts = replace(world.parts, redact=lambda text: text.replace(secret, "*"))
    able(world).told = ["x" * 185 + secret]
    operation = await provisioning(world)
    assert await finish(world, operation) == "applied"
    notes = [step.detail for step in await world.stored.steps(operation.deployment)]
    assert not any("correct" in note for note in notes)


async def test_a_note_that_cannot_be_written_undoes_no_release(world: World) -> None:
    """It says nothing about the release; whoever runs the operation next goes on from there."""
    world.provider.failures["deploy"] = [Unavailable("The ledger cannot be written: another process holds the database.")]
    operation = await world.deploy("v1")
    with pytest.raises(Unavailable):
        await finish(world, operation)
    assert await world.state("dep_1") == "releasing"
    assert await finish(world, operation) == "healthy"
