"""Grants with --run: the worker makes the stored call once, as that agent, with every check repeated.

That a second pass repeats nothing is also in tests/test_worker.py; with a real worker, in test_approvals_by_hand.py beside this.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from ops_mcp import worker
from ops_mcp.app import World
from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState
from ops_mcp.domain.identity import AgentName, Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.domain.places import Binding, EnvironmentName
from ops_mcp.domain.releases import Content, DeploymentState
from ops_mcp.governance.approvals import Decision
from ops_mcp.operator.verbs import AddOperator, FreezeChanges, Kill, RevokeOperator, SetAgent
from ops_mcp.store import leases
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.people import stored_approval
from tests.house import House, MemoryPlace, house

pytestmark = pytest.mark.anyio
PRODUCTION = {"service": "web", "environment": "production"}


async def to_run(home: House, **arguments: str) -> tuple[Credential, Approval]:
    """An agent whose request was granted with --run."""
    ada = await home.agent(ceiling=Level.prod, score=200)
    outcome = await home.call(ada, "deploy", **PRODUCTION | arguments)
    assert isinstance(outcome, NeedsApproval), outcome
    await home.answer(outcome.approval.id, run=True)
    return ada, outcome.approval


async def worker_passes(home: House, called: set[ApprovalId] | None = None) -> None:
    """One round of a worker, by default of one that has just started and remembers nothing."""
    await worker.run_granted(home.opened, set() if called is None else called)


async def state(home: House, approval: Approval) -> ApprovalState:
    stored = await stored_approval(home.database, approval.id)
    assert stored is not None
    return stored.approval.state


async def test_the_worker_makes_the_stored_call_with_its_arguments_and_key_and_the_agent_learns_the_deployment(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as home:
        ada, approval = await to_run(home, ref="next", idempotency_key="release-7")
        await worker_passes(home)
        status = await home.call(ada, "approval", id=approval.id)
        assert isinstance(status, Done)
        assert (status.result["state"], str(status.result["next"])[:26]) == ("consumed", "Already run, do not repeat")
        again = await home.call(ada, "deploy", **PRODUCTION, ref="next", idempotency_key="release-7")
        assert isinstance(again, Done)
        assert isinstance(again.result["deployment"], dict)
        assert (again.replayed, again.result["deployment"]["id"]) == (True, status.result["deployment"])
        assert (again.result["deployment"]["content"], again.result["deployment"]["state"]) == ("b" * 40, "healthy")
        [(agent, tool)] = [(r["caller"], r["tool"]) for r in await home.records("call.committed")]
        assert (agent, tool) == ("ada", "deploy")
        assert await home.count("operations") == 1


async def test_passes_of_two_workers_and_the_agent_itself_at_once_run_it_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, _ = await to_run(home)
        home.finish[0] = DeploymentState.down  # the same plan would be good again, were the grant not spent

        async def agent_repeats() -> None:
            await home.call(ada, "deploy", **PRODUCTION)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for one in (worker_passes, worker_passes):
                    group.start_soon(one, home)
                group.start_soon(agent_repeats)
        await worker_passes(home)
        assert await home.count("operations") == 1
        assert len(await home.records("approval.consumed")) == 1


async def test_other_content_is_not_run_but_asked_for_and_asked_for_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, approval = await to_run(home)
        home.place.refs["main"] = "d" * 40
        called = set[ApprovalId]()
        for _ in range(3):
            await worker_passes(home, called)
        await worker_passes(home)
        assert await home.count("operations") == 0
        assert await state(home, approval) is ApprovalState.granted
        asked = await home.records("approval.requested")
        assert len(asked) == 2
        assert isinstance(asked[1]["data"], dict)
        assert isinstance(plan := asked[1]["data"]["plan"], dict)
        assert (asked[1]["caller"], plan["content"]) == ("ada", "d" * 40)
        await home.answer(str(asked[1]["approval"]))
        assert isinstance(await home.call(ada, "deploy", **PRODUCTION), Done)


@pytest.mark.parametrize("what", ["agent killed", "ceiling lowered", "frozen", "approver revoked", "taken back", "too late"])
async def test_every_check_is_repeated_before_the_worker_runs_it(tmp_path: Path, what: str) -> None:
    async with house(tmp_path) as home:
        _, approval = await to_run(home)
        match what:
            case "agent killed":
                await home.order(Kill(agent=AgentName("ada"), reason="runaway"))
            case "ceiling lowered":
                await home.order(SetAgent(name=AgentName("ada"), ceiling=Level.staging, reason="moved"))
            case "frozen":
                await home.order(FreezeChanges(environment=EnvironmentName("production"), reason="stocktaking"))
            case "approver revoked":
                await home.order(AddOperator(name=OperatorName("rita"), public_key=SigningKey.generate().public, protected=False))
                await home.order(RevokeOperator(name="olga", reason="left"))
            case "taken back":
                await home.answer(approval.id, Decision.deny)
            case _:
                home.advance(minutes=15)
        await worker_passes(home)
        assert await home.count("operations") == 0
        assert await home.records("approval.consumed") == []


@dataclass
class SlowPlace(MemoryPlace):
    """Resolves only when it may."""

    asked_for: anyio.Event = field(default_factory=anyio.Event)
    go: anyio.Event = field(default_factory=anyio.Event)

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        self.asked_for.set()
        await self.go.wait()
        return await super().resolve(binding, ref)


async def test_a_worker_that_ends_before_the_commit_leaves_the_run_to_the_next_one(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        assert not leases.work_waits(home.config.database)
        _, approval = await to_run(home)
        slow = SlowPlace()
        doomed = home.beside(replace(home.app, world=lambda: World(home.config, {"memory": slow})))
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(worker_passes, doomed)
                await slow.asked_for.wait()
                group.cancel_scope.cancel()
        assert await state(home, approval) is ApprovalState.granted
        assert leases.work_waits(home.config.database)  # so a server starts the next one
        home.finish[0] = DeploymentState.down
        await worker_passes(home)
        assert await state(home, approval) is ApprovalState.consumed
        assert not leases.work_waits(home.config.database)
        assert await home.count("operations") == 1
