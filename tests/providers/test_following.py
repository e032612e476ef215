"""Places without offsets: whatever order lines come in and wherever a look ends, each is told once, unless it comes too late."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.errors import InvalidArguments
from ops_mcp.providers._following import MOST_TOLD, Following, Mark, Told

LAG = 100


def looked(place: list[Told], position: str, *, most_bytes: int = 10**6) -> tuple[list[str], str, bool]:
    mark = Mark.of(position)
    asked = [line for line in place if line.nanoseconds >= mark.since]
    fresh = Following(mark, most_bytes=most_bytes, lag=LAG).take_all(asked)
    return [line.text for line in fresh.lines], str(fresh.mark), fresh.gone


@given(
    late=st.lists(st.integers(0, LAG - 1), min_size=1, max_size=80),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=20),
    most=st.integers(1, 60),
    same=st.booleans(),
)
def test_lines_of_one_moment_and_late_ones_are_told_once(late: list[int], cuts: list[int], most: int, same: bool) -> None:
    written = [Told(1000 + number * 7 - each, "same" if same else str(number), f"{number}") for number, each in enumerate(late)]
    place: list[Told] = []
    told: list[str] = []
    position = ""
    for number in range(len(written) * 3):
        size = cuts[number % len(cuts)]
        fresh, written = written[:size], written[size:]
        place += fresh
        more = True
        while more:
            lines, position, gone = looked(place, position, most_bytes=most)
            assert not gone
            told += lines
            more = bool(lines)
    assert sorted(told, key=int) == [str(number) for number in range(len(late))]


def test_a_position_stays_small_however_many_lines_one_moment_has() -> None:
    chance = random.Random(1)
    place = [Told(10**9 + chance.randrange(50), str(number), f"{number}") for number in range(MOST_TOLD * 3)]
    place.sort(key=lambda line: line.nanoseconds)
    told, position, _ = looked(place, "")
    assert len(told) == len(place)
    assert looked(place, position)[0] == []


def test_lines_that_went_unread_are_said_to_be_gone() -> None:
    _, position, _ = looked([Told(10, "a", "a")], "")
    assert looked([Told(50, "b", "b")], position) == (["b"], looked([Told(50, "b", "b")], position)[1], True)


@pytest.mark.parametrize("position", ["x", "[]", "[1]", "{}", '["a", 1]'])
def test_a_position_that_is_none_is_refused(position: str) -> None:
    with pytest.raises(InvalidArguments, match="position"):
        Mark.of(position)
