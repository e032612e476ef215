"""What the store does with what it is given: all or nothing, counted once, packed and deleted in time, never broken for good."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.places import ServiceName
from ops_mcp.errors import Conflict, Unavailable
from ops_mcp.logs.anomalies import find
from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import LogSearch
from ops_mcp.store.logs.appending import Batch, Position, Read
from tests.store.logs.stored import NOON, STAGING, Shelf, line

pytestmark = pytest.mark.anyio
WEB = ServiceName("web")


async def test_a_collector_that_goes_on_from_an_old_position_stores_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(line("INFO one"))
    stale = Read(STAGING, "web", "dep_1", Position(), Position("9"), [line("INFO two")])
    beside = Read(STAGING, "web", "dep_2", Position(), Position("1"), [line("INFO three", deployment="dep_2")])
    with pytest.raises(Conflict):
        await shelf.store.append(Batch(NOON, (beside, stale)))
    assert await shelf.texts() == ["one"]
    assert {key[2]: kept.position for key, kept in (await shelf.store.positions()).items()} == {"dep_1": "1"}
    assert sum(count.lines for count in await shelf.store.templates(STAGING, WEB, NOON, NOON + timedelta(minutes=1))) == 1


async def test_templates_are_counted_by_severity_and_go_on_after_a_restart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    for batch in range(6):
        await shelf.add(
            *(line(f"INFO user {batch * 10 + n} logged in from host-{n}", seconds=batch * 60 + n) for n in range(10)),
            line(f"ERROR disk sda{batch} is full", seconds=batch * 60),
        )
        await shelf.reopen()
    found = await shelf.store.templates(STAGING, WEB, NOON, NOON + timedelta(minutes=6))
    assert [(count.template.text, count.severity, count.lines) for count in found] == [
        ("user <*> logged in from host-<*>", "info", 60),
        ("disk sda<*> is full", "error", 6),
    ]
    assert (found[0].first, found[0].last) == (NOON, NOON + timedelta(seconds=309))
    later = await shelf.store.templates(STAGING, None, NOON + timedelta(minutes=5), NOON + timedelta(minutes=6))
    assert [count.lines for count in later] == [10, 1]


async def test_the_history_says_in_which_minutes_nobody_collected(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    for second in range(0, 1200, 5):
        if not 300 <= second < 600:
            shelf.now = NOON + timedelta(seconds=second)
            await shelf.add(*(line(f"INFO tick {n}", seconds=second) for n in range(3)))
    history = await shelf.store.history(STAGING, WEB, until=NOON + timedelta(seconds=1195), buckets=20)
    assert history.start == NOON - timedelta(minutes=1)
    assert sorted(history.unwatched) == [0, 6, 7, 8, 9, 10]
    assert [each.counts for each in history.series] == [[0] + [36] * 5 + [0] * 5 + [36] * 9]
    assert find(history).verdict == "usual"


async def test_what_is_old_is_packed_and_found_as_before_then_deleted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db", LogTerms(compress_after_days=7, keep_days=30))
    await shelf.add(*(line(f"INFO order {number} stored somewhere {'x' * 80}", seconds=number / 10) for number in range(5000)))
    before = (await shelf.store.search(LogSearch(environment=STAGING, text="order 77 "))).records
    assert (await shelf.store.keep()).packed == 0
    shelf.now = NOON + timedelta(days=8)
    kept = await shelf.store.keep()
    assert kept.packed > 0
    assert kept.bytes < 5000 * 110 / 3
    assert (await shelf.store.search(LogSearch(environment=STAGING, text="order 77 "))).records == before
    assert len(await shelf.texts(1000)) == 5000
    shelf.now = NOON + timedelta(days=31)
    kept = await shelf.store.keep()
    assert kept.deleted > 0
    assert kept.deleted_until is not None
    assert await shelf.texts() == []
    assert await shelf.store.templates(STAGING, WEB, NOON, NOON + timedelta(days=1)) == []


async def test_a_store_that_grows_too_large_loses_its_oldest_records_and_its_file_shrinks(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db", LogTerms(most_bytes=2**20))
    for batch in range(40):
        await shelf.add(*(line(f"INFO {batch} {number} {'x' * 100}", seconds=batch * 500 + number) for number in range(500)))
    assert (tmp_path / "logs.db").stat().st_size + (tmp_path / "logs.db-wal").stat().st_size > 2 * 2**20
    while (kept := await shelf.store.keep()).more:
        pass
    assert kept.bytes <= 2**20
    texts = await shelf.texts(1000)
    assert texts[0].startswith("39 499 ")
    assert texts == sorted(texts, key=lambda text: [-int(n) for n in text.split()[:2]])
    await shelf.store.aclose()
    assert (tmp_path / "logs.db").stat().st_size <= 1.2 * 2**20


async def test_a_corrupt_file_is_said_set_aside_and_collecting_goes_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    await shelf.add(line("INFO one"))
    await shelf.store.aclose()
    (tmp_path / "logs.db").write_bytes(b"no database " * 1000)
    shelf.store = shelf.opened()
    with pytest.raises(Unavailable, match="cannot be read: its file is corrupt"):
        await shelf.texts()
    with pytest.raises(Unavailable, match="corrupt"):
        await shelf.add(line("INFO two"))
    assert (tmp_path / "logs.corrupt.db").read_bytes().startswith(b"no database")
    assert await shelf.store.positions() == {}
    shelf.positions.clear()
    await shelf.add(line("INFO two"))
    assert await shelf.texts() == ["two"]


async def test_every_record_is_kept_once_however_its_chunks_are_joined_and_split(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db")
    written: list[str] = []
    for size in (1, 1, 300, 5, 9000, 1, 2000, 2000, 50, 7, 1):
        fresh = [f"n{len(written) + number} {'y' * (number % 90)}" for number in range(size)]
        await shelf.add(*(line(f"INFO {text}", seconds=len(written) + number) for number, text in enumerate(fresh)))
        written += fresh
    assert await shelf.texts(1000, oldest_first=True) == written
    found = await shelf.store.search(LogSearch(environment=STAGING, text="n123", limit=1))
    assert found.matched == Counter("n123" in text for text in written)[True]
