"""`/metrics`, `/metrics/daily` and `/health`: what Prometheus reads, what a day came to, and when somebody is to be woken."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.identity import Credential, Level
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.timings import BOUNDS, Histogram
from ops_mcp.doors._families import histogram, page
from ops_mcp.metrics.exposition import parsed
from ops_mcp.metrics.labels import value_of
from ops_mcp.observing import Notice
from ops_mcp.store import outbox
from ops_mcp.store.leases import Claim, Ground, take
from tests.doors.entrance import OPERATOR_TOKEN, Entrance, secret, with_operator_token
from tests.house import NOBODY, House, house

pytestmark = pytest.mark.anyio

PROMTOOL = shutil.which("promtool")


async def read(entrance: Entrance, token: str = OPERATOR_TOKEN) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The page by name and labels, read by the parser that reads what other programs expose."""
    reply = await entrance.get("/metrics", token)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = parsed(reply.content)
    assert found.left_out == 0
    series: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for sample in found.samples:
        labels = tuple(pair for pair in sample.labels if pair[0] != "__name__")
        series.setdefault(value_of(sample.labels, "__name__"), {})[labels] = sample.value
    return series


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


async def test_calls_are_counted_by_tool_verdict_and_outcome(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent("ada", Level.prod, score=200)
        entrance = await with_operator_token(home)
        await read(entrance)
        for _ in range(3):
            await home.call(ada, "whoami")
        await home.call(ada, "deploy", service="web", environment="staging")
        await home.call(ada, "deploy", service="web", environment="production")
        await home.call(NOBODY, "deploy", service="web", environment="production")
        await home.call(ada, "drop_tables", table="agents")
        await home.count("ledger")
        found = await read(entrance)
    assert found["ops_mcp_calls_total"] == {
        labelled(tool="whoami", verdict="allow", outcome="done"): 3,
        labelled(tool="deploy", verdict="allow", outcome="done"): 1,
        labelled(tool="deploy", verdict="ask", outcome="needs_approval"): 1,
        labelled(tool="deploy", verdict="deny", outcome="refused"): 1,
        labelled(tool="unknown", verdict="deny", outcome="refused"): 1,
    }
    assert found["ops_mcp_approvals_pending"] == {(): 1}
    decided = found["ops_mcp_decisions_total"]
    assert sum(decided.values()) == 7
    assert sum(number for labels, number in decided.items() if ("verdict", "deny") in labels) == 2


async def test_counts_begin_with_the_process_and_hold_what_other_processes_called(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent()
        await home.call(ada, "whoami")
        home.advance(seconds=1)
        entrance = await with_operator_token(home)
        for _ in range(2):
            home.advance(seconds=1)
            await home.call(ada, "whoami")
        await home.count("ledger")
        found = await read(entrance)
        again = await read(entrance)
    assert found["ops_mcp_calls_total"] == {labelled(tool="whoami", verdict="allow", outcome="done"): 2}
    assert again["ops_mcp_calls_total"] == found["ops_mcp_calls_total"]
    assert found["ops_mcp_ledger_counted"] == found["ops_mcp_ledger_head"]


async def test_a_flood_that_was_summed_up_is_counted_whole(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        for _ in range(75):
            await home.call(NOBODY, "deploy", service="web", environment="production")
        home.advance(minutes=2)
        await home.call(NOBODY, "deploy", service="web", environment="production")
        found = await read(entrance)
    refused = {labels: n for labels, n in found["ops_mcp_calls_total"].items() if ("outcome", "refused") in labels}
    assert sum(refused.values()) == 76


async def test_the_latency_of_calls_is_counted_by_tool(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent()
        entrance = await with_operator_token(home)
        for _ in range(4):
            await home.call(ada, "whoami")
        await home.call(ada, "no_such_tool")
        found = await read(entrance)
    counts = found["ops_mcp_call_duration_seconds_count"]
    assert counts == {labelled(tool="whoami"): 4}
    assert found["ops_mcp_call_duration_seconds_bucket"][labelled(tool="whoami", le="+Inf")] == 4
    assert found["ops_mcp_call_duration_seconds_sum"][labelled(tool="whoami")] > 0


@given(st.lists(st.floats(min_value=0, max_value=1000), max_size=50))
def test_a_histogram_puts_each_duration_under_every_bound_that_holds_it(durations: list[float]):
    counted = Histogram()
    for seconds in durations:
        counted.add(seconds)
    found = parsed(page([histogram("h_seconds", "About.", [({"tool": "t"}, counted)])]).encode())
    buckets = {value_of(s.labels, "le"): s.value for s in found.samples if value_of(s.labels, "__name__") == "h_seconds_bucket"}
    expected = {f"{bound:g}": float(sum(d <= bound for d in durations)) for bound in BOUNDS}
    assert buckets == {**expected, "+Inf": float(len(durations))}


async def test_budgets_are_told_with_what_is_spent_and_their_limits(tmp_path: Path):
    async with house(tmp_path, budgets={"work": {"calls_per_hour": 60, "calls_per_day": 300}}) as home:
        ada = await home.agent()
        entrance = await with_operator_token(home)
        for _ in range(2):
            await home.call(ada, "deploy", service="web", environment="staging")
        await home.count("ledger")
        found = await read(entrance)
    hour = labelled(agent="ada", tier="staging", line="work", window="hour", currency="calls")
    assert (found["ops_mcp_budget_spent"][hour], found["ops_mcp_budget_limit"][hour]) == (2, 60)
    day = labelled(agent="ada", tier="staging", line="work", window="day", currency="usd_micros")
    assert found["ops_mcp_budget_limit"][day] == 5_000_000
    everyone = labelled(agent="everyone", window="hour", currency="calls")
    assert found["ops_mcp_budget_limit"][everyone] == 100_000


async def test_queues_the_lease_and_the_ledger_are_told(tmp_path: Path):
    async with house(tmp_path) as home:
        home.finish.clear()  # nobody carries the operation out
        ada = await home.agent()
        await home.call(ada, "checkpoint", environment="staging", name="t", action="a")
        await home.call(ada, "deploy", service="web", environment="staging", dry_run=True)
        await _lease(home)
        await _notice(home)
        entrance = await with_operator_token(home)
        found = await read(entrance)
    assert found["ops_mcp_outbox_notices"][labelled(state="waiting")] == 1
    assert found["ops_mcp_outbox_notices"][labelled(state="dead")] == 0
    assert found["ops_mcp_tasks"][labelled(state="running")] == 1
    assert found["ops_mcp_worker_lease_remaining_seconds"] == {(): 30}
    assert found["ops_mcp_operations_open"] == {(): 0}
    assert found["ops_mcp_ledger_head"][()] > 3
    assert found["ops_mcp_ledger_writable"] == {(): 1}


async def test_an_agent_reads_only_of_itself(tmp_path: Path):
    async with house(tmp_path) as home:
        ada, bob = await home.agent("ada"), await home.agent("bob")
        entrance = await with_operator_token(home)
        await home.call(bob, "services")
        found = await read(entrance, secret(ada))
        found = await read(entrance, secret(ada))
    assert set(found) <= {"ops_mcp_calls_total", "ops_mcp_decisions_total", "ops_mcp_budget_spent", "ops_mcp_budget_limit"}
    assert {dict(labels)["tool"] for labels in found["ops_mcp_calls_total"]} == {"whoami"}
    assert {dict(labels)["agent"] for labels in found["ops_mcp_budget_spent"]} == {"ada"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
async def test_promtool_finds_nothing_to_say_about_the_page(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent("ada", Level.prod, score=200)
        entrance = await with_operator_token(home)
        await home.call(ada, "deploy", service="web", environment="production")
        await home.call(ada, "whoami")
        await _notice(home)
        reply = await entrance.get("/metrics")
    assert PROMTOOL is not None
    told = subprocess.run([PROMTOOL, "check", "metrics"], input=reply.content, capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


async def test_days_are_told_with_their_tasks_and_without_any_as_zeros(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent()
        await _task(home, ada, status="complete", seconds=30)
        await _task(home, ada, status="complete", seconds=90)
        await _task(home, ada, status="error", seconds=10)
        home.advance(days=2)
        await _task(home, ada)
        entrance = await with_operator_token(home)
        by_operator = (await entrance.get("/metrics/daily?days=4")).json()
        by_agent = (await entrance.get("/metrics/daily?days=4", secret(ada))).json()
    assert by_operator["days"] == [
        {"date": "2026-11-19", "total": 0, "completed": 0, "failed": 0, "avg_duration": 0.0},
        {"date": "2026-11-20", "total": 3, "completed": 2, "failed": 1, "avg_duration": 43.333},
        {"date": "2026-11-21", "total": 0, "completed": 0, "failed": 0, "avg_duration": 0.0},
        {"date": "2026-11-22", "total": 1, "completed": 0, "failed": 0, "avg_duration": 0.0},
    ]
    assert by_agent == by_operator


@pytest.mark.parametrize(("asked", "days"), [("", 7), ("?days=1", 1), ("?days=365", 365)])
async def test_seven_days_are_told_unless_others_are_asked_for(tmp_path: Path, asked: str, days: int):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        found = (await entrance.get(f"/metrics/daily{asked}")).json()["days"]
    assert len(found) == days
    assert found[-1]["date"] == "2026-11-20"


@pytest.mark.parametrize("asked", ["0", "366", "-1", "week", "7.0", "%D9%A7", ""])
async def test_other_days_than_1_to_365_are_refused_naming_the_field(tmp_path: Path, asked: str):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        reply = await entrance.get(f"/metrics/daily?days={asked}")
    assert (reply.status_code, reply.json()["details"]) == (400, {"fields": ["days"]})


async def test_health_is_ok_without_a_token_and_says_nothing_more(tmp_path: Path):
    async with house(tmp_path) as home:
        reply = await Entrance(home).get("/health", None)
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


async def test_health_is_bad_while_the_database_cannot_be_written(tmp_path: Path):
    async with house(tmp_path, ledger={"lock_seconds": 0.2}) as home:
        entrance = Entrance(home)
        with closing(sqlite3.connect(home.config.database_path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            reply = await entrance.get("/health", None)
            other.rollback()
        assert (reply.status_code, reply.json()) == (503, {"status": "bad", "bad": ["database"]})
        home.advance(seconds=6)
        assert (await entrance.get("/health", None)).status_code == 200


async def test_health_is_bad_once_a_notice_that_could_go_has_waited_a_quarter_of_an_hour(tmp_path: Path):
    async with house(tmp_path) as home:
        await _notice(home)
        entrance = Entrance(home)
        assert (await entrance.get("/health", None)).status_code == 200
        home.advance(minutes=16)
        reply = await entrance.get("/health", None)
    assert (reply.status_code, reply.json()) == (503, {"status": "bad", "bad": ["outbox"]})


async def test_health_is_bad_where_something_serves_and_no_worker_watches_it(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent()
        assert isinstance(await home.call(ada, "deploy", service="web", environment="staging"), Done)
        await _lease(home)
        entrance = Entrance(home)
        assert (await entrance.get("/health", None)).status_code == 200
        home.advance(minutes=1)
        reply = await entrance.get("/health", None)
    assert (reply.status_code, reply.json()) == (503, {"status": "bad", "bad": ["worker"]})


async def test_health_is_bad_where_a_worker_holds_the_lease_and_its_last_sample_is_old(tmp_path: Path):
    async with house(tmp_path) as home:
        lease = await _lease(home)
        await home.opened.guard.watch(home.now[0], fence=lease)
        entrance = Entrance(home)
        assert (await entrance.get("/health", None)).status_code == 200
        home.advance(minutes=6)
        await _lease(home)
        reply = await entrance.get("/health", None)
    assert (reply.status_code, reply.json()) == (503, {"status": "bad", "bad": ["samples"]})


async def test_many_who_ask_for_health_cost_one_look(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = Entrance(home)
        await entrance.get("/health", None)
        await _notice(home)
        home.advance(seconds=4)
        with closing(sqlite3.connect(home.config.database_path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert (await entrance.get("/health", None)).status_code == 200
            other.rollback()


async def _lease(home: House) -> int:
    where = Ground(config_dir="c", state_dir="s", database="d")
    claim = Claim(holder="a test", version="1", schema_version=8, ground=where)
    at = home.now[0]
    return (await home.database.write(lambda tx: take(tx, claim, at=at, seconds=30))).fence


async def _notice(home: House) -> None:
    at = home.now[0]
    notice = Notice(id="n1", channel="ops", thread="t", severity="info", title="t", text="x", at=at)
    await home.database.write(lambda tx: outbox.enqueue(tx, notice, at=at))


async def _task(home: House, agent: Credential, *, status: str = "", seconds: float = 0) -> None:
    at = home.now[0]
    home.now[0] = at.replace(hour=12, minute=0)
    said: dict[str, Any] = {"environment": "staging", "name": "t", "action": "a"}
    opened = await home.call(agent, "checkpoint", **said)
    assert isinstance(opened, Done), opened
    if status:
        home.advance(seconds=seconds)
        await home.call(agent, "checkpoint", task=opened.result["task"], action="ended", status=status, error="e")
    home.now[0] = at + timedelta(minutes=1)
