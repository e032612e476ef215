"""Alerts from outside go the way of ours: rows, history, board, and the end that their source owes them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.alerting.inbound import read_alerts
from ops_mcp.alerting.settings import Source
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.store.alerts import receive
from tests.alerts.watching import Watched, watched

pytestmark = pytest.mark.anyio

SOURCE = Source(name="probe", environment=EnvironmentName("staging"), channels=("pager",), ends_after_seconds=120)
SETTINGS: dict[str, Any] = {"alerts": {"sources": {"probe": {"environment": "staging", "token": "probe-token"}}}}


async def report(world: Watched, status: str, *, source: Source = SOURCE) -> int:
    """A source sends the plain form; how many were left out."""
    at = world.home.now[0]
    body = (
        f'{{"service": "web", "status": "{status}", "metric": "Latency", "threshold": 1, "current_value": 2,'
        f' "timestamp": "{at:%Y-%m-%dT%H:%M:%SZ}"}}'
    )
    read = read_alerts(body.encode(), source, at)
    return await world.home.database.write(lambda tx: receive(tx, read.alerts, at=at))


async def test_an_alert_from_outside_is_open_is_told_and_ends(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        assert await report(world, "critical") == 0
        world.home.advance(seconds=20)
        assert await report(world, "critical") == 0
        (firing,) = await world.open()
        assert (firing["source"], firing["severity"], firing["state"], firing["rule"]) == ("probe", "critical", "firing", "")
        world.home.advance(seconds=11)
        await world.rounds.tell()
        assert [one["title"] for one in await world.told()] == ["[critical] 1 firing in staging: Latency"]
        await report(world, "ok")
        assert await world.open() == []
        world.home.advance(minutes=5)
        await world.rounds.tell()
        assert len(await world.told()) == 2
        assert await world.history(firing["id"]) == [
            "fired by source:probe", "told by rules", "resolved by source:probe", "told by rules",
        ]  # fmt: skip


async def test_an_alert_that_is_not_sent_again_ends_by_itself(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await report(world, "firing")
        world.home.now[0] += timedelta(seconds=119)
        await world.rounds.tell()
        assert await world.states() == ["firing"]
        world.home.advance(seconds=2)
        await world.rounds.tell()
        assert await world.open() == []
        await report(world, "firing")
        assert await world.states() == ["firing"]


async def test_a_rule_that_names_the_source_lends_its_severity_and_keeps_no_query(tmp_path: Path) -> None:
    async with watched(tmp_path, **SETTINGS) as world:
        await world.done(
            "alert_rule_set", name="Latency", environment="staging", sources=["probe"], severity="low", channels=["pager"],
            remediation="restart",
        )  # fmt: skip
        await report(world, "critical")
        (firing,) = await world.open()
        assert (firing["rule"], firing["severity"]) == ("Latency", "low")
        assert [one["rule"] for one in await world.round()] == ["Latency"]
        await world.done("alert_rule_delete", name="Latency", environment="staging")
        assert await world.states() == ["firing"]


async def test_an_end_that_is_older_than_the_firing_and_one_of_nothing_are_no_news(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await report(world, "ok")
        assert (await world.done("alerts", ended=True))["matched"] == 0
        await report(world, "firing")
        world.home.advance(seconds=-30)
        await report(world, "ok")
        world.home.advance(seconds=30)
        assert await world.states() == ["firing"]


async def test_a_flood_of_one_source_is_left_out_and_others_are_not(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        at = world.home.now[0]
        (alert,) = read_alerts(
            b'{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A"},"startsAt":"2026-11-20T12:00:00Z"}]}',
            SOURCE,
            at,
        ).alerts
        many = [alert.evolve(fingerprint=f"{number:016x}") for number in range(2_100)]
        assert await world.home.database.write(lambda tx: receive(tx, many, at=at)) == 100
        assert (await world.done("alerts"))["matched"] == 2_000
        assert await report(world, "firing", source=SOURCE.evolve(name="other")) == 0
        assert (await world.done("alerts"))["matched"] == 2_001
