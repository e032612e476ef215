"""Lines out of a stream that never ends, and out of builds that never ran."""

from datetime import timedelta

import anyio
import pytest

from ops_mcp.domain.observations import LogQuery, Severity
from ops_mcp.domain.releases import Placement
from ops_mcp.errors import InvalidArguments, NotFound, ProviderError
from ops_mcp.ports import Logs
from sandbox.vercel import sites
from sandbox.vercel.world import Outcome
from tests.providers.vercel.scene import ONE, START, Scene

pytestmark = pytest.mark.anyio


async def logging(vercel: Scene, *messages: str, level: str = "info") -> Placement:
    placement = await vercel.deploy()
    for message in messages:
        await vercel.hours.sleep(1)
        sites.log(vercel.world, vercel.at(placement.handle), message, level=level, path="/cart", status=500)
    return placement


async def texts(vercel: Scene, placement: Placement, **query: object) -> list[str]:
    page = await vercel.vercel.logs(placement, LogQuery.model_validate(query))
    return [line.text for line in page.items]


async def test_vercel_tells_logs(vercel: Scene) -> None:
    assert isinstance(vercel.vercel, Logs)


async def test_reading_an_endless_stream_stops_at_silence_though_it_is_kept_alive(vercel: Scene) -> None:
    placement = await logging(vercel, "one", "two")
    began = anyio.current_time()
    assert await texts(vercel, placement) == ["GET /cart 500 two", "GET /cart 500 one"]
    assert 0.25 <= anyio.current_time() - began < 3


async def test_reading_stops_at_the_limit(vercel: Scene) -> None:
    placement = await logging(vercel, *map(str, range(20)))
    began = anyio.current_time()
    assert len(await texts(vercel, placement, limit=5)) == 5
    assert anyio.current_time() - began < 0.25


async def test_reading_stops_at_vercels_own_limit_which_is_no_line(vercel: Scene) -> None:
    vercel.world.most_log_rows, vercel.world.lingers = 3, True
    placement = await logging(vercel, *map(str, range(20)))
    began = anyio.current_time()
    assert len(await texts(vercel, placement)) == 3
    assert anyio.current_time() - began < 0.25


async def test_a_stream_that_never_falls_silent_is_left_at_the_deadline(vercel: Scene) -> None:
    placement = await logging(vercel, "first")
    vercel.vercel.listening = type(vercel.vercel.listening)(quiet_seconds=0.5, most_seconds=1.0)
    async with anyio.create_task_group() as group:

        async def chatter() -> None:
            while True:
                sites.log(vercel.world, vercel.at(placement.handle), "again")
                await anyio.sleep(0.05)

        group.start_soon(chatter)
        began = anyio.current_time()
        found = await texts(vercel, placement, limit=1000)
        group.cancel_scope.cancel()
    assert len(found) > 5
    assert 0.9 <= anyio.current_time() - began < 3


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("trace", Severity.trace),
        ("debug", Severity.debug),
        ("info", Severity.info),
        ("warning", Severity.warning),
        ("error", Severity.error),
        ("fatal", Severity.critical),
    ],
)
async def test_levels_are_told_in_our_words(vercel: Scene, level: str, severity: Severity) -> None:
    placement = await logging(vercel, "said", level=level)
    page = await vercel.vercel.logs(placement, LogQuery())
    assert [(line.severity, line.origin) for line in page.items] == [(severity, "serverless")]
    assert page.next_cursor is None


async def test_lines_are_picked_by_text_severity_and_time(vercel: Scene) -> None:
    placement = await logging(vercel, "an apple", "a PEAR")
    sites.log(vercel.world, vercel.at(placement.handle), "a bad pear", level="error")
    assert await texts(vercel, placement, text="pear") == ["GET / 200 a bad pear", "GET /cart 500 a PEAR"]
    assert await texts(vercel, placement, severity="error") == ["GET / 200 a bad pear"]
    middle = vercel.hours.now - timedelta(seconds=0.5)
    assert await texts(vercel, placement, until=middle) == ["GET /cart 500 an apple"]
    assert len(await texts(vercel, placement, since=middle)) == 2


async def test_lines_from_strangers_are_made_harmless(vercel: Scene) -> None:
    placement = await logging(vercel, "\x1b[31mred\x1b[0m\u202e\x00" + "x" * 9000)
    found = (await texts(vercel, placement))[0]
    assert found.startswith("GET /cart 500 redx")
    assert len(found) == 4000


async def test_a_stream_that_breaks_off_gives_what_came_before(vercel: Scene) -> None:
    vercel.simulator.trouble.add("getRuntimeLogs", "reset")
    placement = await logging(vercel, "one")
    with pytest.raises(ProviderError) as caught:
        await texts(vercel, placement)
    assert caught.value.temporary
    assert await texts(vercel, placement) == ["GET /cart 500 one"]


async def test_a_stream_that_is_refused_is_told_as_any_refusal(vercel: Scene) -> None:
    placement = await logging(vercel)
    vercel.simulator.trouble.add("getRuntimeLogs", "status", status=429, seconds=20)
    with pytest.raises(ProviderError) as caught:
        await texts(vercel, placement)
    assert caught.value.retry_after_seconds == 20


async def test_where_nothing_ever_ran_the_build_is_told_newest_first_and_paged(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="fails", output=tuple(f"step {n}" for n in range(8)))
    placement = vercel.placed()
    with pytest.raises(ProviderError):
        await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    found: list[str] = []
    cursor = None
    while True:
        page = await vercel.vercel.logs(placement, LogQuery(limit=4, cursor=cursor))
        found += [line.text for line in page.items]
        assert {line.origin for line in page.items} <= {"build"}
        if (cursor := page.next_cursor) is None:
            break
    assert found[:2] == ['Command "npm run build" exited with 1', "Error: the build does not compile"]
    assert found[2:10] == [f"step {n}" for n in reversed(range(8))]
    assert found[-1].startswith("Cloning")
    assert len(found) == 13


async def test_the_build_is_picked_by_time_and_severity_too(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="fails")
    placement = vercel.placed()
    with pytest.raises(ProviderError):
        await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    bad = ['Command "npm run build" exited with 1', "Error: the build does not compile"]
    assert await texts(vercel, placement, severity="error") == bad
    assert await texts(vercel, placement, until=START) == []


@pytest.mark.parametrize("cursor", ["nonsense", "build-", "build-x", "build-" + "1" * 20])
async def test_a_cursor_that_was_never_given_is_refused(vercel: Scene, cursor: str) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="fails")
    placement = vercel.placed()
    with pytest.raises(ProviderError):
        await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    with pytest.raises(InvalidArguments, match="cursor"):
        await texts(vercel, placement, cursor=cursor)


async def test_runtime_logs_have_no_older_ones_to_go_on_with(vercel: Scene) -> None:
    with pytest.raises(InvalidArguments, match="cursor"):
        await texts(vercel, await logging(vercel, "one"), cursor="build-1")


async def test_a_deployment_that_vercel_does_not_have_has_no_logs(vercel: Scene) -> None:
    with pytest.raises(NotFound):
        await texts(vercel, vercel.placed())
