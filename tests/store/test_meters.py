"""What a place meters: the most is reserved before a change, what it was is settled after it, and the ledger can tell both."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from ops_mcp.config import Meter
from ops_mcp.domain.calls import Cost
from ops_mcp.domain.identity import Credential, Level
from ops_mcp.domain.outcomes import Done, Refused
from ops_mcp.domain.releases import Usage
from ops_mcp.errors import Code
from ops_mcp.store import deployments, operations, rebuild
from ops_mcp.store.database import Transaction
from ops_mcp.store.settlement import settle_operation
from tests.house import START, House, house

pytestmark = pytest.mark.anyio

METER = {"request": 10, "build_minute": 4000, "most_requests": 100, "most_build_minutes": 5}
CEILING = 100 * 10 + 5 * 4000


@asynccontextmanager
async def metered(tmp_path: Path, *, per_day: int) -> AsyncGenerator[tuple[House, Credential]]:
    work = {"usd_micros_per_hour": per_day, "usd_micros_per_day": per_day}
    async with house(tmp_path, meters={"memory": METER}, prices={"deploy": 700}, budgets={"work": work}) as home:
        home.finish.clear()  # the operation is ended by hand here
        yield home, await home.agent(ceiling=Level.staging)


async def begun(home: House, agent: Credential) -> None:
    """Commit a deployment; its caller does not wait for it."""

    with anyio.move_on_after(0.5):
        await home.call(agent, "deploy", service="web", environment="staging")
    await home.database.write(lambda _: None)


async def ended(home: House, usage: Usage) -> None:
    def unit(tx: Transaction) -> None:
        [(name,)] = tx.fetch("SELECT deployment FROM operations WHERE final = 0")
        operation = operations.operation_of_deployment(tx, name)
        assert operation is not None
        deployment = deployments.change(tx, name, lambda d: d.evolve(usage=usage))
        operations.finish(tx, operation)
        settle_operation(tx, operation, deployment, at=START, meters={"memory": Meter.model_validate(METER)})

    await home.database.write(unit)


async def spent(home: House) -> set[int]:
    """Money in the agent's own windows."""
    await home.database.write(lambda _: None)
    rows = await home.database.fetch("SELECT usd_micros FROM spend WHERE scope LIKE 'ada:%work%'")
    return {int(row[0]) for row in rows}


async def assert_rebuilt(home: House) -> None:
    assert await home.database.write(rebuild.compare) == ()


@pytest.mark.parametrize(
    ("usage", "costs"),
    [
        (Usage(requests=12, build_seconds=61), 12 * 10 + 2 * 4000),  # begun minutes count
        (Usage(), 0),
        (Usage(requests=500, build_seconds=3600), 500 * 10 + 60 * 4000),  # more than was thought possible is charged all the same
    ],
)
async def test_a_change_is_charged_what_its_place_metered(tmp_path: Path, usage: Usage, costs: int) -> None:
    async with metered(tmp_path, per_day=1_000_000) as (home, agent):
        await begun(home, agent)
        assert await spent(home) == {700 + CEILING}
        await ended(home, usage)
        assert await spent(home) == {700 + costs}
        await assert_rebuilt(home)
        [settled] = await home.records("operation.settled")
        assert isinstance(settled["data"], dict)
        assert settled["data"]["usd_micros"] == 700 + costs


async def test_a_change_whose_most_does_not_fit_the_budget_is_refused(tmp_path: Path) -> None:
    async with metered(tmp_path, per_day=CEILING) as (home, agent):
        refused = await home.call(agent, "deploy", service="web", environment="staging")
        assert isinstance(refused, Refused)
        assert refused.problem.code is Code.over_budget


async def test_a_plan_alone_is_metered_nothing(tmp_path: Path) -> None:
    async with metered(tmp_path, per_day=1_000_000) as (home, agent):
        assert isinstance(await home.call(agent, "deploy", service="web", environment="staging", dry_run=True), Done)
        assert await spent(home) == {0}
        await assert_rebuilt(home)


def test_the_most_of_a_meter_is_that_of_its_requests_and_minutes() -> None:
    meter = Meter.model_validate(METER)
    assert meter.ceiling == CEILING
    assert meter.charge(Usage(requests=1, build_seconds=0.5)) == 10 + 4000
    assert Cost(calls=0, usd_micros=meter.ceiling) + Cost() == Cost(calls=1, usd_micros=CEILING)
