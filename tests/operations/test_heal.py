"""Healing through the whole path: a rule that fires on real samples, calls judged like any other, a worker that dies."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.alerting.figures import Case, Figures, Share, Times, figures
from ops_mcp.alerting.muting import Acknowledgement
from ops_mcp.alerting.rules import Rule
from ops_mcp.domain.calls import ApprovalId
from ops_mcp.domain.identity import AgentName, Credential, Level
from ops_mcp.domain.outcomes import Done, Outcome
from ops_mcp.domain.releases import DeploymentState, HealthVerdict
from ops_mcp.errors import LeaseLost
from ops_mcp.governance.approvals import Decision
from ops_mcp.observing import Observation
from ops_mcp.operations.evaluate import AlertRounds
from ops_mcp.operations.heal import Healing
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.operator.verbs import FreezeChanges, Kill
from ops_mcp.rounds import alert_rounds, healing, submit
from ops_mcp.store import deployments, leases, outbox
from ops_mcp.store.alerts import lives, writes
from ops_mcp.store.cases import cases
from ops_mcp.store.database import Transaction
from ops_mcp.store.healing import Try
from ops_mcp.store.leases import Claim, Ground
from ops_mcp.store.settlement import settle_operation
from ops_mcp.values import JsonObject
from ops_mcp.worker import run_granted
from tests.house import House, house
from tests.test_guard import Host, PlaceHere

pytestmark = pytest.mark.anyio

DOWN: dict[str, Any] = {
    "name": "Down",
    "environment": "staging",
    "service": "web",
    "expression": "up == 0",
    "severity": "critical",
    "channels": ["oncall"],
    "remediation": {"remedy": "restart", "agent": "healer"},
}


@dataclass
class Ward:
    """A house with a worker's rounds, of which a test makes each one itself."""

    home: House
    ada: Credential
    parts: Parts
    alerts: AlertRounds
    healing: Healing

    async def rule(self, **changed: Any) -> None:
        rule = Rule.model_validate({**DOWN, **changed})
        await self.home.database.write(lambda tx: writes.set_rule(tx, rule, by="operator:olga", at=self.home.now[0]))

    async def up(self, value: float, service: str = "web", environment: str = "staging") -> None:
        """A sample of now, and the evaluation that sees it."""
        labels = (("__name__", "up"), ("environment", environment), ("service", service))
        at_ms = int(self.home.now[0].timestamp() * 1000)
        await self.home.app.sights.metrics.keep([Observation(labels, at_ms, value)])
        await self.alerts.evaluate()

    async def passes(self, *, minutes: float, up: float = 0.0, environment: str = "staging", every: float = 15) -> None:
        """Time, in steps with an evaluation and a round of healing each."""
        for _ in range(round(minutes * 60 / every)):
            self.home.advance(seconds=every)
            await self.up(up, environment=environment)
            await self.healing.run()

    def begins_again(self) -> None:
        """Another worker takes over; what the one before had in memory is gone."""
        self.healing = healing(self.home.opened, self.parts)

    async def made(self, kind: str = "restart") -> list[str]:
        rows = await self.home.database.fetch("SELECT body FROM deployments ORDER BY id")
        return [body["agent"] for (text,) in rows if (body := json.loads(text))["kind"] == kind]

    async def told(self, kind: str) -> list[JsonObject]:
        return [{**record, **json.loads(json.dumps(record["data"]))} for record in await self.home.records(f"healing.{kind}")]

    async def noise(self, value: float) -> None:
        labels = (("__name__", "noise"), ("environment", "staging"), ("service", "docs"))
        await self.home.app.sights.metrics.keep([Observation(labels, int(self.home.now[0].timestamp() * 1000), value)])
        await self.alerts.evaluate()

    async def figures(self) -> Figures:
        now = self.home.now[0]
        return figures(await cases(self.home.database, since=now - timedelta(days=30), at=now))

    async def notices(self) -> list[JsonObject]:
        rows = await self.home.database.fetch("SELECT body FROM outbox WHERE id LIKE 'inc_%' ORDER BY position")
        return [json.loads(body) for (body,) in rows]


@asynccontextmanager
async def ward(tmp_path: Path, *, ceiling: Level = Level.staging, **settings: Any) -> AsyncGenerator[Ward]:
    async with house(tmp_path, **settings) as home:
        claim = Claim(holder="w/x/1/1", version="0", schema_version=5, ground=Ground(config_dir="", state_dir="", database=""))
        lease = await home.database.write(lambda tx: leases.take(tx, claim, at=home.now[0], seconds=10**6))
        ada = await home.agent("ada", ceiling=Level.prod, score=900)
        await home.agent("healer", ceiling=ceiling, score=900)
        parts = Parts(
            database=home.database,
            providers={},
            probe=_never,
            settle=settle_operation,
            clock=lambda: home.now[0],
            sleep=anyio.sleep,
            fence=lease.fence,
            reins=Reins(),
        )
        for ref in ("next", "main"):
            assert isinstance(await home.call(ada, "deploy", service="web", environment="staging", ref=ref), Done)
            home.advance(minutes=1)
        at = Ward(home, ada, parts, alert_rounds(home.opened, parts), healing(home.opened, parts))
        yield at


async def _never(*_: object) -> Any:
    raise AssertionError("nothing is probed here")


async def test_an_alert_has_its_service_restarted_once_and_ends(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        await at.passes(minutes=1)
        assert await at.made() == ["healer"]
        await at.passes(minutes=4, up=1.0)
        assert await at.made() == ["healer"]
        (attempted,), (settled,), (resolved,) = [await at.told(kind) for kind in ("attempted", "settled", "resolved")]
        assert (attempted["remedy"], attempted["attempt"], attempted["agent"]) == ("restart", 1, "healer")
        assert (settled["outcome"], settled["health"]) == ("succeeded", "healthy")
        assert settled["deployment"]
        assert resolved["attempts"] == 1
        calls = [r for r in await at.home.records("call.admitted") if r["caller"] == "healer"]
        assert [(r["tool"], str(r["operation"]).startswith("system:heal inc_")) for r in calls] == [("restart", True)]
        assert await at.notices() == []


@pytest.mark.parametrize("state", [DeploymentState.healthy, DeploymentState.failed])
async def test_after_two_attempts_a_person_is_told_once(tmp_path: Path, state: DeploymentState):
    async with ward(tmp_path) as at:
        at.home.finish[:] = [state]
        await at.rule()
        await at.passes(minutes=14, every=30)
        assert await at.made() == ["healer", "healer"]
        assert [r["attempt"] for r in await at.told("attempted")] == [1, 2]
        outcome = "succeeded" if state is DeploymentState.healthy else "failed"
        assert [r["outcome"] for r in await at.told("settled")] == [outcome, outcome]
        (escalated,) = await at.told("escalated")
        assert escalated["reason"] == "the alert goes on after 2 attempts"
        (notice,) = await at.notices()
        assert (notice["channel"], notice["severity"]) == ("oncall", "critical")
        assert "after 2 attempts" in str(notice["text"])
        assert "Down" in str(notice["untrusted"])


async def ceiling_too_low(at: Ward) -> None:
    pass


async def killed(at: Ward) -> None:
    await at.home.order(Kill(agent=AgentName("healer"), reason="a test"))


async def frozen(at: Ward) -> None:
    await at.home.order(FreezeChanges(environment=None, reason="a test"))


@pytest.mark.parametrize(
    ("before", "ceiling", "settings", "word"),
    [
        (ceiling_too_low, Level.sandbox, {}, "not_permitted"),
        (killed, Level.staging, {}, "not_permitted"),
        (frozen, Level.staging, {}, "frozen"),
        (ceiling_too_low, Level.staging, {"budgets": {"agents": {"healer": {"work": {"calls_per_day": 0}}}}}, "over_budget"),
    ],
)
async def test_what_its_agent_may_not_do_is_not_done_and_a_person_is_told(
    tmp_path: Path, before: Callable[[Ward], Awaitable[None]], ceiling: Level, settings: dict[str, Any], word: str
):
    async with ward(tmp_path, ceiling=ceiling, **settings) as at:
        await before(at)
        await at.rule()
        await at.passes(minutes=3)
        assert await at.made() == []
        (settled,) = await at.told("settled")
        assert settled["outcome"] == "refused"
        assert str(settled["reason"]).startswith(word)
        assert len(await at.told("escalated")) == len(await at.notices()) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"remediation": {"remedy": "restart"}}, "the operator has assigned no agent to the rule's remedy"),
        ({"service": None, "expression": "sum(up) == 0"}, "the alert names no service that a remedy could work on"),
    ],
)
async def test_without_an_agent_or_a_service_nothing_is_tried(tmp_path: Path, changed: dict[str, Any], why: str):
    async with ward(tmp_path) as at:
        await at.rule(**changed)
        await at.passes(minutes=1)
        assert await at.made() == []
        assert [r["reason"] for r in await at.told("escalated")] == [why]


@pytest.mark.parametrize("decision", [Decision.approve, Decision.deny])
async def test_a_remedy_that_needs_approval_waits_for_it(tmp_path: Path, decision: Decision):
    async with ward(tmp_path, ceiling=Level.prod) as at:
        await in_production(at)
        await at.rule(environment="production")
        await at.passes(minutes=2, environment="production")
        (approval,) = await pending(at)
        assert await at.made() == []
        await at.home.answer(approval, decision)
        await at.passes(minutes=1, environment="production")
        approved = decision is Decision.approve
        assert await at.made() == (["healer"] if approved else [])
        assert [r["outcome"] for r in await at.told("settled")] == ["succeeded" if approved else "refused"]
        assert len(await at.notices()) == (0 if approved else 1)


async def test_a_grant_that_says_run_is_run_once_whoever_is_first(tmp_path: Path):
    async with ward(tmp_path, ceiling=Level.prod) as at:
        await in_production(at)
        await at.rule(environment="production")
        await at.passes(minutes=1, environment="production")
        (approval,) = await pending(at)
        await at.home.answer(approval, run=True)
        await run_granted(at.home.opened, set[ApprovalId]())
        await at.passes(minutes=1, environment="production")
        assert await at.made() == ["healer"]
        assert [r["outcome"] for r in await at.told("settled")] == ["succeeded"]


async def in_production(at: Ward) -> None:
    outcome: Any = await at.home.call(at.ada, "deploy", service="web", environment="production")
    await at.home.answer(outcome.approval.id)
    assert isinstance(await at.home.call(at.ada, "deploy", service="web", environment="production"), Done)
    at.home.advance(minutes=1)


async def pending(at: Ward) -> list[str]:
    return [row[0] for row in await at.home.database.fetch("SELECT id FROM approvals WHERE state = 'pending'")]


class Killed(BaseException):
    """The worker is gone."""


def mortal(at: Ward, moment: str) -> Healing:
    """The healing of a worker that dies at this moment of its first attempt."""

    async def dying(one: Try) -> Outcome:
        if moment == "after the call":
            await submit(at.home.app, one)
        raise Killed

    return Healing(at.home.database, at.parts.clock, fence=at.parts.fence, submit=dying, enqueue=outbox.enqueue)


@pytest.mark.parametrize("moment", ["before the call", "after the call"])
async def test_a_worker_that_dies_in_the_middle_of_an_attempt_does_not_make_it_twice(tmp_path: Path, moment: str):
    async with ward(tmp_path) as at:
        await at.rule()
        at.healing = mortal(at, moment)
        with pytest.raises(BaseExceptionGroup) as caught:
            await at.passes(minutes=1)
        assert caught.group_contains(Killed)
        assert await at.made() == (["healer"] if moment == "after the call" else [])
        at.begins_again()
        await at.passes(minutes=2)
        assert await at.made() == ["healer"]
        assert len(await at.told("attempted")) == len(await at.told("settled")) == 1


async def test_an_attempt_whose_alert_ended_before_it_was_made_is_not_made(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        at.healing = mortal(at, "before the call")
        with pytest.raises(BaseExceptionGroup):
            await at.passes(minutes=1)
        at.begins_again()
        await at.passes(minutes=1, up=1.0)
        assert await at.made() == []
        assert [r["outcome"] for r in await at.told("settled")] == ["refused"]


async def test_a_worker_that_lost_its_lease_decides_nothing(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        at.home.advance(seconds=15)
        await at.up(0.0)
        late = Healing(
            at.home.database,
            at.parts.clock,
            fence=at.parts.fence - 1,
            submit=partial(submit, at.home.app),
            enqueue=outbox.enqueue,
        )
        with pytest.raises(LeaseLost):
            await late.run()
        assert await at.made() == []


async def test_restarts_by_hand_count_among_the_two(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule(remediation={"remedy": "restart", "agent": "healer"}, for_seconds=0)
        at.home.finish[:] = [DeploymentState.failed]
        at.home.advance(seconds=15)
        await at.up(0.0)
        await at.home.call(at.ada, "restart", service="web", environment="staging")
        await at.passes(minutes=3)
        assert await at.made() == ["ada", "healer"]
        assert [r["attempt"] for r in await at.told("attempted")] == [2]
        assert [r["reason"] for r in await at.told("escalated")] == ["the alert goes on after 2 attempts"]


async def test_an_alert_that_comes_back_soon_is_the_same_incident_and_later_another(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        for quiet in (10, 10, 40):
            await at.passes(minutes=1)
            await at.passes(minutes=quiet, up=1.0, every=60)
        assert [r["attempt"] for r in await at.told("attempted")] == [1, 2]
        await at.passes(minutes=1)
        assert [r["attempt"] for r in await at.told("attempted")] == [1, 2, 1]
        assert len({str(r["incident"]) for r in await at.told("attempted")}) == 2
        assert len(await at.notices()) == 1, "the third time within the hour a person was told"


async def test_a_place_that_is_busy_is_tried_again_until_it_is_free(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        at.home.finish.clear()  # a deployment stays on its way
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: at.home.call(at.ada, "deploy", service="web", environment="staging", ref="next"))
            with anyio.fail_after(5):
                while await at.home.count("locks") == 0:
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        await at.passes(minutes=1)
        assert await at.made() == []
        at.home.finish.append(DeploymentState.healthy)
        at.home.app.wake_worker()
        await at.passes(minutes=1)
        assert await at.made() == ["healer"]
        assert len(await at.told("attempted")) == 1


async def test_a_loaded_host_holds_a_restart_up_for_a_while_and_then_a_person_is_told(tmp_path: Path):
    host = Host()
    async with ward(tmp_path, place=PlaceHere(), reading=host.load) as at:
        await at.rule()
        host.set(memory=99.0)
        await at.passes(minutes=4, every=30)
        assert await at.made() == []
        assert await at.told("settled") == []
        await at.passes(minutes=2, every=30)
        (settled,) = await at.told("settled")
        assert str(settled["reason"]).startswith("guard_blocked")
        assert len(await at.told("escalated")) == len(await at.notices()) == 1


async def test_a_rollback_of_what_fails_goes_back_once(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule(remediation={"remedy": "rollback", "agent": "healer"})

        def fail(tx: Transaction) -> None:
            (serving,) = tx.fetch("SELECT id FROM deployments WHERE serving = 1 AND environment = 'staging'")
            deployments.change(tx, serving[0], lambda d: d.evolve(health=HealthVerdict.failing))

        await at.home.database.write(fail)
        await at.passes(minutes=7, every=30)
        assert await at.made("rollback") == ["healer"]
        assert [r["reason"] for r in await at.told("escalated")] == [
            "the alert goes on after the rollback, and nothing is rolled back twice"
        ]


async def test_an_alert_that_a_person_has_in_hand_is_left_to_them(tmp_path: Path):
    async with ward(tmp_path) as at:
        await at.rule()
        at.home.advance(seconds=15)
        await at.up(0.0)
        (alert,) = await at.home.database.fetch("SELECT id FROM alerts")

        def acknowledge(tx: Transaction) -> None:
            life = lives.life_in(tx, alert[0])
            assert life is not None
            until = at.home.now[0] + timedelta(minutes=5)
            taken = Acknowledgement(
                fingerprint=life.alert.fingerprint, starts_at=life.alert.starts_at, by="olga", at=at.home.now[0], until=until
            )
            lives.acknowledge(tx, life.id, taken, false_positive=False)

        await at.home.database.write(acknowledge)
        await at.passes(minutes=4)
        assert await at.made() == []
        await at.passes(minutes=2)
        assert await at.made() == ["healer"]


async def test_figures_come_from_what_is_stored_and_nothing_else(tmp_path: Path):
    """By the test's own watch: an incident that a restart ended, one that goes on and was told, one that was no trouble."""
    async with ward(tmp_path) as at:
        home, began = at.home, at.home.now[0]
        assert await at.figures() == figures([])
        await at.rule(for_seconds=60)
        await at.passes(minutes=3)
        await at.passes(minutes=1, up=1.0)
        await at.passes(minutes=39, up=1.0, every=60)
        first = (began + timedelta(seconds=15), began + timedelta(seconds=75), began + timedelta(minutes=3, seconds=15))
        await at.rule(name="Noise", service="docs", expression="noise > 0", remediation=None)
        second = home.now[0] + timedelta(seconds=15)
        at.home.finish[:] = [DeploymentState.failed]
        await at.passes(minutes=5)
        home.advance(seconds=15)
        third = home.now[0]
        await at.noise(1.0)
        (noise,) = await home.database.fetch("SELECT id FROM alerts WHERE rule = 'Noise'")
        await home.database.write(lambda tx: tx.execute("UPDATE alerts SET false_positive = 1 WHERE id = ?", noise[0]))
        home.advance(seconds=15)
        await at.noise(0.0)
        assert await at.figures() == figures(
            [
                Case(*first, remediable=True, automatic_attempts=1),
                Case(second, second + timedelta(seconds=60), remediable=True, automatic_attempts=2, escalated=True),
                Case(third, third, third + timedelta(seconds=15), false_positive=True),
            ]
        )
        found = await at.figures()
        assert (found.incidents, found.open) == (3, 1)
        assert found.time_to_detect.mean == 40.0
        assert found.time_to_resolve == Times(67.5, 120.0, 2)
        assert (found.auto_fix, found.auto_recovery, found.false_positives) == (Share(1, 1), Share(1, 2), Share(1, 2))
