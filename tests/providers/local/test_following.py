"""Lines behind a position: each once, over rotation, and what is gone is said."""

from pathlib import Path

import pytest

from ops_mcp.observing import Tails
from ops_mcp.providers.local.following import GONE, follow
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.place import Local
from tests.operations.collecting import keeper_log


def followed(desk: Desk, position: str, most_bytes: int = 10**6) -> tuple[list[str], str]:
    found: list[str] = []
    more = True
    while more:
        tailed = follow(desk, position, most_bytes=most_bytes)
        found += [line.text for line in tailed.lines]
        position, more = tailed.position, tailed.more
    return found, position


def test_the_local_place_can_be_collected() -> None:
    assert issubclass(Local, Tails)


@pytest.mark.parametrize("most_bytes", [1, 40, 1000, 10**6])
def test_lines_are_told_once_in_their_order_over_rotation(tmp_path: Path, most_bytes: int) -> None:
    log, desk = keeper_log(tmp_path, "dep_1", size=300), Desk(tmp_path / "desks" / "dep_1")
    told: list[str] = []
    written: list[str] = []
    position = ""
    for number in range(60):
        line = f"line {number} {'x' * (number % 40)}"
        log.write(f"{line}\n".encode())
        written.append(line)
        if number % 5 == 0:
            fresh, position = followed(desk, position, most_bytes)
            told += fresh
    log.close()
    told += followed(desk, position, most_bytes)[0]
    assert told == written


def test_a_line_without_its_newline_waits_for_it(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "current.log").write_bytes(b"whole\npar")
    told, position = followed(Desk(tmp_path), "")
    assert told == ["whole"]
    with (logs / "current.log").open("ab") as out:
        out.write(b"t\r\n\xff\n")
    assert followed(Desk(tmp_path), position)[0] == ["part", "\ufffd"]


def test_lines_that_were_rotated_away_unread_are_said_to_be_gone(tmp_path: Path) -> None:
    log, desk = keeper_log(tmp_path, "dep_1", size=50), Desk(tmp_path / "desks" / "dep_1")
    log.write(b"first\n")
    told, position = followed(desk, "")
    log.write(b"".join(b"%030d\n" % number for number in range(30)))
    log.close()
    fresh, position = followed(desk, position)
    assert told == ["first"]
    assert fresh[0] == GONE
    assert fresh[-1].endswith("29")
    assert followed(desk, position)[0] == []


def test_a_new_file_with_an_old_ones_number_is_not_taken_for_it(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "current.log").write_text("one\ntwo\n")
    _, position = followed(Desk(tmp_path), "")
    (logs / "current.log").write_text("111\n222\n333\n")  # the same inode
    assert followed(Desk(tmp_path), position)[0] == [GONE, "111", "222", "333"]


def test_nothing_was_written_yet(tmp_path: Path) -> None:
    assert followed(Desk(tmp_path), "") == ([], "")
    assert follow(Desk(tmp_path / "nowhere"), "", most_bytes=10).ended
