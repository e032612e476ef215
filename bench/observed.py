"""A hundred agents over HTTP, each looking once a second: health, metrics and logs in turn, while samples go on being written."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w

from bench.house import House
from bench.paced import answer, request
from bench.result import Result, at_most
from bench.rpc import p50, percentile
from ops_mcp.logs.records import Source, parse
from ops_mcp.logs.settings import LogTerms
from ops_mcp.metrics.labels import Labels, labels_of
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.observing import Observation
from ops_mcp.store.logs.appending import Batch, Position, Read
from ops_mcp.store.logs.store import LogStore
from ops_mcp.store.metrics.store import MetricStore
from sandbox.world import command, curl

CLIENTS, SECONDS = 100, 30
SERVICES, SERIES, HOUR_MS, EVERY_MS = 20, 1_000, 3_600_000, 15_000
LINES = 200_000
STATUSES = ("200", "201", "404", "500", "503")

OF_ONE = 'sum(rate(service_requests_total{service="service-5"}[5m]))'

ASKED: tuple[tuple[str, dict[str, object]], ...] = (
    ("health", {"environment": "staging"}),
    ("metrics_query", {"environment": "staging", "query": "error_rate > 5%"}),
    ("logs_search", {"environment": "staging", "service": "service-3", "text": "refused", "since": "15m"}),
    ("health", {"environment": "staging", "service": "service-7"}),
    (
        "metrics_query",
        {"environment": "staging", "query": OF_ONE, "start": "1h"},
    ),
    ("logs_search", {"environment": "staging", "severity": "error", "since": "1h", "limit": 20}),
)


async def measure(home: House, port: int) -> list[Result]:
    await _furnish(home)
    server = await asyncio.create_subprocess_exec(
        *command(), "serve", env=home.world.environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    took: dict[str, list[float]] = {tool: [] for tool, _ in ASKED}
    try:
        await asyncio.to_thread(curl, port, "/", seconds=20)
        async with _recording(home):
            await asyncio.gather(*(_client(port, home.token, number, took) for number in range(CLIENTS)))
    finally:
        server.terminate()
        await server.wait()
    every = [wait for waited in took.values() for wait in waited]
    title = f"{CLIENTS} HTTP clients at one call a second"
    return [
        at_most(f"{title} over health, metrics_query and logs_search, p95", percentile(every, 0.95), "ms", 100),
        Result(f"{title} over health, metrics_query and logs_search, p50", round(p50(every), 2), "ms"),
        *(at_most(f"{title}, {tool} alone, p95", percentile(took[tool], 0.95), "ms", 100) for tool in took),
    ]


async def _client(port: int, token: str, number: int, took: dict[str, list[float]]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    began = time.perf_counter() + number / CLIENTS
    try:
        for second in range(SECONDS):
            tool, arguments = ASKED[(number + second) % len(ASKED)]
            asking = request(port, token, tool, arguments)
            await asyncio.sleep(max(0.0, began + second - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(asking)
            body = await answer(reader)
            took[tool].append((time.perf_counter() - sent) * 1000)
            assert b'"result"' in body, body[:500]
            assert b'"isError":true' not in body.replace(b" ", b""), body[:800]
    finally:
        writer.close()


async def _furnish(home: House) -> None:
    """Services that should run, an hour of samples of each, and lines of log."""
    folder = home.world.config / "services"
    for number in range(SERVICES):
        table = {"staging": {"provider": "local", "options": {"source": str(home.world.home / "webshop"), "run": ["true"]}}}
        await asyncio.to_thread((folder / f"service-{number}.toml").write_text, tomli_w.dumps(table), encoding="utf-8")
    await _samples(home.world.state / "metrics.db")
    await _lines(home.world.state / "logs.db")


async def _samples(path: Path) -> None:
    store = MetricStore(path, MetricTerms(), lambda: datetime.now(UTC))
    chance, series = random.Random(7), _series()
    totals = [0.0] * len(series)
    end = store.now_ms() // EVERY_MS * EVERY_MS
    for at in range(end - HOUR_MS, end + 1, EVERY_MS):
        await store.keep(_round(series, totals, at, chance))
    await store.aclose()


def _series() -> list[Labels]:
    """Of each service: its requests by status, and gauges of its own."""
    found: list[Labels] = []
    for number in range(SERVICES):
        target = {"service": f"service-{number}", "environment": "staging"}
        found += [labels_of({**target, "status": status}, name="service_requests_total") for status in STATUSES]
        found += [labels_of(target, name=f"gauge_{other}") for other in range(SERIES // SERVICES - len(STATUSES))]
    return found


def _round(series: Sequence[Labels], totals: list[float], at: int, chance: random.Random) -> list[Observation]:
    for number in range(len(series)):
        totals[number] += chance.randrange(20)
    return [Observation(labels, at, total) for labels, total in zip(series, totals, strict=True)]


async def _lines(path: Path) -> None:
    store, chance, now = LogStore(path, LogTerms(), lambda: datetime.now(UTC)), random.Random(11), datetime.now(UTC)
    each = LINES // SERVICES
    for number in range(SERVICES):
        source = Source(f"service-{number}", "staging", f"dep_{number}", "stdout")
        at = (now - timedelta(hours=1) * ((each - n) / each) for n in range(each))
        records = [parse(f"{moment.isoformat()} {_line(chance)}", source, arrived=moment) for moment in at]
        read = Read("staging", source.service, source.deployment, Position(), Position("1"), records)
        await store.append(Batch(now, [read]))
    await store.aclose()


def _line(chance: random.Random) -> str:
    if chance.random() < 0.01:
        return f"ERROR connection to 10.0.0.{chance.randrange(256)}:5432 refused, attempt {chance.randrange(5)}"
    return f"INFO GET /v1/orders/{chance.randrange(10**6)} answered 200 in {chance.randrange(900)} ms"


@asynccontextmanager
async def _recording(home: House) -> AsyncIterator[None]:
    """Somebody else writes samples all the while, as the worker does."""
    store = MetricStore(home.world.state / "metrics.db", MetricTerms(), lambda: datetime.now(UTC))
    series, chance = _series(), random.Random(9)
    totals = [1e9] * len(series)

    async def record() -> None:
        while True:
            await store.keep(_round(series, totals, store.now_ms(), chance))
            await asyncio.sleep(EVERY_MS / 1000)

    task = asyncio.create_task(record())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.aclose()
