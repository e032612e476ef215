"""Lines of a deployment: newest first, none twice, none missing between pages, and none that was not asked for."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.domain.releases import Placement
from ops_mcp.errors import InvalidArguments, ProviderError
from ops_mcp.providers.railway.logs import filter_of
from sandbox.railway import filters
from sandbox.railway.world import Printed
from tests.providers.railway.house import START, V1, House, house

anyio_mark = pytest.mark.anyio


async def printed(here: House, *lines: Printed) -> Placement:
    """A running deployment that has printed exactly these, some time ago."""
    placement = await here.deployed(1, V1)
    here.there(placement.handle).lines[:] = lines
    here.time.pass_by(3600)
    return placement


def numbered(count: int, *, same_moment: bool = False, level: str = "info") -> list[Printed]:
    step = timedelta() if same_moment else timedelta(milliseconds=250)
    return [Printed(START + step * number, f"line {number}", level, "instance-abcdefgh-1") for number in range(count)]


async def paged(here: House, placement: Placement, query: LogQuery) -> list[list[LogLine]]:
    pages: list[list[LogLine]] = []
    cursor: str | None = None
    for _ in range(100):
        page = await here.provider.logs(placement, query.evolve(cursor=cursor))
        pages.append(list(page.items))
        cursor = page.next_cursor
        if cursor is None:
            return pages
    raise AssertionError("it never ends")


@anyio_mark
async def test_the_newest_lines_come_first_and_no_more_than_were_asked_for(tmp_path: Path) -> None:
    """The real one answers one more than it was asked for."""
    here = house(tmp_path)
    placement = await printed(here, *numbered(20))
    page = await here.provider.logs(placement, LogQuery(limit=5))
    assert [line.text for line in page.items] == [f"line {n}" for n in (19, 18, 17, 16, 15)]
    assert page.items[0].origin == "instance instance"
    assert page.items[0].severity is Severity.info
    assert page.items[0].at == START + timedelta(milliseconds=250 * 19)


@anyio_mark
@pytest.mark.parametrize("same_moment", [False, True])
@pytest.mark.parametrize(("count", "limit"), [(1, 1), (5, 5), (6, 5), (23, 5), (100, 7)])
async def test_pages_hold_every_line_once(tmp_path: Path, count: int, limit: int, same_moment: bool) -> None:
    here = house(tmp_path)
    placement = await printed(here, *numbered(count, same_moment=same_moment))
    pages = await paged(here, placement, LogQuery(limit=limit))
    told = [line.text for page in pages for line in page]
    assert sorted(told) == sorted(f"line {n}" for n in range(count))
    assert all(len(page) == limit for page in pages[:-1])
    if not same_moment:
        assert told == [f"line {n}" for n in reversed(range(count))]


@anyio_mark
async def test_lines_are_of_the_time_that_was_asked_for(tmp_path: Path) -> None:
    here = house(tmp_path)
    placement = await printed(here, *numbered(20))
    query = LogQuery(since=START + timedelta(seconds=1), until=START + timedelta(seconds=2))
    assert [line.text for line in (await here.provider.logs(placement, query)).items] == ["line 7", "line 6", "line 5", "line 4"]


@anyio_mark
async def test_lines_are_at_least_as_bad_as_was_asked_for(tmp_path: Path) -> None:
    here = house(tmp_path)
    levels = ("trace", "debug", "info", "warn", "warning", "error", "err", "fatal", "curious")
    lines = [Printed(START + timedelta(seconds=n), level, level) for n, level in enumerate(levels)]
    placement = await printed(here, *lines)

    async def told(severity: Severity | None) -> list[str]:
        page = await here.provider.logs(placement, LogQuery(severity=severity))
        return [line.text for line in reversed(page.items)]

    assert await told(None) == list(levels)
    assert await told(Severity.info) == ["info", "warn", "warning", "error", "err", "fatal"]
    assert await told(Severity.warning) == ["warn", "warning", "error", "err", "fatal"]
    assert await told(Severity.critical) == ["fatal"]


@anyio_mark
@pytest.mark.parametrize(
    "text",
    [
        "payment failed",
        'said "no"',
        "PAYMENT",
        "a) OR (b",
        "@level:error",
        "-minus",
        "back\\slash",
        '" OR @level:info OR "',
        "tab\there",
    ],
)
async def test_a_text_is_looked_for_as_it_is_written_and_never_as_a_filter(tmp_path: Path, text: str) -> None:
    here = house(tmp_path)
    wanted = Printed(START, f"before {text.lower()} after")
    placement = await printed(here, Printed(START, "something else"), wanted, Printed(START, "level error info payment x failed"))
    page = await here.provider.logs(placement, LogQuery(text=text))
    assert wanted.text in [line.text for line in page.items]
    assert all(text.lower() in line.text.lower() for line in page.items)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=30), st.sampled_from([None, *Severity]))
def test_whatever_the_text_the_filter_is_readable_and_lets_the_line_through(text: str, severity: Severity | None) -> None:
    written = filter_of(LogQuery(text=text, severity=severity))
    if written is not None:
        assert filters.read(written)(Printed(START, f"x {text} y", "critical"))


@anyio_mark
async def test_where_it_never_ran_its_build_is_told(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="fails_build", builds_saying=("fetching", "error: no such module"))
    with pytest.raises(ProviderError):
        await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    placement = here.placement(1, V1, handle=here.told.handle)
    pages = await paged(here, placement, LogQuery(limit=2))
    assert [line.text for page in pages for line in page] == ["the build failed", "error: no such module", "fetching"]
    assert {line.origin for page in pages for line in page} == {"build"}
    assert pages[0][0].severity is Severity.error


@anyio_mark
async def test_lines_of_a_young_deployment_are_waited_for_because_they_lag(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.log_lag = 3.0
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    page = await here.provider.logs(here.placement(1, V1, handle=found.handle), LogQuery())
    assert [line.text for line in page.items] == ["started 111111111111"]
    assert here.time.slept[-2:] == [1.0, 1.5]


@anyio_mark
async def test_an_old_deployment_that_says_nothing_is_asked_once(tmp_path: Path) -> None:
    here = house(tmp_path)
    placement = await printed(here)
    before = here.railway.budget.count("LinesOfRun")
    assert not (await here.provider.logs(placement, LogQuery())).items
    assert here.railway.budget.count("LinesOfRun") == before + 1


@anyio_mark
async def test_a_page_narrowed_here_is_filled_from_further_back(tmp_path: Path) -> None:
    """What the filter at Railway lets through and we do not must not make a page look like the last one."""
    here = house(tmp_path)
    lines = [Printed(START + timedelta(seconds=n), "needle" if n < 3 else f"hay {n}") for n in range(300)]
    placement = await printed(here, *lines)
    pages = await paged(here, placement, LogQuery(severity=Severity.info, text="needle", limit=2))
    assert sum(len(page) for page in pages) == 3


@anyio_mark
async def test_a_cursor_of_somebody_else_is_refused(tmp_path: Path) -> None:
    here = house(tmp_path)
    placement = await printed(here, *numbered(3))
    for cursor in (
        "",
        "run x 1",
        "run 2026-13-99T00:00:00Z 1",
        "elsewhere 2026-11-20T12:00:00Z 1",
        "run 2026-11-20T12:00:00Z 1 --",
    ):
        with pytest.raises(InvalidArguments, match="cursor"):
            await here.provider.logs(placement, LogQuery(cursor=cursor))


@anyio_mark
async def test_a_deployment_that_railway_does_not_know_has_no_lines(tmp_path: Path) -> None:
    here = house(tmp_path)
    assert (await here.provider.logs(here.placement(1, V1), LogQuery())).items == ()
