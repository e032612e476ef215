"""A real Prometheus, asked for one environment of two: its own series and no others', whatever is asked."""

import math
import re
import tomllib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from ops_mcp import sources
from ops_mcp.config import Settings, load
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.metrics.labels import labels_of, value_of
from ops_mcp.metrics.series import STALE, Matrix, Scalar, Series, Vector
from ops_mcp.sources import scrape
from ops_mcp.sources.prometheus import MOST_BYTES, Prometheus, build
from ops_mcp.startup import now
from ops_mcp.values import JsonObject, Secret
from tests.metrics.prometheus import BINARY, running

pytestmark = pytest.mark.anyio

PRODUCTION = EnvironmentName("production")
real = pytest.mark.skipif(BINARY is None, reason="prometheus is not installed")


class Given(NamedTuple):
    url: str
    now: datetime


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """Ten minutes of a counter in each of two environments, and a series that has ended."""
    now = datetime.now(UTC).replace(microsecond=0)
    times = [int((now - timedelta(seconds=15 * n)).timestamp() * 1000) for n in range(40, -1, -1)]
    with running(tmp_path_factory.mktemp("prometheus")) as server:
        server.write(
            [
                *(
                    Series(labels_of({"env": env, "code": code}, name="hits_total"), times, [float(n * by) for n in range(41)])
                    for env, code, by in (("prod", "200", 3), ("prod", "500", 1), ("staging", "200", 100))
                ),
                Series(labels_of({"env": "prod"}, name="ended"), times, [1.0] * 40 + [STALE]),
                Series(labels_of({"env": "staging"}, name="secret_total"), times, [1.0] * 41),
                Series(labels_of({}, name="nobodys"), times, [1.0] * 41),
            ]
        )
        yield Given(server._base.removesuffix("/api/v1/"), now)


def source(url: str, **table: object) -> Prometheus:
    given: JsonObject = {"url": url, "environment": "production", "matchers": {"env": "prod"}, **table}  # type: ignore[dict-item]
    return build("metrics", given, secret=lambda _: Secret("t0ken"), clock=now)


@real
async def test_an_instant_a_scalar_and_samples_are_read_as_they_are(prometheus: Given) -> None:
    asked = source(prometheus.url)
    answer = await asked.instant("sum by (code) (hits_total)", PRODUCTION, prometheus.now)
    assert isinstance(answer, Vector)
    assert {(value_of(one.labels, "code"), one.value) for one in answer.samples} == {("200", 120.0), ("500", 40.0)}
    answer = await asked.instant("ended or vector(NaN)", PRODUCTION, prometheus.now)
    assert isinstance(answer, Vector)
    assert [math.isnan(one.value) for one in answer.samples] == [True]
    assert isinstance(await asked.instant("1 / 0", PRODUCTION, prometheus.now), Scalar)
    samples = await asked.instant('hits_total{code="500"}[1m]', PRODUCTION, prometheus.now)
    assert isinstance(samples, Matrix)
    assert list(samples.series[0].values) == [36.0, 37.0, 38.0, 39.0, 40.0]


@real
async def test_a_range_has_its_points_at_the_steps(prometheus: Given) -> None:
    ranged = await source(prometheus.url).ranged(
        'hits_total{code="500"}', PRODUCTION, start=prometheus.now - timedelta(minutes=1), end=prometheus.now, step_seconds=30
    )
    (series,) = ranged.matrix.series
    assert list(series.values) == [36.0, 38.0, 40.0]


GETTING_OUT = [
    "hits_total",
    '{__name__=~".+"}',
    'hits_total{env="staging"}',
    'hits_total{env!="prod"}',
    'hits_total{env=~"prod|staging"}',
    'hits_total{env=~".*"} or {env="",code=~".+"}',
    "secret_total or nobodys",
    "sum without (env) (secret_total) + 0",
    'label_replace(secret_total, "env", "prod", "", "")',
    "max_over_time(secret_total[10m])",
    "max_over_time((secret_total + 0)[5m:15s])",
    "count_values('env', secret_total)",
    'nobodys{env!~"x"}',
    "hits_total unless on () secret_total",
    "last_over_time({env=`staging`}[10m])",
    'hits_total{env="prod"} # }{env="staging"}',
]


@real
@pytest.mark.parametrize("query", GETTING_OUT)
async def test_no_query_reads_what_is_not_the_environments(prometheus: Given, query: str) -> None:
    """What is seen is what the same query sees where the environment's series are the only ones: never staging's 4000."""
    answer = await source(prometheus.url).instant(query, PRODUCTION, prometheus.now)
    assert isinstance(answer, Vector)
    assert all(value_of(one.labels, "env") == "prod" for one in answer.samples)
    assert all(value_of(one.labels, "__name__") not in {"secret_total", "nobodys"} for one in answer.samples)
    assert {one.value for one in answer.samples} <= {120.0, 40.0}


@real
async def test_functions_that_we_do_not_evaluate_ourselves_are_passed_on(prometheus: Given) -> None:
    answer = await source(prometheus.url).instant("sort_desc(hits_total)", PRODUCTION, prometheus.now)
    assert isinstance(answer, Vector)
    assert [one.value for one in answer.samples] == [120.0, 40.0]


@real
async def test_only_the_environments_metrics_are_listed(prometheus: Given) -> None:
    asked = source(prometheus.url)
    found = await asked.listed(PRODUCTION)
    assert [(one.name, one.series, dict(one.labels)) for one in found] == [
        ("ended", 1, {"env": 1}),
        ("hits_total", 2, {"code": 2, "env": 1}),
    ]
    assert [one.name for one in await asked.listed(PRODUCTION, match="hits")] == ["hits_total"]
    assert [one.series for one in await asked.listed(PRODUCTION, match='{code="500"}')] == [1]
    assert list(await asked.listed(PRODUCTION, match='{env="staging"}')) == []


@real
async def test_what_prometheus_refuses_is_refused_in_our_words(prometheus: Given) -> None:
    asked = source(prometheus.url)
    with pytest.raises(InvalidArguments, match=r"metrics refuses the query: .*exceeded maximum resolution"):
        await asked.ranged("up", PRODUCTION, start=prometheus.now - timedelta(days=30), end=prometheus.now, step_seconds=1)
    with pytest.raises(InvalidArguments, match=r"refuses the query: .*many-to-many"):
        await asked.instant("hits_total + on (env) hits_total", PRODUCTION, prometheus.now)


async def test_another_environment_is_not_answered() -> None:
    with pytest.raises(NotFound, match="not for this environment"):
        await source("http://127.0.0.1:9").instant("up", EnvironmentName("staging"), datetime.now(UTC))


async def test_nobody_at_the_address_is_told_as_temporary() -> None:
    with pytest.raises(ProviderError, match="cannot be reached") as told:
        await source("http://127.0.0.1:9").instant("up", PRODUCTION, datetime.now(UTC))
    assert told.value.may_be_retried


def replied(status: str, body: bytes, *head: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *head, "", ""]
    return "\r\n".join(lines).encode() + body


REPLIES = [
    (replied("200 OK", b"hello"), ProviderError, "no answer of Prometheus"),
    (replied("200 OK", b'{"status": "success", "data": '), ProviderError, "no answer of Prometheus"),
    (replied("401 Unauthorized", b""), NotConfigured, "refuses our credential"),
    (replied("302 Found", b"", "Location: http://127.0.0.1:9/"), ProviderError, "answered 302"),
    (replied("200 OK", b'{"status":"success","data":{"resultType":"odd","result":1}}'), ProviderError, "not the shape"),
    (replied("200 OK", b'{"status":"success","data":{"resultType":"vector","result":[1]}}'), ProviderError, "not the shape"),
    (replied("200 OK", b'{"status":"success","data":null}'), ProviderError, "not the shape"),
    (
        replied("503 Busy", b'{"status":"error","errorType":"unavailable","error":"\\u001b[2Jlater"}'),
        ProviderError,
        "failed: later",
    ),
    (replied("200 OK", b"x" * (MOST_BYTES + 1)), InvalidArguments, "larger than 32 MiB"),
]


@asynccontextmanager
async def serving(answer: Callable[[SocketStream], Awaitable[None]]) -> AsyncGenerator[str]:
    """A server that answers every connection so; its address."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


@pytest.mark.parametrize(("reply", "error", "said"), REPLIES)
async def test_odd_answers_are_told_and_never_taken_for_values(reply: bytes, error: type[Exception], said: str) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(reply)

    async with serving(answer) as url:
        with pytest.raises(error, match=said) as told:
            await source(url).instant("up", PRODUCTION, datetime.now(UTC))
        assert "\x1b" not in str(told.value)


async def test_a_server_that_stays_silent_is_not_waited_for() -> None:
    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with serving(silent) as url:
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.2 s"):
            await source(url, timeout_seconds=0.2).instant("up", PRODUCTION, datetime.now(UTC))


@pytest.mark.parametrize(
    "table",
    [
        {"url": "ftp://x"},
        {"url": "http://user:pass@host"},
        {"matchers": {"__name__": "up"}},
        {"matchers": {"a-b": "c"}},
        {"matchers": {"a": ""}},
        {"surprise": 1},
    ],
)
def test_a_table_that_cannot_be_used_is_refused(table: JsonObject) -> None:
    with pytest.raises(NotConfigured, match=r"\[sources.metrics\]"):
        source(**{"url": "http://127.0.0.1:9", **table})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [build, scrape.build])
def test_a_token_is_never_sent_over_a_network_in_clear(kind: Callable[..., object]) -> None:
    table = {"environment": "production", "token": "t"} | ({"service": "web"} if kind is scrape.build else {})
    for allowed in ("https://metrics.test/", "http://127.0.0.1:9090/", "http://localhost:9090/"):
        kind("metrics", {**table, "url": allowed}, secret=Secret, clock=now)
    for refused in ("http://metrics.test/", "http://127.0.0.1.metrics.test/"):
        with pytest.raises(NotConfigured, match="in clear"):
            kind("metrics", {**table, "url": refused}, secret=Secret, clock=now)


def test_without_matchers_the_environments_name_is_demanded() -> None:
    asked = build("metrics", {"url": "http://127.0.0.1:9", "environment": "production"}, secret=lambda _: Secret(""), clock=now)
    assert asked._confined("up", PRODUCTION) == '{__name__="up",environment="production"}'


def test_the_tables_of_the_page_on_metrics_can_be_used() -> None:
    page = (Path(__file__).parents[2] / "docs" / "languages" / "metrics.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(block))
    config = load({}).model_copy(update={"settings": settings})
    found = sources.configured(config, "scrape", "prometheus", secret=lambda _: Secret(""), clock=now)
    assert {name: type(made()).__name__ for name, made in found.items()} == {"shop": "Page", "team": "Prometheus"}
