"""Repeats are shown once with their number; nothing is lost and nothing that differs is put together."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.logs.grouping import everywhere, neighbours
from ops_mcp.logs.records import LogRecord, Source, parse

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def record(line: str, seconds: int = 0, service: str = "shop") -> LogRecord:
    return parse(line, Source(service, "staging"), arrived=NOON + timedelta(seconds=seconds))


def test_neighbours_that_say_the_same_are_one() -> None:
    records = [record("retry 1 of 3", 2), record("retry 2 of 3", 1), record("gave up", 3), record("retry 1 of 3", 4)]
    found = list(neighbours(records))
    assert [(each.record.message, each.times) for each in found] == [("retry 1 of 3", 2), ("gave up", 1), ("retry 1 of 3", 1)]
    assert (found[0].first, found[0].last) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))


def test_everything_that_says_the_same_is_one_the_most_frequent_first() -> None:
    records = [record("gave up"), record("retry 1 of 3"), record("retry 2 of 3"), record("done")]
    assert [(each.record.message, each.times) for each in everywhere(records)] == [
        ("retry 1 of 3", 2),
        ("gave up", 1),
        ("done", 1),
    ]


def test_another_service_or_severity_is_not_the_same() -> None:
    records = [record("gave up"), record("gave up", service="bank"), record("ERROR gave up")]
    assert len(list(neighbours(records))) == len(everywhere(records)) == 3


def test_a_key_of_ones_own_decides() -> None:
    records = [record("a"), record("b"), record("ERROR c")]
    assert [each.times for each in neighbours(records, key=lambda each: each.severity)] == [2, 1]


@given(st.lists(st.sampled_from(["retry 1", "retry 2", "gave up", "done"])))
def test_no_record_is_lost(lines: list[str]) -> None:
    records = [record(line) for line in lines]
    found = list(neighbours(records))
    assert sum(each.times for each in found) == len(lines)
    assert sum(each.times for each in everywhere(records)) == len(lines)
    assert all(one.record.message != two.record.message for one, two in pairwise(found))
