"""What a reviewer broke in the ledger's writing: the one writer thread, budgets that others pay, plans that went stale."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.identity import AgentName, Level, NoToken
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.releases import DeploymentId, DeploymentState, HealthVerdict, Plan, RequestCancel
from ops_mcp.errors import Conflict, OpsError
from ops_mcp.operator.verbs import ResetBudget
from ops_mcp.ports import look
from ops_mcp.store import commitment, deployments
from ops_mcp.store.database import Transaction
from ops_mcp.store.rebuild import compare
from tests.house import House, house

pytestmark = pytest.mark.anyio


def held_and_lost(tx: Transaction) -> None:
    """A unit whose held rows cannot be written: the failure shows only after every unit of the batch has run."""

    def overflow(inner: Transaction) -> None:
        inner.execute("UPDATE spend SET calls = ?", 2**70)

    tx.hold("unwritable", overflow)


async def test_a_unit_whose_held_rows_cannot_be_written_fails_alone_and_the_writer_lives(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        failed: list[str] = []

        async def broken() -> None:
            try:
                await home.database.write(held_and_lost)
            except (OverflowError, OpsError) as error:
                failed.append(type(error).__name__)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(broken)
                group.start_soon(home.database.write, lambda tx: None)
            assert failed == ["OverflowError"]
            assert await home.database.write(lambda tx: "goes on") == "goes on"


async def test_what_stays_reachable_without_a_budget_does_not_empty_everybodys(tmp_path: Path) -> None:
    budgets = {"everyone": {"calls_per_hour": 30}, "anonymous": {"calls_per_hour": 5}}
    async with house(tmp_path, budgets=budgets) as home:
        ada = await home.agent()
        for _ in range(40):
            assert isinstance(await home.call(NoToken(), "whoami"), Done)
        assert isinstance(await home.call(ada, "services"), Done)
        await home.database.write(lambda tx: None)
        assert await home.database.write(compare) == ()


async def test_a_rollback_that_was_exempt_while_it_was_planned_is_refused_once_the_release_proved_healthy(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        plan = await unverified_rollback(home)
        assert plan.recovery

        def proved(tx: Transaction) -> None:
            assert plan.work is not None
            deployments.change(tx, str(plan.work.replaces), lambda d: d.evolve(health=HealthVerdict.healthy))

        await home.database.write(lambda tx: commitment.recheck(tx, plan))
        await home.database.write(proved)
        with pytest.raises(Conflict, match="has changed since"):
            await home.database.write(lambda tx: commitment.recheck(tx, plan))


async def test_a_cancel_is_refused_when_its_deployment_ended_after_it_was_planned(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        answer = await home.call(ada, "deploy", service="web", environment="staging")
        assert isinstance(answer, Done)
        ended = DeploymentId(str((await home.database.fetch("SELECT id FROM deployments"))[0][0]))
        plan = Plan.model_validate(
            {
                "tool": "deployment_cancel", "agent": "ada", "environment": "staging", "service": "web", "target": ended,
                "summary": "", "writes": (RequestCancel(deployment=ended),),
            }
        )  # fmt: skip
        with pytest.raises(Conflict, match="ended"):
            await home.database.write(lambda tx: commitment.recheck(tx, plan))


async def unverified_rollback(home: House) -> Plan:
    """The plan of a rollback whose current release has no verdict yet."""
    from ops_mcp.deploying.plans import Asked, rollback_plan

    ada = await home.agent(ceiling=Level.staging)
    await home.call(ada, "deploy", service="web", environment="staging")
    home.finish[:] = [DeploymentState.superseded]
    await home.call(ada, "deploy", service="web", environment="staging", ref="next")

    def serving(tx: Transaction) -> None:
        newest = str(tx.fetch("SELECT id FROM deployments ORDER BY id DESC LIMIT 1")[0][0])
        deployments.change(
            tx, newest, lambda d: d.evolve(state=DeploymentState.watching, health=HealthVerdict.unverified, finished_at=None)
        )
        deployments.serve(tx, deployments.deployment_by_id(tx, newest))

    await home.database.write(serving)
    binding = home.config.binding("web", "staging")
    assert binding is not None
    place = await look(home.app.deployments, binding.service, binding.environment)
    return rollback_plan(Asked("rollback", "ada", {}), binding=binding, place=place)


async def test_callers_who_meet_at_the_commit_with_one_key_pay_for_one_change_together(tmp_path: Path) -> None:
    async with house(tmp_path, prices={"deploy": 1000}) as home:
        ada = await home.agent()
        answers: list[Done] = []

        async def one() -> None:
            answer = await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="k")
            assert isinstance(answer, Done)
            answers.append(answer)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        spent = await home.database.fetch("SELECT DISTINCT usd_micros FROM spend WHERE scope = 'ada:staging:work'")
        assert spent == [(1000,)]
        assert [answer.replayed for answer in answers].count(False) == 1


async def test_a_budget_reset_while_a_read_is_open_never_leaves_more_than_the_budget(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        home.finish.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(home.call, ada, "deploy", service="web", environment="staging"))
            id = await first_deployment(home)
            group.start_soon(partial(home.call, ada, "deployment", id=id, wait_seconds=1))
            with anyio.fail_after(10):
                while not any(r.get("tool") == "deployment" for r in await home.records("call.admitted")):
                    await anyio.sleep(0.01)
            await home.order(ResetBudget(agent=AgentName("ada"), reason="a test"))
            with anyio.fail_after(10):
                while not any(r.get("tool") == "deployment" for r in await home.records("call.settled")):
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()
        assert await home.database.fetch("SELECT * FROM spend WHERE tokens < 0 OR calls < 0 OR usd_micros < 0") == []
        assert await home.database.write(compare) == ()


async def first_deployment(home: House) -> str:
    with anyio.fail_after(10):
        while not (rows := await home.database.fetch("SELECT id FROM deployments")):
            await anyio.sleep(0.01)
    return str(rows[0][0])


async def test_what_was_remembered_of_a_connection_that_failed_is_not_believed_on_the_next(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        before = await home.database.write(lambda tx: tx.undone)
        with pytest.raises(OpsError):
            await home.database.write(lambda tx: tx.execute("COMMIT") and tx.execute("no such statement"))
        assert await home.database.write(lambda tx: tx.undone) not in (before, before + 1)
