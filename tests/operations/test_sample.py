"""Samples taken by the worker: of the host, of services' processes, of pages; with the markers of what ended, and bounded."""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from anyio.abc import SocketAttribute, SocketStream

from ops_mcp.domain.observations import Sample
from ops_mcp.domain.releases import Placement
from ops_mcp.errors import ProviderError
from ops_mcp.metrics.exposition import CONTENT_TYPE
from ops_mcp.metrics.labels import NAME, value_of, written
from ops_mcp.metrics.matchers import Match, Matcher
from ops_mcp.metrics.names import RECORDED, metric_of
from ops_mcp.metrics.query import Selection
from ops_mcp.metrics.series import Series, is_stale
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.operations.host_samples import HostSamples
from ops_mcp.operations.parts import Reins
from ops_mcp.operations.run import run
from ops_mcp.operations.sample import Ending, Scraping, sampling, scraped
from ops_mcp.sources.scrape import Page, build
from ops_mcp.store.metrics.store import MetricStore
from ops_mcp.values import JsonObject, Secret
from tests.operations.fakes import FakeProvider, World, open_world

pytestmark = pytest.mark.anyio

TARGET = {"service": "web", "environment": "staging"}


@dataclass
class Measuring(FakeProvider):
    """A place that measures, and can fail to."""

    failing: bool = False

    async def measure(self, placement: Placement) -> Sequence[Sample]:
        if self.failing:
            raise ProviderError("the place cannot be reached")
        at = self.time.now
        values = {"cpu_percent": 50.0, "memory_bytes": 1024.0, "threads": 3.0, "open_files": 4.0, "started_at": 7.0, "odd": 1.0}
        return [Sample(name=name, value=value, at=at) for name, value in values.items()]


@dataclass
class Exposing:
    """A program's page of metrics, over HTTP."""

    body: bytes = b""
    status: str = "200 OK"
    asked: list[bytes] = field(default_factory=list[bytes])
    url: str = ""

    async def answer(self, stream: SocketStream) -> None:
        async with stream:
            self.asked.append(await stream.receive())
            head = f"HTTP/1.1 {self.status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(self.body)}\r\n\r\n"
            await stream.send(head.encode() + self.body)

    def page(self, **table: Any) -> Page:
        given: JsonObject = {"url": f"{self.url}/metrics", **TARGET, **table}
        return build("web", given, secret=lambda name: Secret(f"the {name}"))


@asynccontextmanager
async def exposing(body: bytes = b"") -> AsyncGenerator[Exposing]:
    exposed = Exposing(body)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        exposed.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        group.start_soon(listener.serve, exposed.answer)
        yield exposed
        group.cancel_scope.cancel()


@asynccontextmanager
async def sampled_world(tmp_path: Path) -> AsyncGenerator[tuple[World, MetricStore]]:
    async with open_world(tmp_path) as world:
        store = MetricStore(tmp_path / "metrics.db", MetricTerms(), world.time.clock)
        try:
            yield world, store
        finally:
            await store.aclose()


async def everything(store: MetricStore, environment: str = "staging") -> dict[str, Series]:
    now = store.now_ms()
    wanted = Selection((Matcher(NAME, Match.pattern, ".+"),), now - 86_400_000, now + 86_400_000)
    return {written(series.labels): series for series in (await store.read(environment, [wanted]))[0]}


def test_the_host_is_told_as_the_metrics_that_are_described() -> None:
    samples = HostSamples("h")
    samples.taken(0)
    found = {written(one.labels): one.value for one in samples.taken(15_000)}
    assert {'host_load1{host="h"}', 'host_memory_used_ratio{host="h"}', 'host_disk_used_ratio{host="h", mountpoint="/"}'} <= set(
        found
    )
    for sample in samples.taken(30_000):
        metric = metric_of(sample.labels)
        assert metric is not None
        assert tuple(sorted(name for name, _ in sample.labels if name != NAME)) == tuple(sorted(metric.labels))
    memory = psutil.virtual_memory()
    assert found['host_memory_used_ratio{host="h"}'] == pytest.approx(1 - memory.available / memory.total, abs=0.1)


async def test_what_serves_is_measured_in_our_names_and_units_until_it_ends(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store):
        place = Measuring(world.time)
        parts = replace(world.parts, providers={"fake": place}, probe=place.probe)
        _, services, _, _ = sampling(parts, store, list)
        world.time.after(30, services)  # its release is still being watched then
        await run(await world.deploy("v1"), parts)
        expected = {
            "process_cpu_ratio": 0.5 / (os.cpu_count() or 1),
            "process_resident_memory_bytes": 1024.0,
            "process_threads": 3.0,
            "process_open_files": 4.0,
            "process_start_time_seconds": 7.0,
        }
        found = await everything(store)
        assert {name: series.values[-1] for name, series in found.items()} == {
            f'{name}{{environment="staging", service="web"}}': value for name, value in expected.items()
        }
        await services()
        await services()
        assert all(len(series.times) == 2 for series in (await everything(store)).values()), "too soon for a third round"
        place.failing = True
        await world.time.sleep(15)
        await services()
        assert all(is_stale(series.values[-1]) for series in (await everything(store)).values())


PAGE = b"""# HELP hits_total Hits.
# TYPE hits_total counter
hits_total{code="200"} 5
hits_total{code="500"} 1
service_requests_total{status="200"} 7
timed 3 1000
probe_success 1
process_cpu_ratio 0
host_load1 99
up 0
scrape_duration_seconds 0
labelled{agent="ada",service="other",environment="production"} 1
"""


async def test_a_page_is_kept_with_its_targets_labels_and_may_not_speak_for_us(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(PAGE) as exposed:
        page = exposed.page(token="web-metrics")
        await scraped(page, Ending(), store, world.time.clock, str)
        where = f'environment="staging", instance="{page.instance}", service="web"'
        found = {name: series.values[-1] for name, series in (await everything(store)).items()}
        duration = found.pop(f"scrape_duration_seconds{{{where}}}")
        assert 0 < duration < 10
        assert found == {
            f'hits_total{{code="200", {where}}}': 5.0,
            f'hits_total{{code="500", {where}}}': 1.0,
            f'service_requests_total{{{where}, status="200"}}': 7.0,
            f'labelled{{environment="staging", exported_agent="ada", exported_environment="production", exported_service="other",'
            f' instance="{page.instance}", service="web"}}': 1.0,
            f"up{{{where}}}": 1.0,
            f"scrape_samples_scraped{{{where}}}": 5.0,
            f"scrape_samples_left_out{{{where}}}": 5.0,
        }
        assert b"authorization: bearer the web-metrics" in exposed.asked[0].lower()
        seen = await store.seen("staging", ())
        assert seen.families["hits_total"].help == "Hits."
        assert await everything(store, "production") == {}


async def test_a_series_that_goes_and_a_target_that_goes_are_marked_as_ended(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(b"a 1\nb 2\ntimed 1 %d\n") as exposed:
        exposed.body = b"a 1\nb 2\ntimed 1 %d\n" % (store.now_ms() - 1000)
        page, ending = exposed.page(), Ending()
        await scraped(page, ending, store, world.time.clock, str)
        exposed.body = b"a 1\n"
        await world.time.sleep(15)
        await scraped(page, ending, store, world.time.clock, str)
        newest = {value_of(s.labels, NAME): s.values[-1] for s in (await everything(store)).values()}
        assert (newest["a"], is_stale(newest["b"]), newest["timed"], newest["up"]) == (1.0, True, 1.0, 1.0)
        exposed.status = "503 Busy"
        await world.time.sleep(15)
        await scraped(page, ending, store, world.time.clock, str)
        newest = {value_of(s.labels, NAME): s.values[-1] for s in (await everything(store)).values()}
        assert (is_stale(newest["a"]), newest["up"], newest["scrape_samples_scraped"]) == (True, 0.0, 0.0)


async def test_a_page_that_cannot_be_fetched_is_logged_once_and_once_more_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(b"a 1\n") as exposed:
        page, ending = exposed.page(), Ending()
        with caplog.at_level("INFO", logger="ops_mcp.operations.sample"):
            for status in ("200 OK", "503 Busy", "503 Busy", "503 Busy", "200 OK", "200 OK"):
                exposed.status = status
                await scraped(page, ending, store, world.time.clock, str)
    assert caplog.messages == [f"{page.name} answers 503.", f"{page.name} is fetched again"]


@pytest.mark.parametrize(
    ("body", "table", "up", "kept"),
    [
        (b"".join(b"x%d 1\n" % n for n in range(50)), {"most_series": 10}, 1.0, 10),
        (b"x 1\n" * 2000, {"most_bytes": 1024}, 0.0, 0),
        (b'\xff\xfe\x00 bad\nx{a="\x1b[31m"} 1\n', {}, 1.0, 1),
        (b"x" * 300 + b" 1\n", {}, 1.0, 0),
        (b"<html>hello</html>", {}, 1.0, 0),
    ],
)
async def test_hostile_pages_are_bounded(tmp_path: Path, body: bytes, table: dict[str, Any], up: float, kept: int) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(body) as exposed:
        await scraped(exposed.page(**table), Ending(), store, world.time.clock, str)
        found = {value_of(s.labels, NAME): s.values[-1] for s in (await everything(store)).values()}
        assert found["up"] == up
        assert len([name for name in found if name.startswith("x")]) == kept


async def test_secrets_on_a_page_are_not_kept(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(b'x{key="hunter2"} 1\n') as exposed:
        await scraped(exposed.page(), Ending(), store, world.time.clock, lambda text: text.replace("hunter2", "[hidden]"))
        assert not [name for name in await everything(store) if "hunter2" in name]
        assert [name for name in await everything(store) if "[hidden]" in name]


async def test_a_page_that_answers_slowly_holds_up_no_other(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store), exposing(b"x 1\n") as exposed:

        class Slow(Page):
            async def fetched(self) -> bytes:
                await anyio.sleep_forever()
                return b""

        stuck = exposed.page(service="slow")
        slow = Slow("slow", stuck.table, lambda _: Secret(""))
        reins = Reins()
        parts = replace(world.parts, reins=reins)
        quick = exposed.page()

        async def until_it_was_asked_thrice() -> None:
            while len(exposed.asked) < 3:
                await anyio.sleep(0.005)
            reins.pull()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(until_it_was_asked_thrice)
                await Scraping(parts, store, lambda: [slow, quick]).run()
        up = [s for s in (await everything(store)).values() if value_of(s.labels, NAME) == "up"]
        assert [value_of(s.labels, "service") for s in up] == ["web"]
        assert up[0].times[1] - up[0].times[0] >= timedelta(seconds=15) / timedelta(milliseconds=1)


def test_every_metric_that_is_told_of_processes_is_one_that_we_describe() -> None:
    from ops_mcp.operations.sample import _MEASURED

    described = {metric.name for metric in RECORDED}
    assert {as_metric(1.0)[0] for as_metric in _MEASURED.values()} == {name for name in described if name.startswith("process_")}
