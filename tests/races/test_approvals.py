"""What a grant is worth: once, for one plan, in its time, signed by an operator who still stands.

Replay under other content, other words and one hundred uses within one process are in tests/test_call.py; the terminal's
refusals in tests/cli/test_approving.py and, with real processes, in test_approvals_by_hand.py beside this.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.app import World
from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState
from ops_mcp.domain.identity import AgentName, Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done, NeedsApproval, Outcome, Refused
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentId, DeploymentState
from ops_mcp.errors import Code, Conflict, OpsError
from ops_mcp.governance.approvals import Decision, message
from ops_mcp.operator.verbs import AddOperator, Approve, RevokeOperator
from ops_mcp.ports import DeploymentQuery, Deployments, Page
from ops_mcp.store import keys, settlement
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.people import stored_approval
from tests.house import House, house
from tests.races.grantee import ADA, PATIENT

pytestmark = pytest.mark.anyio
PRODUCTION = {"service": "web", "environment": "production"}
OTHER_KEY = SigningKey.generate()


async def releaser(home: House, name: str = "ada") -> Credential:
    return await home.agent(name, ceiling=Level.prod, score=200)


async def ask(home: House, agent: Credential, **arguments: str) -> Approval:
    """Call for production and be told to wait for a person."""
    outcome = await home.call(agent, "deploy", **PRODUCTION | arguments)
    assert isinstance(outcome, NeedsApproval), outcome
    return outcome.approval


async def granted(home: House, agent: Credential, **arguments: str) -> Approval:
    asked = await ask(home, agent, **arguments)
    await home.answer(asked.id)
    return await now(home, asked.id)


async def now(home: House, approval: str) -> Approval:
    stored = await stored_approval(home.database, approval)
    assert stored is not None
    return stored.approval


async def answer_as(home: House, approval: Approval, name: str, key: SigningKey) -> None:
    """Approve as an operator other than the house's own."""
    said = message(approval, Decision.approve, operator=OperatorName(name), at=home.now[0])
    verb = Approve(approval=approval.id, plan_digest=approval.plan_digest, answer=keys.operator_signature(key, said))
    await home.order(verb, by=name, key=key)


async def test_no_tool_lets_an_agent_answer_a_request(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await releaser(home), await releaser(home, "bob")
        asked = await ask(home, ada)
        codes = [
            (await home.call(agent, tool, **arguments))
            for agent, tool, arguments in (
                (ada, "approve", {"approval": asked.id}),
                (ada, "approval_grant", {"id": asked.id}),
                (ada, "approval", {"id": asked.id, "decision": "approve"}),
                (ada, "deploy", {**PRODUCTION, "approved_by": "olga"}),
                (bob, "approval", {"id": asked.id}),
            )
        ]
        assert [o.problem.code for o in codes if not isinstance(o, Done)] == [
            Code.unknown_tool, Code.unknown_tool, Code.invalid_arguments, Code.invalid_arguments, Code.not_found,
        ]  # fmt: skip
        assert (await now(home, asked.id)).state is ApprovalState.pending


def _signed(approval: Approval, key: SigningKey, decision: Decision = Decision.approve) -> str:
    assert approval.answered_at is not None
    return keys.operator_signature(key, message(approval, decision, operator=OperatorName("olga"), at=approval.answered_at))


FORGERIES: dict[str, Callable[[Approval, SigningKey], str]] = {
    "nothing": lambda _approval, _key: "",
    "no signature": lambda _approval, _key: "not hexadecimal",
    "zeros": lambda _approval, _key: "00" * 64,
    "another key": lambda approval, _key: _signed(approval, OTHER_KEY),
    "a denial": lambda approval, key: _signed(approval, key, Decision.deny),
    "another request": lambda approval, key: _signed(approval.evolve(id=ApprovalId("apr_00000000")), key),
    "another plan": lambda approval, key: _signed(approval.evolve(plan_digest="sha256:0"), key),
    "another time": lambda approval, key: _signed(approval.evolve(answered_at=approval.requested_at - timedelta(days=1)), key),
}


@pytest.mark.parametrize("forgery", [*FORGERIES, "none, it is the operator's own"])
async def test_a_grant_written_into_the_table_is_worth_what_its_signature_is_worth(tmp_path: Path, forgery: str) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        asked = await ask(home, ada)
        written = asked.evolve(
            state=ApprovalState.granted,
            answered_by=OperatorName("olga"),
            answered_at=home.now[0],
            use_by=home.now[0] + timedelta(minutes=15),
        )
        signature = FORGERIES.get(forgery, _signed)(written, home.operator_key)
        with closing(sqlite3.connect(home.config.database_path)) as intruder, intruder:
            intruder.execute(
                "UPDATE approvals SET state = 'granted', body = ?, signature = ?", (written.model_dump_json(), signature)
            )
        outcome = await home.call(ada, "deploy", **PRODUCTION)
        assert isinstance(outcome, NeedsApproval if forgery in FORGERIES else Done), outcome
        assert await home.count("operations") == (0 if forgery in FORGERIES else 1)


async def test_a_revoked_operator_an_unknown_one_and_another_ones_key_answer_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        asked = await ask(home, await releaser(home))
        await home.order(AddOperator(name=OperatorName("rita"), public_key=OTHER_KEY.public, protected=False))
        for name, key in (("olga", OTHER_KEY), ("nobody", OTHER_KEY), ("rita", home.operator_key)):
            with pytest.raises(OpsError, match=r"not that of|no operator"):
                await answer_as(home, asked, name, key)
        await home.order(RevokeOperator(name="rita", reason="left"))
        with pytest.raises(OpsError, match="was revoked"):
            await answer_as(home, asked, "rita", OTHER_KEY)
        assert (await now(home, asked.id)).state is ApprovalState.pending


async def test_a_used_grant_does_not_serve_the_same_plan_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        home.finish[0] = DeploymentState.down  # nothing serves before and after, so the plan is the same one
        first = await granted(home, ada)
        assert isinstance(await home.call(ada, "deploy", **PRODUCTION), Done)
        again = await ask(home, ada)
        assert again.plan_digest == first.plan_digest
        assert again.id != first.id
        with pytest.raises(Conflict, match="consumed already"):
            await home.answer(first.id)
        assert await home.count("operations") == 1


async def test_a_grant_serves_no_other_agent_service_environment_or_binding(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await releaser(home), await releaser(home, "bob")
        grant = await granted(home, ada)
        await ask(home, bob)
        await ask(home, ada, service="docs")
        changed = tuple(b.evolve(env={"MODE": "other"}) for b in home.config.bindings)
        app, config = home.app, home.config.evolve(bindings=changed)
        home.app = replace(app, world=lambda: World(config, {"memory": home.place}))
        await ask(home, ada)
        assert await home.count("operations") == 0
        home.app = app
        assert isinstance(await home.call(ada, "deploy", **PRODUCTION), Done)
        assert (await now(home, grant.id)).state is ApprovalState.consumed


async def test_a_dry_run_says_that_the_grant_fits_and_leaves_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        grant = await granted(home, ada)
        outcome = await home.call(ada, "deploy", **PRODUCTION, dry_run=True)
        assert isinstance(outcome, Done)
        assert isinstance(outcome.result["verdict"], dict)
        assert outcome.result["verdict"]["answer"] == "allow"
        assert (await now(home, grant.id)).state is ApprovalState.granted


@dataclass
class HeldHistory:
    """The stored deployments, told late: what was read waits for `go` before the plan gets it."""

    real: Deployments
    read: anyio.Event = field(default_factory=anyio.Event)
    go: anyio.Event = field(default_factory=anyio.Event)

    async def get(self, deployment: DeploymentId) -> Deployment | None:
        return await self.real.get(deployment)

    async def serving(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        return await self.real.serving(service, environment)

    async def last_healthy(
        self, service: ServiceName, environment: EnvironmentName, *, other_than: DeploymentId | None
    ) -> Deployment | None:
        found = await self.real.last_healthy(service, environment, other_than=other_than)
        self.read.set()
        await self.go.wait()
        return found

    async def running(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        return await self.real.running(service, environment)

    async def page(self, query: DeploymentQuery) -> Page[Deployment]:
        return await self.real.page(query)


async def held_before_commit(home: House, agent: Credential, meanwhile: Callable[[], Awaitable[None]]) -> Outcome:
    """Use a grant with something happening between plan and commit."""
    held = HeldHistory(home.app.deployments)
    late = home.beside(replace(home.app, deployments=held))
    outcomes: list[Outcome] = []

    async def use() -> None:
        outcomes.append(await late.call(agent, "deploy", **PRODUCTION))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await held.read.wait()
            await meanwhile()
            held.go.set()
    return outcomes[0]


async def test_a_target_that_changed_before_the_call_needs_a_new_approval(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await releaser(home), await releaser(home, "bob")
        grant = await granted(home, ada)
        await granted(home, bob, ref="next")
        assert isinstance(await home.call(bob, "deploy", **PRODUCTION, ref="next"), Done)
        assert (await ask(home, ada)).id != grant.id
        assert (await now(home, grant.id)).state is ApprovalState.granted
        assert await home.count("operations") == 1


async def test_a_target_that_changed_between_plan_and_commit_is_a_conflict_and_burns_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await releaser(home), await releaser(home, "bob")
        grant = await granted(home, ada)
        await granted(home, bob, ref="next")

        async def bob_deploys() -> None:
            assert isinstance(await home.call(bob, "deploy", **PRODUCTION, ref="next"), Done)

        outcome = await held_before_commit(home, ada, bob_deploys)
        assert isinstance(outcome, Refused)
        assert (outcome.problem.code, sorted(outcome.problem.details)) == (Code.conflict, ["found", "planned_for"])
        assert (await now(home, grant.id)).state is ApprovalState.granted
        assert await home.count("operations") == 1


@pytest.mark.parametrize("when", ["before the call", "between plan and commit"])
@pytest.mark.parametrize("what", ["approver revoked", "grant taken back", "grant expired"])
async def test_what_is_no_grant_any_more_at_the_commit_is_asked_for_anew(tmp_path: Path, what: str, when: str) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        await home.order(AddOperator(name=OperatorName("rita"), public_key=OTHER_KEY.public, protected=False))
        asked = await ask(home, ada)
        await answer_as(home, asked, "rita", OTHER_KEY)

        async def it_happens() -> None:
            match what:
                case "approver revoked":
                    await home.order(RevokeOperator(name="rita", reason="left"))
                case "grant taken back":
                    await home.answer(asked.id, Decision.deny)
                case _:
                    home.advance(minutes=15)

        if when == "before the call":
            await it_happens()
            outcome = await home.call(ada, "deploy", **PRODUCTION)
        else:
            outcome = await held_before_commit(home, ada, it_happens)
        assert isinstance(outcome, NeedsApproval)
        assert outcome.approval.id != asked.id
        assert await home.count("operations") == 0


async def test_a_grant_is_good_until_just_before_its_time(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        await granted(home, ada)
        home.advance(minutes=14, seconds=59)
        assert isinstance(await home.call(ada, "deploy", **PRODUCTION), Done)


async def test_a_request_that_nobody_answered_in_time_is_over_and_the_next_call_asks_anew(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await releaser(home)
        asked = await ask(home, ada)
        home.advance(minutes=15)
        with pytest.raises(Conflict, match="is expired"):
            await home.answer(asked.id)
        status = await home.call(ada, "approval", id=asked.id)
        assert isinstance(status, Done)
        assert status.result["state"] == "expired"
        assert (await ask(home, ada)).id != asked.id


async def test_a_grant_outlives_the_server_that_asked(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await granted(home, await releaser(home))
    async with house(tmp_path) as home:
        assert isinstance(await home.call(ADA, "deploy", **PRODUCTION), Done)


async def test_identical_requests_are_one_and_open_ones_are_capped_per_agent(tmp_path: Path) -> None:
    async with house(tmp_path, **PATIENT) as home:
        ada, bob = await releaser(home), await releaser(home, "bob")
        home.place.refs |= {f"v{n}": f"{n:040}" for n in range(12)}
        asked: list[str] = []
        refused: list[Outcome] = []

        async def call(n: int) -> None:
            outcome = await home.call(ada, "deploy", **PRODUCTION, ref=f"v{n % 12}", reason=f"words {n}", idempotency_key=f"k{n}")
            if isinstance(outcome, NeedsApproval):
                asked.append(outcome.approval.id)
            else:
                refused.append(outcome)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for n in range(48):
                    group.start_soon(call, n)
        assert (len(asked), len(refused)) == (20, 28)
        assert len(set(asked)) == await home.count("approvals") == len(await home.records("approval.requested")) == 5
        assert {o.problem.code for o in refused if isinstance(o, Refused)} == {Code.rate_limited}
        assert (await ask(home, bob)).id not in asked
        await home.answer(asked[0], Decision.deny)
        await ask(home, ada, ref="next")


async def test_a_hundred_uses_from_four_processes_begin_one_operation(tmp_path: Path) -> None:
    async with house(tmp_path, **PATIENT) as home:
        grant = await granted(home, await releaser(home))
    argv = [sys.executable, "-m", "tests.races.grantee", "race", str(tmp_path), "25"]
    processes = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        came = sum((Counter(json.loads(p.communicate(timeout=60)[0])) for p in _all_at_once(processes)), Counter[str]())
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
    assert came["done"] == 1
    assert came.total() == 100
    assert set(came) <= {"done", "needs_approval", "in_progress", "conflict"}
    async with house(tmp_path) as home:
        assert await home.count("operations") == 1
        assert [r["approval"] for r in await home.records("approval.consumed")] == [grant.id]


def _all_at_once(processes: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


async def test_a_server_killed_between_grant_and_commit_does_not_burn_the_grant(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        grant = await granted(home, await releaser(home))
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    argv = [sys.executable, "-m", "tests.races.grantee", "held", str(tmp_path), str(fifo)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as doomed:
        assert doomed.stdout is not None
        said = doomed.stdout.readline()
        doomed.kill()
    assert said == "held\n"
    async with house(tmp_path) as home:
        assert (await now(home, grant.id)).state is ApprovalState.granted
        assert await home.count("operations") == 0
        await home.database.write(lambda tx: settlement.reconcile(tx, alive=lambda _: False, at=home.now[0]))
        assert [(r["caller"], r["verdict"]) for r in await home.records("call.settled")][-1] == (AgentName("ada"), "unknown")
        assert isinstance(await home.call(ADA, "deploy", **PRODUCTION), Done)
        assert (await now(home, grant.id)).state is ApprovalState.consumed
