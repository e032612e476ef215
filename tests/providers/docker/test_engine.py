"""Versions, errors and breaks of an engine, by one made of answers."""

from datetime import UTC, datetime

import anyio
import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.errors import Conflict, NotConfigured, NotFound, OpsError, ProviderError, Unsupported
from ops_mcp.providers.docker import containers, logs
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.engine import EngineApi, lines_of, tls_context
from ops_mcp.providers.docker.marks import Marks
from ops_mcp.providers.docker.patience import patiently
from ops_mcp.providers.docker.settings import Endpoint
from ops_mcp.providers.docker.troubles import EngineAway, shown, translated
from tests.providers.docker.fake_engine import FakeEngine

pytestmark = pytest.mark.anyio

MARKS = Marks(deployment="dep_1", group="dep_1", replica=1, service="web", environment="staging")


def inspected(status: str = "running", identity: str = "c1") -> dict[str, object]:
    state = {"Status": status, "StartedAt": "2026-11-24T22:00:00Z" if status != "created" else "0001-01-01T00:00:00Z"}
    return {"Id": identity, "State": state, "Config": {"Labels": MARKS.labels}, "Created": "2026-11-24T22:00:00Z"}


async def one(fake: FakeEngine, status: str = "running") -> Ours:
    fake.on("GET", "/containers/json", body=[{"Id": "c1", "Labels": MARKS.labels}])
    fake.on("GET", "/containers/c1/json", body=inspected(status))
    return (await containers.of_group(fake.engine(), "dep_1"))[0]


@pytest.mark.parametrize(
    ("theirs", "oldest", "spoken"),
    [("1.41", "1.12", "v1.41"), ("1.43", "1.24", "v1.43"), ("1.44", "1.24", "v1.44"), ("1.56", "1.40", "v1.44")],
)
async def test_the_older_of_both_versions_is_spoken(theirs: str, oldest: str, spoken: str) -> None:
    fake = FakeEngine(version=theirs, oldest=oldest).on("GET", "/containers/json", body=[])
    paths: list[str] = []
    engine = fake.engine()
    engine.client().event_hooks["request"] = [_noting(paths)]
    await containers.of_labels(engine, ("a=b",))
    assert paths == ["/version", f"/{spoken}/containers/json"]


def _noting(paths: list[str]):
    async def note(request: object) -> None:
        paths.append(request.url.path)  # type: ignore[attr-defined]

    return note


@pytest.mark.parametrize(
    ("theirs", "oldest", "why"), [("1.40", "1.12", "at least 1.41"), ("1.60", "1.45", "no longer speaks API 1.44")]
)
async def test_an_engine_that_is_too_old_or_too_new_is_refused_with_what_to_do(theirs: str, oldest: str, why: str) -> None:
    with pytest.raises(NotConfigured, match=why) as caught:
        await FakeEngine(version=theirs, oldest=oldest).engine().version()
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("version", ["", "new", "1", "1.x"])
async def test_a_version_that_cannot_be_read_is_an_error_of_ours(version: str) -> None:
    with pytest.raises(ProviderError, match="not understood"):
        await FakeEngine(version=version).engine().version()


@pytest.mark.parametrize(
    ("status", "message", "kind", "temporary"),
    [
        (400, "bad parameter", ProviderError, False),
        (401, "nobody", NotConfigured, False),
        (403, "denied by plugin", NotConfigured, False),
        (404, "No such container: x", NotFound, False),
        (404, "network front not found", NotConfigured, False),
        (409, "Conflict. The name is in use", Conflict, False),
        (500, "driver failed: Bind for 127.0.0.1:80 failed: port is already allocated", ProviderError, False),
        (500, "listen tcp4 127.0.0.1:80: bind: address already in use", ProviderError, False),
        (400, 'exec: "/x": stat /x: no such file or directory: unknown', ProviderError, False),
        (500, "something else", ProviderError, True),
        (500, "rpc error: code = Unavailable desc = transport is closing", EngineAway, True),
        (503, "shutting down", EngineAway, True),
        (502, "", EngineAway, True),
        (400, "client version 1.44 is too new. Maximum supported API version is 1.41", EngineAway, True),
        (418, "teapot", ProviderError, False),
    ],
)
def test_every_refusal_becomes_an_error_of_ours_with_a_next_step(
    status: int, message: str, kind: type[OpsError], temporary: bool
) -> None:
    error = translated(status, message, doing="a thing")
    assert type(error) is kind
    assert error.may_be_retried is temporary
    assert error.hint
    assert message == "" or message not in error.message


def test_words_of_the_engine_are_bounded_and_hold_no_known_value() -> None:
    said = shown("bad KEY=hunter22 and \x1b[31m" + "x" * 1000, ["hunter22", "abc"])
    assert "hunter22" not in said
    assert "\x1b" not in said
    assert len(said) <= 300


async def test_an_engine_that_is_not_there_is_away(tmp_path: object) -> None:
    engine = EngineApi(Endpoint(host=f"unix://{tmp_path}/nobody.sock"))
    with pytest.raises(EngineAway, match="cannot be asked"):
        await engine.version()
    await engine.aclose()


@pytest.mark.parametrize("silent", [False, True])
async def test_an_answer_that_breaks_off_or_never_comes_is_the_engine_being_away(silent: bool) -> None:
    fake = FakeEngine().on("GET", "/containers/json", breaks=True, silent=silent)
    with pytest.raises(EngineAway):
        await containers.of_labels(fake.engine(), ("a=b",))


async def test_an_engine_that_speaks_another_version_after_a_restart_is_asked_for_it_again() -> None:
    fake = FakeEngine(version="1.44").on(
        "GET", "/containers/json", status=400, body={"message": "client version 1.44 is too new."}, once=True
    )
    fake.on("GET", "/containers/json", body=[])
    engine = fake.engine()
    with pytest.raises(EngineAway):
        await containers.of_labels(engine, ("a=b",))
    fake.version = "1.41"
    await containers.of_labels(engine, ("a=b",))
    assert await engine.version() == (1, 41)


async def test_what_is_so_already_is_fine() -> None:
    fake = FakeEngine()
    ours = await one(fake)
    fake.on("POST", "/containers/c1/start", status=304).on("POST", "/containers/c1/stop", status=304)
    await containers.start(fake.engine(), ours, hide=())
    await containers.stop(fake.engine(), ours, seconds=1)


async def test_ending_what_vanished_meanwhile_is_fine_and_starting_it_is_not() -> None:
    fake = FakeEngine()
    ours = await one(fake)
    await containers.stop(fake.engine(), ours, seconds=1)
    await containers.remove(fake.engine(), ours)
    with pytest.raises(NotFound):
        await containers.start(fake.engine(), ours, hide=())


async def test_a_container_without_our_labels_is_left_out_even_if_the_engine_lists_it() -> None:
    fake = FakeEngine().on("GET", "/containers/json", body=[{"Id": "c1"}, {"Id": "gone"}])
    fake.on("GET", "/containers/c1/json", body={**inspected(), "Config": {"Labels": {"dev.ops-mcp.group": "dep_1"}}})
    assert await containers.of_group(fake.engine(), "dep_1") == ()


@pytest.mark.parametrize("body", [None, "text", {"x": 1}, [1], [{"Id": 5}], [{"NoId": "x"}]])
async def test_a_list_of_another_form_is_said_not_to_be_understood(body: object) -> None:
    fake = FakeEngine().on("GET", "/containers/json", body=body)
    if body is None:
        assert await containers.of_labels(fake.engine(), ("a=b",)) == ()
        return
    with pytest.raises(ProviderError, match="not understood"):
        await containers.of_labels(fake.engine(), ("a=b",))


async def test_a_create_whose_answer_was_lost_is_found_by_its_name_and_not_repeated() -> None:
    fake = FakeEngine().on("POST", "/containers/create", breaks=True, once=True)
    with pytest.raises(EngineAway):
        await containers.create(fake.engine(), MARKS, {}, hide=(), sleep=anyio.sleep)
    fake.on("POST", "/containers/create", status=409, body={"message": "name in use"})
    fake.on("GET", f"/containers/{MARKS.container}/json", body=inspected("created"))
    made = await containers.create(fake.engine(), MARKS, {}, hide=(), sleep=anyio.sleep)
    assert made.container.id == "c1"


async def test_a_name_that_is_taken_and_cannot_be_seen_yet_is_waited_for() -> None:
    fake = FakeEngine().on("POST", "/containers/create", status=409, body={"message": "name in use"})
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            fake.on("GET", f"/containers/{MARKS.container}/json", body=inspected("created"))

    await containers.create(fake.engine(), MARKS, {}, hide=(), sleep=sleep)
    assert len(waits) == 3


async def test_a_change_is_waited_for_even_when_its_caller_is_cancelled() -> None:
    fake = FakeEngine()
    ours = await one(fake)
    fake.on("POST", "/containers/c1/start", status=204)
    engine = fake.engine()
    await engine.version()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await containers.start(engine, ours, hide=())
    assert ("POST", "/containers/c1/start", {}, b"") in fake.asked


async def test_an_engine_that_was_away_is_waited_for_and_the_step_told_of_it() -> None:
    fake = FakeEngine(down=3)
    engine, waits, told = fake.engine(), [], []

    async def step(interrupted: bool) -> tuple[int, int]:
        told.append(interrupted)
        return await engine.version()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    assert await patiently(step, sleep=sleep, seconds=60) == (1, 41)
    assert told == [False, True, True, True]
    assert waits == [0.5, 1.0, 2.0]


async def test_an_engine_that_stays_away_is_waited_for_only_so_long() -> None:
    fake = FakeEngine(down=1000)
    engine, waits = fake.engine(), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with pytest.raises(EngineAway) as caught:
        await patiently(lambda _: engine.version(), sleep=sleep, seconds=20)
    assert caught.value.temporary
    assert sum(waits) <= 30


async def test_odd_lines_of_a_stream_are_passed_over() -> None:
    lines = ['{"a": 1}', "", "no json", "[1]", '"' + "x" * (2 << 20) + '"', '{"b": 2}']
    fake = FakeEngine().on("GET", "/events", lines=lines)
    async with fake.engine().open("GET", "/events", doing="its events") as response:
        assert [line async for line in lines_of(response, "its events")] == [{"a": 1}, {"b": 2}]


async def test_a_log_driver_that_keeps_nothing_is_unsupported() -> None:
    fake = FakeEngine()
    ours = await one(fake)
    fake.on("GET", "/containers/c1/logs", status=501, body={"message": "configured logging driver does not support reading"})
    with pytest.raises(Unsupported, match="log driver"):
        await logs.page(fake.engine(), [ours], LogQuery(), now=datetime.now(UTC))


async def test_a_log_stream_that_is_none_is_said_not_to_be_understood() -> None:
    fake = FakeEngine()
    ours = await one(fake)
    fake.on("GET", "/containers/c1/logs", raw=b"this is a page of a proxy")
    with pytest.raises(ProviderError, match="not understood"):
        await logs.page(fake.engine(), [ours], LogQuery(), now=datetime.now(UTC))


@pytest.mark.parametrize(
    "endpoint", [Endpoint(host="tcp://h:1", cert="/no", key="/no"), Endpoint(host="tcp://localhost:1", ca="/no")]
)
def test_tls_files_that_cannot_be_read_are_named(endpoint: Endpoint) -> None:
    with pytest.raises(NotConfigured, match=r"\[providers.docker\]"):
        tls_context(endpoint)
