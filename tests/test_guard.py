"""The load guard through the whole path: what a loaded host holds up, what passes, who reads it and what is kept of that."""

import json
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.alerting.lives import LifeState
from ops_mcp.alerting.rules import Rule
from ops_mcp.domain.identity import Credential
from ops_mcp.domain.outcomes import Done, Outcome, Refused
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentState, HealthVerdict
from ops_mcp.errors import Code, LeaseLost
from ops_mcp.governance.load import Reading
from ops_mcp.store import deployments, leases
from ops_mcp.store.alerts import lives, writes
from ops_mcp.store.database import Transaction
from ops_mcp.store.guard import holds_changes_up
from ops_mcp.store.guard import in_flight as in_flight_on
from ops_mcp.store.leases import Claim, Ground
from tests.alerting.makers import an_alert
from tests.house import House, MemoryPlace, house

pytestmark = pytest.mark.anyio

QUIET = {"cpu": 5.0, "memory": 20.0, "disk": 30.0}


class PlaceHere(MemoryPlace):
    """A place whose services run on the worker's host, as those of `local` do."""

    def runs_here(self, binding: Binding) -> bool:
        return binding.service != "docs"


@dataclass
class Host:
    """This host as a test wants it to be. `reads` counts how often it was looked at."""

    percent: dict[str, float | None] = field(default_factory=lambda: dict[str, float | None](QUIET))
    reads: int = 0

    def load(self, at: datetime) -> Reading:
        self.reads += 1
        return Reading(at, **self.percent)

    def set(self, **percent: float | None) -> None:
        self.percent = {**QUIET, **percent}


def guarded(tmp_path: Path, host: Host, **settings: Any) -> Any:
    return house(tmp_path, place=PlaceHere(), reading=host.load, **settings)


def deploying(home: House, ada: Credential) -> Callable[..., Coroutine[Any, Any, Outcome]]:
    async def deploy(service: str = "web", **arguments: Any) -> Outcome:
        return await home.call(ada, "deploy", service=service, environment="staging", **arguments)

    return deploy


def refusal(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Refused), outcome
    assert outcome.problem.code is Code.guard_blocked
    assert outcome.problem.retryable
    return {**outcome.problem.details, "said": outcome.problem.message}


LEVELS = [
    ("cpu", 69.9, "info"),
    ("cpu", 70.0, "warn"),
    ("cpu", 84.9, "warn"),
    ("cpu", 85.0, "critical"),
    ("cpu", 94.9, "critical"),
    ("cpu", 95.0, "emergency"),
    ("memory", 74.9, "info"),
    ("memory", 75.0, "warn"),
    ("memory", 84.9, "warn"),
    ("memory", 85.0, "critical"),
    ("memory", 91.9, "critical"),
    ("memory", 92.0, "emergency"),
    ("disk", 84.9, "info"),
    ("disk", 85.0, "warn"),
    ("disk", 94.9, "warn"),
    ("disk", 95.0, "critical"),
    ("disk", 100.0, "critical"),
]
"""The reviewed bounds, from the requirements: ranges are half-open, and the worst measure counts."""


@pytest.mark.parametrize(("measure", "percent", "level"), LEVELS)
async def test_a_deploy_meets_the_level_that_the_table_says(tmp_path: Path, measure: str, percent: float, level: str):
    host = Host()
    host.set(**{measure: percent})
    async with guarded(tmp_path, host) as home:
        ada = await home.agent()
        outcome = await deploying(home, ada)()
        me = await home.call(ada, "whoami")
        assert isinstance(me, Done)
        shown = me.result["load"]
        assert isinstance(shown, dict)
        assert shown["level"] == level
        if level in ("info", "warn"):
            assert isinstance(outcome, Done), outcome
            return
        said = refusal(outcome)
        assert (said["level"], said["measure"], said["percent"]) == (level, measure, percent)
        assert said["since"] == f"{home.now[0]:%Y-%m-%dT%H:%M:%SZ}"
        assert level.upper() in said["said"]
        assert f"{measure} at {percent:.1f} %" in said["said"]
        assert (shown["measure"], shown["percent"]) == (measure, percent)
        assert home.place.asked == []


async def test_reads_other_places_and_the_way_back_are_not_held_up(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        ada = await home.agent()
        deploy = deploying(home, ada)
        for ref in ("next", "main"):
            assert isinstance(await deploy(ref=ref), Done)
            home.advance(minutes=2)
        await failing(home, "web")
        host.set(cpu=99.0)
        assert refusal(await deploy())["level"] == "emergency"
        reads = host.reads
        assert isinstance(await home.call(ada, "services"), Done)
        assert host.reads == reads
        assert isinstance(await deploy("docs"), Done)
        back = await home.call(ada, "rollback", service="web", environment="staging")
        assert isinstance(back, Done)
        again = await home.call(ada, "rollback", service="web", environment="staging")
        assert isinstance(again, Refused), "an ordinary rollback is a change like any other"


async def failing(home: House, service: str) -> None:
    def unit(tx: Transaction) -> None:
        rows = tx.fetch("SELECT id FROM deployments WHERE service = ? AND serving = 1", service)
        deployments.change(tx, rows[0][0], lambda d: d.evolve(health=HealthVerdict.failing))

    await home.database.write(unit)


async def test_warn_is_allowed_and_noted_in_the_plan_and_at_critical_the_dry_run_is_refused_too(tmp_path: Path):
    host = Host()
    host.set(memory=80.0)
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        planned = await deploy(dry_run=True)
        assert isinstance(planned, Done)
        assert "load level WARN" in json.dumps(planned.result["verdict"])
        assert isinstance(await deploy(), Done)
        host.set(memory=86.0)
        home.advance(seconds=20)
        assert refusal(await deploy(dry_run=True))["measure"] == "memory"


async def test_a_reading_that_fails_blocks_and_says_that_it_is_not_known(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        host.set(disk=None)
        said = refusal(await deploy())
        assert (said["level"], said["measure"]) == ("unknown", "disk")
        assert "not known" in said["said"]
        host.set()
        assert isinstance(await deploy(), Done)
        host.set(cpu=None)
        home.advance(seconds=61)
        assert refusal(await deploy())["level"] == "unknown"


async def test_a_level_is_left_after_a_minute_clear_of_it_and_each_change_is_recorded_once(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        host.set(cpu=90.0)
        since = f"{home.now[0]:%Y-%m-%dT%H:%M:%SZ}"
        assert refusal(await deploy())["since"] == since
        answers: list[str] = []
        for cpu in (79.0, 82.0, 79.0, 79.0, 79.0, 79.0):
            host.set(cpu=cpu)
            home.advance(seconds=20)
            outcome = await deploy()
            answers.append("done" if isinstance(outcome, Done) else f"{refusal(outcome)['percent']:g}")
        assert answers == ["79", "82", "79", "79", "79", "done"], "82 is within five points of 85, and the minute begins again"
        moves = [(r["data"]["from"], r["data"]["to"]) for r in await home.records("guard.level")]
        assert moves == [("info", "critical"), ("critical", "warn")]


async def test_another_process_finds_the_level_where_this_one_left_it(tmp_path: Path):
    host = Host()
    host.set(cpu=96.0)
    async with guarded(tmp_path, host) as home:
        ada = await home.agent()
        assert refusal(await deploying(home, ada)())["level"] == "emergency"
    host.set(cpu=10.0)
    async with guarded(tmp_path, host) as home:
        home.advance(seconds=30)
        deploy = deploying(home, ada)
        assert refusal(await deploy())["level"] == "emergency", "one good reading settles nothing"
        for _ in range(2):
            home.advance(seconds=20)
            refusal(await deploy())
        home.advance(seconds=20)
        assert isinstance(await deploy(), Done)
        assert len(await home.records("guard.level")) == 2


async def test_a_host_that_was_read_within_a_minute_is_not_read_again(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        for seconds in (0, 30, 29):
            home.advance(seconds=seconds)
            await deploy()
        assert host.reads == 1
        home.advance(seconds=1)
        await deploy()
        assert host.reads == 2


async def test_the_201st_change_at_warn_is_refused_and_an_incidents_change_is_not(tmp_path: Path):
    host = Host()
    host.set(cpu=75.0)
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        await in_flight(home, 199)
        home.finish.clear()  # what is committed stays on its way
        assert isinstance(await deploy(dry_run=True), Done)
        await in_flight(home, 200)
        said = refusal(await deploy(idempotency_key="late"))
        assert (said["level"], said["in_flight"], said["limit"]) == ("warn", 200, 200)
        await home.database.write(lambda tx: tx.execute("UPDATE guard_flights SET incident = 1 WHERE deployment = 'dep_7'"))
        assert isinstance(await deploy(dry_run=True), Done), "what belongs to an incident is not counted"
        await in_flight(home, 200)
        await rule_fires(home, labels={"incident": "sev1"}, set_by="ada")
        assert refusal(await deploy())["limit"] == 200, "an agent's own rule lifts nothing"
        await rule_fires(home, labels={"incident": "sev1"}, set_by="operator:olga")
        assert isinstance(await deploy(dry_run=True), Done)
        await rule_fires(home, labels={"incident": "false"}, set_by="operator:olga")
        await in_flight(home, 199)
        assert isinstance(await deploy(dry_run=True), Done)


async def in_flight(home: House, count: int) -> None:
    """So many other changes hold their places on this host."""

    def unit(tx: Transaction) -> None:
        tx.execute("DELETE FROM guard_flights")
        tx.execute("DELETE FROM locks")
        for number in range(count):
            tx.execute("INSERT INTO guard_flights VALUES (?, ?, 0)", f"dep_{number}", socket.gethostname())
            tx.execute("INSERT INTO locks VALUES (?, 'staging', ?, '')", f"other-{number}", f"dep_{number}")

    await home.database.write(unit)


async def rule_fires(home: House, *, labels: dict[str, str], set_by: str) -> None:
    """An alert about `web` fires, by a rule with these labels that was set by that one."""
    fields = {"name": "Down", "environment": "staging", "service": "web", "expression": "up == 0", "labels": labels}
    rule = Rule.model_validate(fields)
    alert = an_alert("Down", environment="staging", service="web", starts_at=home.now[0])

    def unit(tx: Transaction) -> None:
        tx.execute("DELETE FROM alert_rules")
        tx.execute("DELETE FROM alerts")
        tx.execute("DELETE FROM alert_events")
        writes.set_rule(tx, rule, by=set_by, at=home.now[0])
        lives.begin(tx, alert, "Down", LifeState.firing, actor="rules", at=home.now[0])

    await home.database.write(unit)


async def test_a_committed_change_is_in_flight_where_its_service_runs_until_its_verdict(tmp_path: Path):
    async with guarded(tmp_path, Host()) as home:
        deploy = deploying(home, await home.agent())
        home.finish.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(deploy)
            group.start_soon(deploy, "docs")
            with anyio.fail_after(5):
                while await home.count("deployments") < 2:
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        assert await home.database.write(lambda tx: in_flight_on(tx, socket.gethostname())) == 1, "docs runs elsewhere"
        await home.database.write(lambda tx: tx.execute("DELETE FROM locks"))
        assert await home.database.write(lambda tx: in_flight_on(tx, socket.gethostname())) == 0


async def test_where_the_worker_is_on_another_host_that_hosts_load_counts(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        deploy = deploying(home, await home.agent())
        await lease_of(home, "elsewhere")
        assert refusal(await deploy())["level"] == "unknown", "that host's worker has not reported"
        assert host.reads == 0
        await home.database.write(lambda tx: leases.release(tx, 1, at=home.now[0]))
        assert isinstance(await deploy(), Done), "the next worker starts here"


async def lease_of(home: House, host: str, *, seconds: float = 3600) -> None:
    ground = Ground(config_dir="", state_dir="", database="")
    claim = Claim(holder="worker/x/1/1", version="0", schema_version=5, ground=ground, host=host)
    await home.database.write(lambda tx: leases.take(tx, claim, at=home.now[0], seconds=seconds))


async def test_the_worker_reads_every_15_seconds_under_its_lease_and_stays_while_changes_are_held_up(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        here, guard = socket.gethostname(), home.opened.guard
        await lease_of(home, here)
        for _ in range(31):
            await guard.watch(home.now[0], fence=1)
            home.advance(seconds=1)
        assert host.reads == 3
        assert not await home.database.write(holds_changes_up)
        host.set(disk=97.0)
        home.advance(seconds=15)
        await guard.watch(home.now[0], fence=1)
        assert await home.database.write(holds_changes_up)
        home.advance(seconds=15)
        with pytest.raises(LeaseLost):
            await guard.watch(home.now[0], fence=2)


async def test_an_operator_who_switches_it_off_is_told_so_and_the_ledger_too(tmp_path: Path):
    host = Host()
    host.set(cpu=100.0)
    async with guarded(tmp_path, host, guard={"enabled": False}) as home:
        ada = await home.agent()
        for _ in range(2):
            assert isinstance(await deploying(home, ada)(), Done)
        me = await home.call(ada, "whoami")
        assert isinstance(me, Done)
        assert me.result["load"] == {"level": "off"}
        assert host.reads == 0
        assert [r["data"]["to"] for r in await home.records("guard.level")] == ["off"]
    async with guarded(tmp_path, host) as home:
        home.advance(minutes=5)
        assert refusal(await deploying(home, ada)())["level"] == "emergency"
        assert [r["data"]["to"] for r in await home.records("guard.level")] == ["off", "emergency"]


async def test_a_change_that_ends_another_agents_work_is_guarded_like_any_other(tmp_path: Path):
    host = Host()
    async with guarded(tmp_path, host) as home:
        ada, bob = await home.agent(), await home.agent("bob")
        home.finish.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(deploying(home, ada))
            with anyio.fail_after(5):
                while not await home.count("deployments"):
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        rows = await home.database.fetch("SELECT id FROM deployments")
        host.set(cpu=100.0)
        home.advance(minutes=2)
        assert refusal(await home.call(bob, "deployment_cancel", id=rows[0][0]))["level"] == "emergency"
        home.finish.append(DeploymentState.cancelled)
        assert isinstance(await home.call(ada, "deployment_cancel", id=rows[0][0]), Done)
