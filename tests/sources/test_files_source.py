"""Log files by glob: order over rotation and packing, filters, pages, links that lead out, and what is hostile in a line."""

import contextlib
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.domain.observations import Severity
from ops_mcp.errors import InvalidArguments, NotConfigured
from ops_mcp.sources._scanning import Bounds
from ops_mcp.sources.files import build
from tests.sources.filed import NOON, WEB, every, line, source, texts, touch, wanted, write

pytestmark = pytest.mark.anyio


async def test_records_come_newest_first_over_rotated_and_packed_files(tmp_path: Path) -> None:
    write(tmp_path / "web/a.log", line("four", minutes_ago=1), line("five", minutes_ago=0.5))
    write(tmp_path / "web/a.log.1", line("three", minutes_ago=10), minutes_ago=9)
    write(tmp_path / "web/a.log.2.gz", line("one", minutes_ago=30), line("two", minutes_ago=20), minutes_ago=19)
    found = await source(tmp_path).search(wanted())
    assert texts(found) == ["five", "four", "three", "two", "one"]
    assert (found.matched, found.counted, found.next_cursor) == (5, True, None)
    assert {(record.service, record.environment, record.deployment) for record in found.records} == {("web", "staging", "")}
    assert texts(await source(tmp_path).search(wanted(oldest_first=True))) == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["c", "b", "a disk"]),
        ({"since": NOON - timedelta(minutes=15)}, ["c", "b"]),
        ({"until": NOON - timedelta(minutes=5)}, ["b", "a disk"]),
        ({"since": NOON - timedelta(minutes=7), "until": NOON - timedelta(minutes=1)}, ["b"]),
        ({"text": "DISK"}, ["a disk"]),
        ({"text": "d.sk"}, []),
        ({"pattern": "d.sk$"}, ["a disk"]),
        ({"pattern": "(?i)DI+SK"}, ["a disk"]),
        ({"pattern": "DISK"}, []),
        ({"severity": Severity.warning}, ["c", "b"]),
        ({"severity": Severity.critical}, []),
        ({"limit": 1}, ["c"]),
    ],
)
async def test_only_what_was_asked_for_is_found(tmp_path: Path, asked: dict[str, Any], expected: list[str]) -> None:
    write(
        tmp_path / "web/a.log",
        line("a disk", minutes_ago=50),
        line("b", minutes_ago=7, level="WARN"),
        line("c", minutes_ago=1, level="ERROR"),
    )
    assert texts(await source(tmp_path).search(wanted(**asked))) == expected


async def test_fields_are_compared_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path / "web/a.log", '{"msg":"one","status":502,"ok":true}', '{"msg":"two","status":200}', "status=502 msg=three")
    files = source(tmp_path)
    assert texts(await files.search(wanted(fields={"status": "502"}))) == ["three", "one"]
    assert texts(await files.search(wanted(fields={"status": "502", "ok": "true"}))) == ["one"]
    assert texts(await files.search(wanted(fields={"absent": ""}))) == []


async def test_a_trace_is_one_record_with_the_time_of_its_first_line(tmp_path: Path) -> None:
    trace = [
        line("failed", level="ERROR"),
        "Traceback (most recent call last):",
        '  File "x.py", line 3, in pay',
        "ValueError: no",
    ]
    write(tmp_path / "web/a.log", line("before", minutes_ago=2), *trace, line("after", minutes_ago=0.5))
    found = await source(tmp_path).search(wanted(text="ValueError", since=NOON - timedelta(minutes=1.5)))
    [record] = found.records
    assert record.raw.splitlines() == trace
    assert record.severity is Severity.error


async def test_a_line_without_a_time_has_that_of_the_line_above_it(tmp_path: Path) -> None:
    write(tmp_path / "web/a.log", line("old", minutes_ago=60), "no time here", line("new", minutes_ago=1), "nor here")
    found = await source(tmp_path).search(wanted(since=NOON - timedelta(minutes=5)))
    assert texts(found) == ["nor here", "new"]


async def test_pages_neither_repeat_nor_miss_a_record_while_files_are_rotated_packed_and_written(tmp_path: Path) -> None:
    log = tmp_path / "web/a.log"
    write(log, *(line(f"n{number:03}", minutes_ago=100 - number) for number in range(100)))
    write(tmp_path / "web/a.log.1", *(line(f"m{number:03}", minutes_ago=300 - number) for number in range(100)), minutes_ago=150)
    files, told, search = source(tmp_path), list[str](), wanted(limit=30)
    for page in range(20):
        found = await files.search(search)
        told += texts(found)
        assert found.matched == 200
        if found.next_cursor is None:
            break
        search = search.evolve(cursor=found.next_cursor)
        if page == 1:
            content = (tmp_path / "web/a.log.1").read_text(encoding="utf-8").splitlines()
            (tmp_path / "web/a.log.1").unlink()
            write(tmp_path / "web/a.log.2.gz", *content, minutes_ago=150)
            log.rename(tmp_path / "web/a.log.1")
            write(log, line("fresh", minutes_ago=0))
    assert told == [f"n{number:03}" for number in range(99, -1, -1)] + [f"m{number:03}" for number in range(99, -1, -1)]


async def test_pages_through_lines_without_times_hold_while_their_file_grows(tmp_path: Path) -> None:
    log = tmp_path / "web/a.log"
    write(log, *(f"plain {number}" for number in range(10)), minutes_ago=9)
    files = source(tmp_path)
    first = await files.search(wanted(limit=4))
    with log.open("a", encoding="utf-8") as out:
        out.write("plain new\n")
    touch(log, minutes_ago=1)
    rest = await every(files, wanted(limit=4, cursor=first.next_cursor))
    assert texts(first) + rest == [f"plain {number}" for number in range(9, -1, -1)]


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_a_file_of_several_pieces_is_read_whole_and_in_order(tmp_path: Path, oldest_first: bool) -> None:
    filler, count = "some words " * 1000, 200
    write(tmp_path / "web/a.log", *(line(f"n{n} {filler}", minutes_ago=count - n) for n in range(count)))
    found = await source(tmp_path, bounds=Bounds(piece=300_000)).search(wanted(limit=10_000, oldest_first=oldest_first))
    numbers = [int(text.split()[0][1:]) for text in texts(found)]
    assert found.matched == count
    assert numbers == sorted(range(count), reverse=not oldest_first)


async def test_what_leads_out_of_the_directory_is_not_read(tmp_path: Path) -> None:
    logs, secret = tmp_path / "logs", tmp_path / "secret.log"
    write(secret, line("private"))
    write(logs / "web/real.log", line("public"))
    (logs / "web/out.log").symlink_to(secret)
    (logs / "web/in.log").symlink_to(logs / "web/real.log")
    (logs / "sub").symlink_to(tmp_path)
    os.mkfifo(logs / "web/pipe.log")
    files = source(logs, {**WEB, "files": ["web/*.log", "sub/*.log", "**/*.log"]})
    with anyio.fail_after(5):
        assert texts(await files.search(wanted())) == ["public"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"directory": "relative"}, "directory is no absolute path"),
        ({"logs": [{**WEB, "files": ["../*.log"]}]}, "leaves the directory"),
        ({"logs": [{**WEB, "files": ["/etc/*"]}]}, "leaves the directory"),
        ({"logs": []}, "logs"),
        ({"path": "x"}, "path"),
        ({"logs": [{**WEB, "environment": "No Name"}]}, "logs.0.environment"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_field(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    table = {"directory": str(tmp_path), "logs": [WEB], **changed}
    with pytest.raises(NotConfigured) as refused:
        build("old", table, redact=str)
    assert said in refused.value.message
    assert "[sources.old]" in refused.value.message


async def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="cannot be read: No such file"):
        await source(tmp_path / "gone").search(wanted())


async def test_hostile_lines_are_cleaned_redacted_and_bounded(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    write(
        tmp_path / "web/a.log",
        b"\x1b[31mred\x1b[0m \x00 caf\xe9 " + token.encode(),
        b"long " + b"y" * 10_000_000 + b" end",
        "a" * 65_515 + " " + token + " " + "b" * 100_000,
        line("last"),
    )
    found = await source(tmp_path).search(wanted(limit=10))
    raws = [record.raw for record in found.records]
    assert len(raws) == 4
    assert all(len(raw) <= 65_536 for raw in raws)
    assert "ghp_" not in "".join(raws)
    assert [raw[:10] for raw in raws] == ["aaaaaaaaaa", "long yyyyy", "red  caf\ufffd ", "2026-11-20"]
    assert raws[2].startswith("red  caf\ufffd [REDACTED:github:")


async def test_what_is_hidden_can_be_found_neither_by_text_nor_pattern_nor_count(tmp_path: Path) -> None:
    write(tmp_path / "web/a.log", "login with password=opensesame4711 done", "opened the door")
    files = source(tmp_path)
    for asked in ({"text": "opensesame"}, {"text": "4711"}, {"pattern": "opens.same"}, {"pattern": "4711"}):
        found = await files.search(wanted(**asked, limit=1))
        assert (found.records, found.matched, found.counted, found.next_cursor) == ((), 0, True, None)
    assert texts(await files.search(wanted(text="open"))) == ["opened the door"]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}$", "a*a*a*a*a*a*b"])
async def test_a_pattern_that_explodes_elsewhere_ends_in_time_or_is_refused(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "web/a.log", *("a" * 5000 + "!" for _ in range(20)))
    with anyio.fail_after(20):
        found: object = None
        with contextlib.suppress(InvalidArguments):
            found = (await source(tmp_path).search(wanted(pattern=pattern))).records
        assert not found


@pytest.mark.parametrize("pattern", ["(", "a)(b", "[", "*", "\\", "(?=x)", "a{2000}"])
async def test_a_pattern_that_cannot_be_read_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        await source(tmp_path).search(wanted(pattern=pattern))
    assert refused.value.details == {"fields": ["pattern"]}


async def test_a_search_that_takes_too_long_says_that_it_did_not_count_all(tmp_path: Path) -> None:
    write(tmp_path / "web/a.log", *(line(f"n{number}") for number in range(1000)))
    found = await source(tmp_path, bounds=Bounds(seconds=0.0)).search(wanted())
    assert not found.counted


async def test_a_search_that_nobody_waits_for_ends_and_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    row = (line("x" * 150) + "\n") * 5000
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a.log").write_text(row * 20, encoding="utf-8")
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.01)
            turns += 1

    before = threading.active_count()
    async with anyio.create_task_group() as group:
        group.start_soon(turning)
        with pytest.raises(TimeoutError), anyio.fail_after(0.5):
            await source(tmp_path).search(wanted())
        group.cancel_scope.cancel()
    assert turns >= 5
    assert threading.active_count() <= before + 2


async def test_a_service_or_environment_that_is_not_the_source_s_is_not_covered(tmp_path: Path) -> None:
    files = source(tmp_path, WEB, {**WEB, "service": "docs", "files": ["docs/*"]})
    assert files.covers(wanted())
    assert files.covers(wanted(service=None))
    assert not files.covers(wanted(service="other"))
    assert not files.covers(wanted(environment="production"))
    assert not files.covers(wanted(deployment="dep_12345678"))
    write(tmp_path / "web/a.log", line("of web", minutes_ago=2))
    write(tmp_path / "docs/a.log", line("of docs", minutes_ago=1))
    found = await files.search(wanted(service=None))
    assert [(record.service, record.message) for record in found.records] == [("docs", "of docs"), ("web", "of web")]
