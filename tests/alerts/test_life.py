"""Alerts live through the top: samples are recorded, time passes, the worker evaluates, and `alerts` shows what came of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.alerts.watching import watched

pytestmark = pytest.mark.anyio


async def test_an_alert_waits_fires_is_told_and_ends(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(for_seconds=30, channels=["pager"], severity="high", annotations={"summary": "depth {{ $value }}"})
        assert await world.round(1) == []
        (waiting,) = await world.round(9)
        assert (waiting["state"], waiting["severity"], waiting["service"]) == ("pending", "high", "web")
        assert [one["state"] for one in await world.round(9)] == ["pending"]
        (firing,) = await world.round(9)
        assert (firing["id"], firing["state"], firing["untrusted_summary"]) == (waiting["id"], "firing", "depth 9")
        assert await world.told() == []
        world.home.advance(seconds=30)
        await world.rounds.tell()
        (notice,) = await world.told()
        assert (notice["channel"], notice["title"]) == ("pager", "[high] 1 firing in staging: High")
        assert notice["untrusted"] == "High: depth 9"
        assert await world.round(2) == []
        world.home.advance(minutes=5)
        await world.rounds.tell()
        assert [one["title"] for one in await world.told()][1:] == ["[high] 1 resolved in staging: High"]
        assert await world.history(firing["id"]) == [
            "pending by rules", "fired by rules", "told by rules", "resolved by rules", "told by rules",
        ]  # fmt: skip
        (ended,) = (await world.done("alerts", ended=True))["alerts"]
        assert (ended["id"], ended["state"]) == (firing["id"], "resolved")


async def test_what_waited_and_never_fired_leaves_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(for_seconds=60)
        assert [one["state"] for one in await world.round(9)] == ["pending"]
        assert await world.round(1) == []
        assert (await world.done("alerts", ended=True))["matched"] == 0
        assert await world.home.count("alert_events") == await world.home.count("alert_progress") == 0


async def test_an_interval_is_evaluated_once_and_a_late_round_is_not_made_up_for(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(for_seconds=30)
        (first,) = await world.round(9)
        for _ in range(14):
            world.home.advance(seconds=1)
            await world.rounds.evaluate()
        assert await world.states() == ["pending"]
        assert (
            first["pending_at"]
            == (await world.open())[0]["pending_at"]
            == world.home.now[0].replace(second=15).strftime("%Y-%m-%dT%H:%M:%SZ")
        )


async def test_the_exact_condition_fires_above_five_percent_and_not_at_five(tmp_path: Path) -> None:
    """S1-95: `error_rate > 5%` fires at 5.01 %, not at 5 %."""
    async with watched(tmp_path) as world:
        told = await world.rule("HighErrorRate", "error_rate > 5%", service="web")
        assert "the share of requests answered with 5xx" in told["done"]

        async def served(failed: int, fine: int) -> list[float]:
            """So many requests within two minutes, and nothing in the window before them."""
            world.home.advance(minutes=10)
            for part in (0, 1):
                world.home.advance(minutes=2 * part)
                await world.sample(failed * part, "service_requests_total", status="500")
                await world.sample(fine * part, "service_requests_total", status="200")
            return [float(one["untrusted_value"]) for one in await world.round()]

        assert await served(500, 9_500) == []
        assert await served(501, 9_499) == [pytest.approx(0.0501)]
        assert await served(500, 9_500) == []


async def test_a_rule_goes_on_where_it_stood_when_another_worker_takes_over(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(for_seconds=60)
        (waiting,) = await world.round(9)
        await world.round(9)
    async with watched(tmp_path) as world:
        world.home.now[0] += timedelta(seconds=30)
        await world.round(9)
        (still,) = await world.round(9)
        assert (still["id"], still["state"], still["pending_at"]) == (waiting["id"], "pending", waiting["pending_at"])
        (fires,) = await world.round(9)
        assert (fires["id"], fires["state"]) == (waiting["id"], "firing")
        await world.worker()
        assert [one["id"] for one in await world.round(9)] == [waiting["id"]]
        assert await world.history(waiting["id"]) == ["pending by rules", "fired by rules"]


async def test_what_waited_begins_anew_after_nobody_looked_for_long_and_what_fired_goes_on(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule("Waits", "queue_depth > 5", for_seconds=60)
        await world.rule("Fires", "queue_depth > 6")
        first = {one["rule"]: one for one in await world.round(9)}
        await world.worker()
        second = {one["rule"]: one for one in await world.round(9, seconds=300)}
        assert second["Fires"]["id"] == first["Fires"]["id"]
        assert second["Fires"]["state"] == "firing"
        assert second["Waits"]["id"] != first["Waits"]["id"]
        assert second["Waits"]["state"] == "pending"


async def test_a_deleted_rule_ends_its_alerts(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(channels=["pager"])
        (firing,) = await world.round(9)
        world.home.advance(seconds=31)
        await world.rounds.tell()
        await world.done("alert_rule_delete", name="High", environment="staging")
        assert await world.open() == []
        assert await world.round(9) == []
        assert (await world.history(firing["id"]))[-1] == "resolved by ada"
        world.home.advance(minutes=5)
        await world.rounds.tell()
        assert [one["title"] for one in await world.told()][1:] == ["[medium] 1 resolved in staging: High"]
        await world.rule(channels=["pager"])
        (again,) = await world.round(9)
        assert again["id"] != firing["id"]


async def test_a_rule_set_anew_between_two_rounds_is_not_mixed_up_with_the_one_before(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule()
        (firing,) = await world.round(9)
        await world.done("alert_rule_delete", name="High", environment="staging")
        await world.rule()
        (again,) = await world.round(9)
        assert (again["state"], again["id"] == firing["id"]) == ("firing", False)


async def test_a_query_that_fails_changes_no_state_and_the_rule_says_why(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(expression="queue_depth > on (service) queue_limit")
        await world.sample(5, "queue_limit")
        (firing,) = await world.round(9)
        await world.sample(5, "queue_limit", shard="b")
        assert [one["id"] for one in await world.round(9)] == [firing["id"]]
        (rule,) = (await world.done("alert_rules"))["rules"]
        assert (rule["state"], bool(rule["untrusted_error"])) == ("firing", True)


async def test_values_that_are_no_numbers_survive_a_restart(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(expression="queue_depth == queue_depth or queue_odd", for_seconds=60)
        await world.sample(float("nan"), "queue_odd", kind="nan")
        await world.sample(float("-inf"), "queue_odd", kind="minus")
        await world.round(float("inf"))
        await world.worker()
        values = {one["untrusted_value"] for one in await world.round()}
        assert values == {"NaN", "-Inf", "+Inf"}


async def test_another_workers_lease_stops_a_round_from_writing(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule()
        stale = world.rounds
        await world.worker()
        world.home.advance(seconds=15)
        await world.sample(9)
        with pytest.raises(Exception, match="lease has passed on"):
            await stale.evaluate()
        assert await world.open() == []
