"""The one path, driven through `call` with a real database: what is decided, recorded, reserved, committed and settled."""

from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.identity import AgentName, Level, Token
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import DeploymentState
from ops_mcp.errors import Code
from ops_mcp.operator.verbs import FreezeChanges, Kill, Unfreeze
from ops_mcp.values import Secret
from tests.house import NOBODY, house

pytestmark = pytest.mark.anyio


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def code(outcome: Outcome) -> Code:
    assert isinstance(outcome, Refused | Failed | NeedsApproval), outcome
    return outcome.problem.code


async def test_a_read_is_admitted_settled_and_leaves_nothing_reserved(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        answer = done(await home.call(await home.agent(), "services"))
        assert answer.result["environments"] == ["sandbox", "staging"]
        kinds = [r["kind"] for r in await home.records() if r.get("call") == answer.call]
        assert kinds == ["call.admitted", "call.settled"]
        assert await home.count("reservations") == 0


async def test_every_request_is_recorded_once_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        wrong = Token(secret=Secret("${OPS_MCP_TOKEN}"))
        sent = [
            (ada, "services", {}),
            (ada, "no_such_tool", {}),
            (ada, "services", {"servise": "web"}),
            (ada, "deploy", {"service": "web"}),
            (ada, "deploy", {"service": "web", "environment": "moon"}),
            (ada, "deploy", {"service": "web", "environment": "production"}),
            (ada, "deployment", {"id": "dep_00000000"}),
            (NOBODY, "deploy", {"service": "web", "environment": "staging"}),
            (wrong, "services", {}),
            (ada, "services", {"environment": 2**60}),
        ]
        codes: list[str] = []
        for credential, tool, arguments in sent:
            outcome = await home.call(credential, tool, **arguments)  # type: ignore[arg-type]
            codes.append("done" if isinstance(outcome, Done) else code(outcome).value)
        assert codes == [
            "done", "unknown_tool", "invalid_arguments", "invalid_arguments", "invalid_arguments", "not_permitted",
            "not_found", "not_permitted", "unauthenticated", "invalid_arguments",
        ]  # fmt: skip
        decided = [r for r in await home.records() if r["kind"] in ("call.admitted", "call.refused")]
        assert len(decided) == len(sent)


async def test_an_argument_error_names_the_field_and_never_the_value(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        outcome = await home.call(await home.agent(), "deployments", limit="hunter2-secret")
        assert isinstance(outcome, Refused)
        assert "limit" in outcome.problem.message
        assert "hunter2" not in outcome.problem.model_dump_json()


async def test_a_deploy_is_committed_with_its_operation_and_reported_from_the_stored_state(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        answer = done(await home.call(await home.agent(), "deploy", service="web", environment="staging", ref="next"))
        deployment = answer.result["deployment"]
        assert isinstance(deployment, dict)
        assert (deployment["state"], deployment["content"], deployment["serving"]) == ("healthy", "b" * 40, True)
        kinds = [r["kind"] for r in await home.records() if r.get("call") == answer.call]
        assert kinds == ["call.admitted", "call.committed", "operation.settled", "call.settled"]
        assert await home.count("reservations") == 0


async def test_a_dry_run_returns_the_plan_and_the_verdict_and_changes_no_row(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent(ceiling=Level.prod, score=200)
        answer = done(await home.call(agent, "deploy", service="web", environment="production", dry_run=True))
        assert isinstance(answer.result["verdict"], dict)
        assert isinstance(answer.result["plan"], dict)
        assert answer.result["verdict"]["answer"] == "ask"
        steps = answer.result["plan"]["steps"]
        assert isinstance(steps, list)
        assert [s["name"] for s in steps if isinstance(s, dict)] == ["check", "snapshot", "release", "verify", "watch", "done"]
        for table in ("operations", "deployments", "approvals", "locks", "idempotency"):
            assert await home.count(table) == 0
        assert not any(a.startswith(("deploy", "rollback")) for a in home.place.asked)


async def test_a_repeated_key_gets_the_same_deployment_even_after_the_branch_moved(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        first = done(await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="k1"))
        home.place.refs["main"] = "c" * 40
        again = done(
            await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="k1", reason="reworded")
        )
        assert again.replayed
        assert again.result["deployment"] == first.result["deployment"]
        assert await home.count("operations") == 1
        other = await home.call(ada, "deploy", service="web", environment="staging", ref="next", idempotency_key="k1")
        assert code(other) is Code.conflict


async def test_fifty_callers_with_one_key_deploy_once_and_all_get_that_deployment(tmp_path: Path) -> None:
    async with house(tmp_path, rates={"change": {"per_minute": 600, "burst": 100}}, budgets={"work": {}}) as home:
        ada = await home.agent()
        got: list[object] = []

        async def one() -> None:
            answer = done(await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="k"))
            assert isinstance(answer.result["deployment"], dict)
            got.append(answer.result["deployment"]["id"])

        with anyio.fail_after(30):
            async with anyio.create_task_group() as callers:
                for _ in range(50):
                    callers.start_soon(one)
        assert len(got) == 50
        assert len(set(map(str, got))) == 1
        assert await home.count("operations") == 1


async def test_prod_asks_and_the_grant_is_used_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent(ceiling=Level.prod, score=200)
        asked = await home.call(ada, "deploy", service="web", environment="production", reason="release day")
        assert isinstance(asked, NeedsApproval)
        assert await home.count("operations") == 0
        await home.answer(asked.approval.id)
        done(await home.call(ada, "deploy", service="web", environment="production", reason="other words", idempotency_key="n"))
        assert await home.count("operations") == 1
        status = done(await home.call(ada, "approval", id=asked.approval.id))
        assert status.result["state"] == "consumed"
        assert isinstance(await home.call(ada, "deploy", service="web", environment="production", ref="next"), NeedsApproval)


async def test_a_grant_does_not_cover_the_same_branch_with_other_content(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent(ceiling=Level.prod, score=200)
        asked = await home.call(ada, "deploy", service="web", environment="production")
        assert isinstance(asked, NeedsApproval)
        await home.answer(asked.approval.id)
        home.place.refs["main"] = "d" * 40
        assert isinstance(await home.call(ada, "deploy", service="web", environment="production"), NeedsApproval)
        assert await home.count("operations") == 0


async def test_a_hundred_parallel_uses_of_one_grant_begin_one_operation(tmp_path: Path) -> None:
    async with house(tmp_path, rates={"change": {"per_minute": 100_000, "burst": 1000}}, budgets={"work": {}}) as home:
        home.finish.clear()
        ada = await home.agent(ceiling=Level.prod, score=200)
        asked = await home.call(ada, "deploy", service="web", environment="production")
        assert isinstance(asked, NeedsApproval)
        await home.answer(asked.approval.id)
        outcomes: list[Outcome] = []

        async def one() -> None:
            with anyio.move_on_after(3):
                outcomes.append(await home.call(ada, "deploy", service="web", environment="production"))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as callers:
                for _ in range(100):
                    callers.start_soon(one)
        assert await home.count("operations") == 1
        assert not any(isinstance(o, Done) for o in outcomes)
        assert len(await home.records("approval.consumed")) == 1


async def test_freeze_and_kill_act_on_the_next_call_and_are_lifted_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        await home.order(FreezeChanges(environment=EnvironmentName("staging"), reason="release freeze"))
        assert code(await home.call(ada, "deploy", service="web", environment="staging")) is Code.frozen
        done(await home.call(ada, "services"))
        await home.order(Unfreeze(environment=EnvironmentName("staging"), reason="over"))
        done(await home.call(ada, "deploy", service="web", environment="staging"))
        await home.order(Kill(agent=AgentName("ada"), reason="runaway"))
        assert code(await home.call(ada, "services")) is Code.not_permitted


async def test_an_agents_recovery_rollback_passes_a_freeze_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent(ceiling=Level.prod, score=100)
        done(await home.call(ada, "deploy", service="web", environment="staging"))
        home.finish[0] = DeploymentState.unknown
        second = done(await home.call(ada, "deploy", service="web", environment="staging", ref="next"))
        assert isinstance(second.result["deployment"], dict)
        bad = str(second.result["deployment"]["id"])
        await home.database.write(lambda tx: _left_serving(tx, bad))
        await home.order(FreezeChanges(environment=EnvironmentName("staging"), reason="incident"))
        home.finish[0] = DeploymentState.healthy
        assert code(await home.call(ada, "deploy", service="web", environment="staging")) is Code.frozen
        back = done(await home.call(ada, "rollback", service="web", environment="staging"))
        assert isinstance(back.result["deployment"], dict)
        assert back.result["deployment"]["content"] == "a" * 40


async def test_a_caller_that_goes_away_leaves_its_operation_and_a_cancelled_settlement(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.finish.clear()
        ada = await home.agent()
        with anyio.move_on_after(0.5) as scope:
            await home.call(ada, "deploy", service="web", environment="staging")
        assert scope.cancelled_caught
        assert await home.count("operations") == 1
        assert [r["verdict"] for r in await home.records("call.settled")] == ["cancelled"]


async def test_a_flood_of_refusals_is_counted_not_written(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        for _ in range(200):
            await home.call(ada, "no_such_tool")
        assert len(await home.records("call.refused")) == 60
        home.advance(minutes=1)
        await home.call(ada, "no_such_tool")
        many = await home.records("call.refused_many")
        assert [m["data"] for m in many] == [{"minute": "2026-11-20T12:10", "refused": 200, "of_which_recorded": 60}]


async def test_forbidden_attempts_cost_points_once_an_hour(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        for _ in range(3):
            assert code(await home.call(ada, "deploy", service="web", environment="production")) is Code.not_permitted
        assert done(await home.call(ada, "whoami")).result["score"] == 92
        home.advance(hours=1)
        await home.call(ada, "deploy", service="web", environment="production")
        assert done(await home.call(ada, "whoami")).result["score"] == 84


async def test_an_anonymous_caller_deploys_the_sample_and_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        done(await home.call(NOBODY, "deploy", service="hello", environment="sandbox"))
        assert code(await home.call(NOBODY, "deploy", service="web", environment="sandbox")) is Code.not_permitted
        assert done(await home.call(NOBODY, "services")).result["environments"] == ["sandbox"]


async def test_a_second_deploy_of_a_held_place_is_in_progress(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.finish.clear()
        ada = await home.agent()
        with anyio.move_on_after(0.5):
            await home.call(ada, "deploy", service="web", environment="staging")
        outcome = await home.call(ada, "deploy", service="web", environment="staging", ref="next")
        assert code(outcome) is Code.in_progress
        assert isinstance(outcome, Refused)
        assert str(outcome.problem.details["deployment"]).startswith("dep_")


def _left_serving(tx: object, deployment: str) -> None:
    """As a killed worker may leave it: up, never judged."""
    from ops_mcp.domain.releases import HealthVerdict
    from ops_mcp.store import deployments
    from ops_mcp.store.database import Transaction

    assert isinstance(tx, Transaction)
    changed = deployments.change(tx, deployment, lambda d: d.evolve(health=HealthVerdict.unverified))
    deployments.serve(tx, changed)
