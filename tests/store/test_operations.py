"""Rows of operations and deployments: the journal, the lock, what serves, and the history that is paged."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import DeploymentState, HealthVerdict
from ops_mcp.errors import InProgress, NotFound
from ops_mcp.operations.run import run
from ops_mcp.ports import DeploymentQuery
from ops_mcp.store import deployments, operations
from ops_mcp.store.operations import Entry
from tests.operations.fakes import BINDING, ENVIRONMENT, SERVICE, START, World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def healthy(world: World, content: str) -> None:
    assert (await run(await world.deploy(content), world.parts)).state is DeploymentState.healthy


async def test_a_line_of_the_journal_and_its_ledger_record_are_written_together(world: World) -> None:
    operation = await world.deploy("v1")
    first = await world.database.write(
        lambda tx: operations.append(tx, operation, Entry("check", "begun", data={"undo": "none"}), at=START)
    )
    second = await world.database.write(lambda tx: operations.append(tx, operation, Entry("check", "done"), at=START))
    assert (first.sequence, second.sequence) == (1, 2)
    assert tuple(await world.stored.steps(operation.deployment)) == (first, second)
    rows = await world.database.fetch(
        "SELECT json_extract(body, '$.operation'), caller, deployment FROM ledger WHERE kind = 'operation.step'"
    )
    assert rows == [("op_1", "ada", "dep_1")] * 2


async def test_a_place_is_held_by_one_deployment_until_it_lets_go(world: World) -> None:
    first = await world.deploy("v1")
    with pytest.raises(InProgress):
        await world.deploy("v2")
    row = await world.get(first.deployment)
    assert await world.database.write(lambda tx: operations.lock(tx, row, at=START)) is None
    other = row.model_copy(update={"id": "dep_9"})
    assert await world.database.write(lambda tx: operations.lock(tx, other, at=START)) == "dep_1"
    await world.database.write(lambda tx: operations.finish(tx, first))
    assert await world.locked_by() == []
    assert await world.database.write(lambda tx: operations.lock(tx, other, at=START)) is None


async def test_a_lock_left_by_an_operation_that_is_over_is_taken_over(world: World) -> None:
    first = await world.deploy("v1")
    await world.database.write(lambda tx: tx.execute("UPDATE operations SET final = 1 WHERE id = ?", first.id))
    other = (await world.get("dep_1")).model_copy(update={"id": "dep_9"})
    assert await world.database.write(lambda tx: operations.lock(tx, other, at=START)) is None
    assert await world.locked_by() == ["dep_9"]


async def test_a_deployment_that_is_releasing_keeps_others_out_even_without_its_lock(world: World) -> None:
    await world.deploy("v1")
    await world.database.write(lambda tx: deployments.change(tx, "dep_1", lambda d: d.evolve(state=DeploymentState.releasing)))
    await world.database.write(lambda tx: operations.unlock(tx, "dep_1"))
    other = (await world.get("dep_1")).model_copy(update={"id": "dep_9"})
    assert await world.database.write(lambda tx: operations.lock(tx, other, at=START)) == "dep_1"


async def test_a_change_of_a_row_keeps_what_others_wrote_meanwhile(world: World) -> None:
    await world.deploy("v1")
    await world.cancel("dep_1")
    await world.database.write(lambda tx: deployments.change(tx, "dep_1", lambda d: d.evolve(detail="looked at")))
    found = await world.get("dep_1")
    assert (found.cancel_requested, found.detail) == (True, "looked at")
    assert "cancel note" in await world.lines("dep_1")


async def test_one_deployment_serves_a_place(world: World) -> None:
    await healthy(world, "v1")
    await healthy(world, "v2")
    rows = await world.database.fetch("SELECT id FROM deployments WHERE serving = 1")
    assert rows == [("dep_2",)]


async def test_the_last_healthy_release_is_the_newest_with_no_verdict_against_it_and_another_release(world: World) -> None:
    await healthy(world, "v1")
    await healthy(world, "v2")
    await healthy(world, "v2")
    found = await world.stored.last_healthy(SERVICE, ENVIRONMENT, other_than=(await world.get("dep_3")).id)
    assert found is not None
    assert found.id == "dep_1"
    await world.database.write(lambda tx: deployments.change(tx, "dep_1", lambda d: d.evolve(health=HealthVerdict.failing)))
    assert await world.stored.last_healthy(SERVICE, ENVIRONMENT, other_than=(await world.get("dep_3")).id) is None


async def test_a_cancelled_release_is_not_gone_back_to_although_it_was_healthy(world: World) -> None:
    await healthy(world, "v1")
    operation = await world.deploy("v2")
    world.time.after(30, lambda: world.cancel("dep_2"))
    assert (await run(operation, world.parts)).state is DeploymentState.cancelled
    assert (await world.get("dep_2")).health is HealthVerdict.healthy
    assert await world.stored.last_healthy(SERVICE, ENVIRONMENT, other_than=(await world.get("dep_1")).id) is None


async def test_the_history_is_paged_newest_first_within_what_the_caller_may_see(world: World) -> None:
    for content in ("v1", "v2", "v3"):
        await healthy(world, content)
    everything = DeploymentQuery(visible=(ENVIRONMENT,), limit=2)
    first = await world.stored.page(everything)
    assert [d.id for d in first.items] == ["dep_3", "dep_2"]
    rest = await world.stored.page(everything._replace(cursor=first.next_cursor))
    assert ([d.id for d in rest.items], rest.next_cursor) == (["dep_1"], None)
    assert (await world.stored.page(DeploymentQuery(visible=()))).items == ()
    assert (await world.stored.page(DeploymentQuery(visible=(EnvironmentName("production"),)))).items == ()
    assert (await world.stored.page(everything._replace(since=START + timedelta(days=1)))).items == ()
    superseded = await world.stored.page(everything._replace(state=DeploymentState.superseded, service=BINDING.service))
    assert superseded.items == ()


async def test_an_unknown_deployment_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.database.write(lambda tx: deployments.deployment_by_id(tx, "dep_404"))


async def test_only_what_serves_where_nothing_is_open_is_supervised(world: World) -> None:
    await healthy(world, "v1")
    assert [d.id for d in await deployments.supervised(world.database)] == ["dep_1"]
    await world.deploy("v2")
    assert await deployments.supervised(world.database) == ()


async def test_open_operations_are_those_that_are_not_final(world: World) -> None:
    operation = await world.deploy("v1")
    assert await operations.open_operations(world.database) == (operation,)
    await run(operation, world.parts)
    assert await operations.open_operations(world.database) == ()
