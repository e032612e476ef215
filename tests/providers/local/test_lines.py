"""Logs of one deployment: newest first, by time, text and severity, with cursors that neither new lines nor rotation move."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.ports import Logs, Page
from ops_mcp.providers.local.lines import page, tail
from tests.providers.local.fakes import World, at

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stamped(minutes: float, text: str) -> str:
    return f"{(NOON + timedelta(minutes=minutes)).isoformat().replace('+00:00', 'Z')} {text}"


def write(logs: Path, name: str, *lines: str, end: str = "\n") -> Path:
    logs.mkdir(exist_ok=True)
    with (logs / name).open("a", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines[:-1]) + "".join(line + end for line in lines[-1:]))
    return written(logs / name, NOON + timedelta(days=1))


def written(file: Path, moment: datetime) -> Path:
    """Make the last write to the file be of that moment."""
    os.utime(file, (moment.timestamp(), moment.timestamp()))
    return file


def rotate(logs: Path) -> None:
    """As the keeper does it: each file takes the next older name, the fifth is gone."""
    for number in range(4, 0, -1):
        newer = logs / ("current.log" if number == 1 else f"{number - 1}.log")
        if newer.exists():
            newer.replace(logs / f"{number}.log")
    (logs / "current.log").touch()


def texts(found: Page[LogLine]) -> list[str]:
    return [line.text for line in found.items]


def all_pages(logs: Path, limit: int) -> list[str]:
    found = page(logs, LogQuery(limit=limit))
    every = texts(found)
    while found.next_cursor:
        found = page(logs, LogQuery(limit=limit, cursor=found.next_cursor))
        assert len(found.items) <= limit
        every += texts(found)
    return every


def test_lines_come_newest_first_over_all_files_with_their_own_time_and_severity(tmp_path: Path) -> None:
    write(tmp_path, "2.log", stamped(0, "ERROR oldest"))
    write(tmp_path, "1.log", '{"time": "2026-01-01T12:01:00Z", "level": "warn", "msg": "middle"}')
    write(tmp_path, "current.log", stamped(2, "INFO newer"), "newest, of no time")
    found = page(tmp_path, LogQuery())
    assert [(line.at, line.severity) for line in found.items] == [
        (None, Severity.unknown),
        (NOON + timedelta(minutes=2), Severity.info),
        (NOON + timedelta(minutes=1), Severity.warning),
        (NOON, Severity.error),
    ]
    assert found.next_cursor is None


def test_what_has_no_log_yet_has_no_lines(tmp_path: Path) -> None:
    assert page(tmp_path / "nothing", LogQuery()) == Page(())


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_together_are_every_line_once(tmp_path: Path, limit: int) -> None:
    for name, numbers in (("2.log", range(5)), ("1.log", range(5, 6)), ("current.log", range(6, 12))):
        write(tmp_path, name, *(f"line {number}" for number in numbers))
    assert all_pages(tmp_path, limit) == [f"line {number}" for number in range(11, -1, -1)]


@given(
    files=st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=9), max_size=6), max_size=3
    ),
    filler=st.sampled_from([0, 1, 32_000, 65_534, 65_535, 65_536, 70_000]),
    limit=st.integers(1, 5),
)
def test_pages_together_are_every_line_once_wherever_blocks_end(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], filler: int, limit: int
) -> None:
    logs = tmp_path_factory.mktemp("logs")
    wanted: list[str] = []
    for name, lines in zip(("current.log", "1.log", "2.log"), files, strict=False):
        filled = [line + "." * filler for line in lines]
        write(logs, name, *filled)
        wanted += reversed(filled)
    assert all_pages(logs, limit) == wanted
    assert tail(logs, 100) == [line[:2000] for line in reversed(wanted)]


def test_a_cursor_goes_on_where_its_page_ended_though_lines_came_and_files_were_rotated(tmp_path: Path) -> None:
    write(tmp_path, "current.log", *(f"line {number}" for number in range(10)))
    first = page(tmp_path, LogQuery(limit=3))
    write(tmp_path, "current.log", "line 10")
    rotate(tmp_path)
    write(tmp_path, "current.log", "line 11")
    rotate(tmp_path)
    second = page(tmp_path, LogQuery(limit=3, cursor=first.next_cursor))
    assert texts(first) == ["line 9", "line 8", "line 7"]
    assert texts(second) == ["line 6", "line 5", "line 4"]


def test_a_cursor_at_the_first_line_of_a_file_goes_on_in_the_older_one(tmp_path: Path) -> None:
    write(tmp_path, "1.log", "older")
    write(tmp_path, "current.log", "newer")
    first = page(tmp_path, LogQuery(limit=1))
    rotate(tmp_path)
    assert texts(page(tmp_path, LogQuery(cursor=first.next_cursor))) == ["older"]


def test_a_cursor_whose_lines_are_gone_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "current.log", "one", "two", "three")
    cursor = page(tmp_path, LogQuery(limit=1)).next_cursor
    for _ in range(5):
        rotate(tmp_path)
    with pytest.raises(NotFound, match="no longer kept") as caught:
        page(tmp_path, LogQuery(cursor=cursor))
    assert "Leave cursor out" in caught.value.hint


def test_a_new_file_that_got_the_number_of_a_gone_one_is_not_taken_for_it(tmp_path: Path) -> None:
    file = write(tmp_path, "current.log", "one", "two", "three")
    cursor = page(tmp_path, LogQuery(limit=1)).next_cursor
    with file.open("r+", encoding="utf-8") as same_number:
        same_number.truncate()
        same_number.write("six\nseven\neight\n")
    with pytest.raises(NotFound, match="no longer kept"):
        page(tmp_path, LogQuery(cursor=cursor))


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "1.2.3", "../../etc/passwd", "1.2." + "g" * 16, "1.2." + "a" * 17])
def test_a_cursor_that_is_none_of_ours_is_refused(tmp_path: Path, cursor: str) -> None:
    write(tmp_path, "current.log", "one")
    with pytest.raises(InvalidArguments, match="cursor"):
        page(tmp_path, LogQuery(cursor=cursor))


def test_only_what_was_asked_for_is_there(tmp_path: Path) -> None:
    write(
        tmp_path,
        "current.log",
        stamped(0, "ERROR too early"),
        stamped(1, "error: Disk FULL on a"),
        stamped(2, "INFO disk full on b"),
        stamped(3, "CRITICAL disk full on c"),
        stamped(4, "ERROR something else"),
        stamped(5, "ERROR disk full too late"),
    )
    since, until = NOON + timedelta(minutes=1), NOON + timedelta(minutes=5)
    asked = LogQuery(since=since, until=until, text="Disk full", severity=Severity.error)
    assert [text[21:] for text in texts(page(tmp_path, asked))] == ["CRITICAL disk full on c", "error: Disk FULL on a"]
    first = page(tmp_path, asked.evolve(limit=1))
    assert first.next_cursor
    assert page(tmp_path, asked.evolve(limit=1, cursor=first.next_cursor)).next_cursor is None


def test_a_traceback_comes_with_its_error_and_no_time_is_made_up_for_it(tmp_path: Path) -> None:
    write(tmp_path, "1.log", stamped(0, "ERROR old"), "Traceback of the old")
    write(tmp_path, "current.log", "  its end, in the next file", stamped(9, "ERROR new"), "Traceback of the new", "  line 1")
    recent = page(tmp_path, LogQuery(since=NOON + timedelta(minutes=5)))
    assert texts(recent) == ["  line 1", "Traceback of the new", stamped(9, "ERROR new")]
    assert [line.at is None for line in recent.items] == [True, True, False]
    early = page(tmp_path, LogQuery(until=NOON + timedelta(minutes=5)))
    assert texts(early)[:2] == ["  its end, in the next file", "Traceback of the old"]


def test_lines_far_below_the_last_time_count_as_new_as_the_last_write(tmp_path: Path) -> None:
    file = write(tmp_path, "current.log", stamped(0, "INFO started"), *(f"request {number}" for number in range(250)))
    written(file, NOON + timedelta(minutes=30))
    recent = page(tmp_path, LogQuery(since=NOON + timedelta(minutes=20), limit=1000))
    assert texts(recent) == [f"request {number}" for number in range(249, 99, -1)]
    assert texts(page(tmp_path, LogQuery(since=NOON + timedelta(minutes=40)))) == []
    assert len(page(tmp_path, LogQuery(limit=1000)).items) == 251


def test_a_file_last_written_before_the_time_asked_for_is_not_read(tmp_path: Path) -> None:
    file = write(tmp_path, "1.log", stamped(30, "stated in a zone of its own, and read as a later one"))
    written(file, NOON)
    write(tmp_path, "current.log", stamped(20, "in time"))
    assert texts(page(tmp_path, LogQuery(since=NOON + timedelta(minutes=10)))) == [stamped(20, "in time")]
    assert len(page(tmp_path, LogQuery(until=NOON + timedelta(hours=1))).items) == 2


def test_a_line_that_is_still_being_written_is_not_shown_before_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path, "current.log", "whole", "ha", end="")
    assert texts(page(tmp_path, LogQuery())) == ["whole"]
    write(tmp_path, "current.log", "lf")
    assert texts(page(tmp_path, LogQuery())) == ["half", "whole"]


def test_a_name_that_is_missing_while_files_are_rotated_hides_nothing_older(tmp_path: Path) -> None:
    write(tmp_path, "1.log", "b")
    write(tmp_path, "3.log", "a")
    assert texts(page(tmp_path, LogQuery())) == ["b", "a"]


def test_a_file_met_under_two_names_while_it_is_renamed_counts_once(tmp_path: Path) -> None:
    file = write(tmp_path, "current.log", "only once")
    (tmp_path / "1.log").hardlink_to(file)
    assert texts(page(tmp_path, LogQuery())) == ["only once"]


def test_a_page_of_enormous_lines_is_cut_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "current.log", *(str(number) + "x" * 32_000 for number in range(50)))
    first = page(tmp_path, LogQuery(limit=1000))
    assert len(first.items) == (1 << 20) // 32_002 == 32
    assert first.next_cursor
    assert len(page(tmp_path, LogQuery(limit=1000, cursor=first.next_cursor)).items) == 18


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "current.log").write_bytes(b"\xff\xfe\x00 odd\r\n")
    assert texts(page(tmp_path, LogQuery())) == ["\ufffd\ufffd\x00 odd"]


@pytest.mark.anyio
async def test_a_real_service_is_paged_while_it_writes_and_its_keeper_rotates(plain: World) -> None:
    code = (
        "import os, time\n"
        "for n in range(30000): print('line', n, 'x' * 200, flush=n % 1000 == 999)\n"
        "open(os.environ['HOME'] + '/half', 'w').close()\n"
        "while not os.path.exists(os.environ['HOME'] + '/go'): time.sleep(0.02)\n"
        "for n in range(30000, 45000): print('line', n, 'x' * 200)\n"
    )
    binding = plain.binding(plain.repository({"app.py": code}), port=None)
    await plain.deploy(binding, "dep_1")
    assert isinstance(plain.local, Logs)
    (data,) = plain.root.glob("state/local/web/sandbox/data")
    await plain.seen(
        binding, "dep_1", lambda _: (data / "half").exists() and tail(plain.logs("dep_1"), 1)[0][:10] == "line 29999"
    )
    first = await plain.local.logs(at(binding, "dep_1"), LogQuery(limit=5))
    (data / "go").touch()
    await plain.seen(binding, "dep_1", lambda o: o.exit_code == 0)
    second = await plain.local.logs(at(binding, "dep_1"), LogQuery(limit=5, cursor=first.next_cursor))
    assert [int(text.split()[1]) for text in texts(first) + texts(second)] == list(range(29_999, 29_989, -1))
