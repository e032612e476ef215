"""Searches of the store: the same records as a plain filter over all of them gives, in the same order, page by page."""

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.domain.observations import Severity
from ops_mcp.errors import InvalidArguments
from ops_mcp.logs.records import LogRecord
from ops_mcp.observing import LogSearch
from ops_mcp.store.logs import appending
from ops_mcp.store.logs.searching import Limits
from tests.store.logs.stored import NOON, STAGING, Shelf, line

pytestmark = pytest.mark.anyio

WORDS = ("alpha", "ALPHA", "Straße", "STRASSE", "ﬁn", "İstanbul", "K", "beta", "a\tb", "päck")
LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "")


@st.composite
def _records(draw: st.DrawFn) -> list[LogRecord]:
    count = draw(st.integers(0, 40))
    return [
        line(
            f"{draw(st.sampled_from(LEVELS))} {draw(st.sampled_from(WORDS))} n{number}",
            seconds=draw(st.integers(-5, 5)) + number + number / 1000,
            origin=draw(st.sampled_from(("out", "err"))),
        )
        for number in range(count)
    ]


@settings(max_examples=25, deadline=None)
@given(
    records=_records(),
    batches=st.integers(1, 6),
    text=st.sampled_from((None, "alpha", "strasse", "FIN", "i", "k", "ß", "nothing", "n1")),
    severity=st.sampled_from((None, Severity.info, Severity.error)),
    window=st.tuples(st.integers(-5, 40), st.integers(-5, 45)),
    oldest_first=st.booleans(),
    limit=st.integers(1, 12),
)
def test_pages_hold_what_a_filter_over_all_records_leaves_in_the_order_of_time(
    records: list[LogRecord],
    batches: int,
    text: str | None,
    severity: Severity | None,
    window: tuple[int, int],
    oldest_first: bool,
    limit: int,
) -> None:
    since, until = (NOON + timedelta(seconds=each) for each in window)
    wanted = [
        record
        for record in records
        if since <= record.time < until
        and (text is None or text.casefold() in record.raw.casefold())
        and (severity is None or record.severity.rank >= severity.rank)
    ]
    wanted.sort(key=lambda record: record.time, reverse=not oldest_first)

    async def searched() -> Sequence[str]:
        with tempfile.TemporaryDirectory() as directory:
            shelf = Shelf(Path(directory) / "logs.db")
            size = -(-max(1, len(records)) // batches)
            for begin in range(0, len(records), size):
                await shelf.add(*records[begin : begin + size])
            asked = {"text": text, "severity": severity, "since": since, "until": until, "oldest_first": oldest_first}
            found = await shelf.pages(limit, **asked)
            whole = await shelf.store.search(LogSearch.model_validate({"environment": STAGING, **asked}))
            assert whole.matched == len(wanted)
            assert whole.counted
            await shelf.store.aclose()
            return [record.raw for page in found for record in page]

    found = asyncio.run(searched())
    assert sorted(found) == sorted(record.raw for record in wanted)
    times = {record.raw: record.time for record in wanted}
    assert [times[raw] for raw in found] == [record.time for record in wanted]


async def test_a_file_that_is_not_there_answers_nothing_and_is_not_made(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    assert (await shelf.store.search(LogSearch(environment=STAGING))).records == ()
    assert await shelf.store.positions() == {}
    assert await shelf.store.templates(STAGING, None, NOON, NOON) == ()
    assert len((await shelf.store.history(STAGING, "web", until=NOON)).unwatched) == 360  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


async def test_a_record_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    records = [
        line('INFO {"user": "é", "depth": {"n": 1}}', seconds=1),
        line("ERROR boom\nTraceback (most recent call last):\n  here\nValueError: x", seconds=2, origin="stderr"),
        line('level=warn msg="a b" n=3', seconds=3),
    ]  # fmt: skip
    await shelf.add(*records)
    await shelf.reopen()
    found = (await shelf.store.search(LogSearch(environment=STAGING, oldest_first=True))).records
    assert list(found) == records


async def test_words_written_in_escapes_are_found_as_they_are_read(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    record = line("")._replace(
        raw='{"msg": "caf\\u00e9 \\"now\\"", "name": "J\\u00fcrgen"}', message='café "now"', fields={"name": "Jürgen"}
    )
    await shelf.add(record)
    assert await shelf.texts(text='CAFÉ "now"') == ['café "now"']
    assert await shelf.texts(fields={"name": "Jürgen"}) == ['café "now"']


async def test_fields_are_compared_as_json_writes_them(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    for number, fields in enumerate(
        ('"status": 500, "ok": true', '"status": "500"', '"status": 5000', '"other": 500, "status": 1')
    ):
        await shelf.add(line("", seconds=number)._replace(raw=f'{{"msg": "m{number}", {fields}}}', message=f"m{number}"))
    assert await shelf.texts(fields={"status": "500"}) == ["m1", "m0"]
    assert await shelf.texts(fields={"status": "500", "ok": "true"}) == ["m0"]


async def test_pages_stay_as_they_are_while_newer_and_older_records_arrive(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(*(line(f"INFO n{number:02d}", seconds=number) for number in range(20)))
    first = await shelf.store.search(LogSearch(environment=STAGING, limit=8))
    await shelf.add(*(line(f"INFO later {number}", seconds=100 + number) for number in range(5000)))
    second = await shelf.store.search(LogSearch(environment=STAGING, limit=8, cursor=first.next_cursor))
    assert [record.message for record in second.records] == [f"n{number:02d}" for number in range(11, 3, -1)]
    assert (first.matched, second.matched) == (20, 20)


@pytest.mark.parametrize("cursor", ["", "x", "n1.2.3", "n1.1.1.1x", "o1.1.1.1"])
async def test_a_cursor_that_is_none_or_of_the_other_order_is_refused(tmp_path: Path, cursor: str) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(line("INFO x"))
    with pytest.raises(InvalidArguments, match="cursor"):
        await shelf.store.search(LogSearch(environment=STAGING, cursor=cursor))


async def test_a_search_without_time_left_shows_what_is_sure_and_goes_on_without_a_gap(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db", limits=Limits(search_seconds=0, count_seconds=0))
    big = appending.FULL_BYTES // 40
    for part in range(3):
        await shelf.add(*(line(f"INFO n{part}.{number:06d} {'x' * 20}", seconds=part * big + number) for number in range(big)))
    found = [record.message for page in await shelf.pages(3000) for record in page]
    assert len(found) == len(set(found)) == 3 * big
    assert found == sorted(found, reverse=True)
    first = await shelf.store.search(LogSearch(environment=STAGING, limit=10))
    assert not first.counted
    assert len(first.records) == 10


async def test_a_regular_expression_is_matched_in_the_whole_line(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(*(line(f"INFO took {number} ms", seconds=number) for number in range(200)))
    assert await shelf.texts(pattern=r"took 1[0-3]\d ms$", text="MS") == [f"took {n} ms" for n in range(139, 99, -1)]
    with pytest.raises(InvalidArguments, match="no regular expression"):
        await shelf.store.search(LogSearch(environment=STAGING, pattern="("))


async def test_an_expression_that_explodes_is_given_up_while_the_loop_goes_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(line("INFO " + "a" * 200))
    ticks = 0
    async with anyio.create_task_group() as group:

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.sleep(0.01)
                ticks += 1

        group.start_soon(tick)
        with pytest.raises(InvalidArguments, match="takes too long"):
            await shelf.store.search(LogSearch(environment=STAGING, pattern="(a+)+$x"))
        group.cancel_scope.cancel()
    assert ticks > 20


async def test_a_search_that_nobody_waits_for_any_more_is_given_up(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(line("INFO " + "a" * 200))
    with anyio.move_on_after(0.2) as scope:
        await shelf.store.search(LogSearch(environment=STAGING, pattern="(a+)+$x"))
    assert scope.cancelled_caught
    assert await shelf.texts() == ["a" * 200]
