"""The worker's rounds: when there is work, what an outside Prometheus is asked, and that time does not double anything."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import pytest

from ops_mcp.alerting.history import QueryFailed
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import ProviderError
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.query import Query, Selection
from ops_mcp.metrics.series import Answer, Sample, Series, Vector
from ops_mcp.observing import Listing, MetricBook, MetricSource, Ranged
from ops_mcp.operations.answering import answers
from ops_mcp.rounds import busy
from ops_mcp.store import leases
from tests.alerts.watching import rounds_of, watched

pytestmark = pytest.mark.anyio


async def test_a_rule_keeps_a_worker_alive_and_lets_a_server_start_one(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        path = world.home.config.database
        assert not await world.home.database.write(busy)
        assert not leases.work_waits(path)
        await world.rule(channels=["pager"])
        assert await world.home.database.write(busy)
        assert leases.work_waits(path)
        await world.round(9)
        await world.done("alert_rule_delete", name="High", environment="staging")
        assert await world.home.database.write(busy), "an end is still to be looked at"
        world.home.advance(minutes=1)
        await world.rounds.tell()
        assert not await world.home.database.write(busy)
        assert not leases.work_waits(path)


@dataclass
class Outside:
    """An outside Prometheus that knows a language of its own."""

    name: str = "prometheus"
    asked: list[str] = field(default_factory=list[str])
    slow: bool = False

    async def instant(self, query: str, environment: EnvironmentName, at: datetime) -> Answer:
        self.asked.append(query)
        if self.slow:
            await anyio.sleep_forever()
        if "broken" in query:
            raise ProviderError("The Prometheus does not answer.")
        return Vector(round(at.timestamp() * 1000), (Sample(labels_of({"service": "web"}, name="up"), 7.0),))

    async def ranged(
        self, query: str, environment: EnvironmentName, *, start: datetime, end: datetime, step_seconds: float
    ) -> Ranged:
        raise NotImplementedError

    async def listed(self, environment: EnvironmentName, *, match: str = "", limit: int = 100) -> Sequence[Listing]:
        return ()


@dataclass
class Beside:
    """The real book, but for where staging's metrics are."""

    book: MetricBook
    outside: Outside

    def source(self, environment: EnvironmentName) -> MetricSource:
        return self.outside if environment == "staging" else self.book.source(environment)

    def __getattr__(self, name: str) -> object:
        return getattr(self.book, name)


async def test_rules_of_an_environment_with_an_outside_prometheus_are_asked_there_by_their_text(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        app, outside = world.home.app, Outside()
        beside = Beside(app.sights.metrics, outside)
        world.home.app = replace(app, sights=app.sights._replace(metrics=beside))  # type: ignore[arg-type]
        await world.rule("Theirs", "info(up) > 1")
        await world.rule("Broken", "broken > 1")
        world.rounds = await rounds_of(world.home)
        outside.asked.clear()
        (firing,) = await world.round()
        assert (firing["rule"], firing["untrusted_value"]) == ("Theirs", "7")
        assert sorted(outside.asked) == ["broken > 1", "info(up) > 1"]
        broken = next(one for one in (await world.done("alert_rules"))["rules"] if one["name"] == "Broken")
        assert broken["untrusted_error"] == "The Prometheus does not answer."


async def test_an_outside_prometheus_that_is_silent_fails_its_rules_in_time(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        outside = Outside(slow=True)
        beside = Beside(world.home.app.sights.metrics, outside)
        queries: dict[str, Query] = {"up": beside.book.compiled("up"), "down": beside.book.compiled("down")}
        with anyio.fail_after(5):
            found = await answers(beside, EnvironmentName("staging"), queries, world.home.now[0], within_seconds=0.05)  # type: ignore[arg-type]
        assert {str(answer) for answer in found.values()} == {"QueryFailed(why='prometheus did not answer in time')"}


async def test_a_number_without_labels_is_one_alert(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule("Many", "vector(1) > 0")
        (firing,) = await world.round()
        assert (firing["rule"], firing["untrusted_labels"]) == ("Many", {})


async def test_what_ended_long_ago_is_forgotten(tmp_path: Path) -> None:
    async with watched(tmp_path, alerts={"keep_days": 30}) as world:
        await world.rule()
        (firing,) = await world.round(9)
        await world.round(1)
        world.home.advance(days=29)
        await world.rounds.tell()
        assert (await world.done("alerts", ended=True))["alerts"][0]["id"] == firing["id"]
        world.home.advance(days=2)
        await world.rounds.tell()
        assert await world.home.count("alerts") == await world.home.count("alert_events") == 0


async def test_a_rule_that_becomes_longer_takes_back_what_it_told(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule(channels=["pager"])
        (firing,) = await world.round(9)
        world.home.advance(seconds=30)
        await world.rounds.tell()
        await world.rule(channels=["pager"], for_seconds=600)
        (waiting,) = await world.round(9)
        assert (waiting["id"], waiting["state"]) == (firing["id"], "pending")
        world.home.advance(minutes=5)
        await world.rounds.tell()
        assert [one["title"] for one in await world.told()] == [
            "[medium] 1 firing in staging: High", "[medium] 1 resolved in staging: High",
        ]  # fmt: skip


class Meanwhile(Beside):
    """Something else happens while a round reads its samples."""

    def __init__(self, book: MetricBook, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__(book, Outside())
        self._happens = happens

    def source(self, environment: EnvironmentName) -> MetricSource:
        return self.book.source(environment)

    async def held(self, environment: EnvironmentName, wanted: Sequence[Selection]) -> Sequence[Series]:
        await self._happens()
        return await self.book.held(environment, wanted)


async def test_a_rule_deleted_while_a_round_goes_on_leaves_no_alert_of_that_round(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule()
        await world.rule("Other")
        app = world.home.app
        happens = partial(world.done, "alert_rule_delete", name="High", environment="staging")
        world.home.app = replace(app, sights=app.sights._replace(metrics=Meanwhile(app.sights.metrics, happens)))  # type: ignore[arg-type]
        world.rounds = await rounds_of(world.home)
        assert [one["rule"] for one in await world.round(9)] == ["Other"]
        assert [row[0] for row in await world.home.database.fetch("SELECT name FROM alert_progress")] == ["Other"]


async def test_rules_that_take_all_the_time_fail_and_the_cheap_ones_do_not(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        book = world.home.app.sights.metrics
        for _ in range(3):
            world.home.advance(seconds=15)
            await world.sample(9)
        queries = {text: book.compiled(text) for text in ("sum_over_time(queue_depth[1h:1s])", "queue_depth > 5")}
        costs: dict[str, float] = {}
        asked = (book, EnvironmentName("staging"), queries, world.home.now[0])
        first = await answers(*asked, within_seconds=5, costs=costs)
        assert not [one for one in first.values() if isinstance(one, QueryFailed)]
        costs["queue_depth > 5"] = 0.0
        second = await answers(*asked, within_seconds=1e-6, costs=costs)
        assert second["queue_depth > 5"] == first["queue_depth > 5"]
        assert "no time" in str(second["sum_over_time(queue_depth[1h:1s])"])
