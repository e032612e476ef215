"""What of a channel's queue is sent now: quiet hours, digests, and the order within threads, for any queue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_mcp.governance.pacing import TASKS, URGENT, ChannelTerms, Paced, Waiting, is_quiet, paced, summed

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 20, 23, tzinfo=UTC)
QUIET = ChannelTerms(quiet="22:00-07:00")


def one(position: int, **more: Any) -> Waiting:
    return Waiting(**{"position": position, "thread": f"t{position}", "severity": "low", "since": NOON, **more})


def test_without_terms_everything_goes_alone() -> None:
    queue = [one(n) for n in range(50)]
    assert paced(queue, ChannelTerms(), NOON) == Paced(tuple(range(50)))


def test_at_night_only_what_is_urgent_or_asks_goes_and_what_is_before_it_in_its_thread() -> None:
    queue = [
        one(1, thread="web"),
        one(2, thread="docs"),
        one(3, thread="web", severity="high"),
        one(4, thread="web"),
        one(5, severity="critical"),
        one(6, asks=True),
        one(7, thread=f"{TASKS}tsk_1"),
    ]
    assert paced(queue, QUIET, NIGHT).alone == (1, 3, 5, 6)


def test_in_the_morning_what_was_withheld_comes_together_and_the_rest_alone() -> None:
    morning = NOON.replace(hour=7)
    queue = [
        one(1, since=NIGHT),
        one(2, since=NIGHT, severity="medium"),
        one(3, since=morning),
        one(4, since=NIGHT, thread=f"{TASKS}tsk_1"),
        one(5, since=NIGHT, severity="high"),
    ]
    assert paced(queue, QUIET, morning) == Paced((3, 4, 5), (1, 2), quiet=True)


def test_a_single_one_that_was_withheld_comes_as_itself() -> None:
    assert paced([one(1, since=NIGHT)], QUIET, NOON) == Paced((1,))


@pytest.mark.parametrize(("waiting", "together"), [(3, 0), (4, 4)])
def test_more_than_so_many_become_one(waiting: int, together: int) -> None:
    found = paced([one(n) for n in range(waiting)], ChannelTerms(digest_over=3), NOON)
    assert (len(found.together), len(found.alone)) == (together, waiting - together)


def test_what_has_buttons_was_sent_once_or_is_a_task_is_never_summarised_nor_what_is_behind_it() -> None:
    queue = [
        one(1, thread="a"),
        one(2, thread="a", asks=True),
        one(3, thread="a"),
        one(4, thread="b", tried=True),
        one(5, thread="b"),
        one(6, thread=f"{TASKS}tsk_1"),
        one(7),
    ]
    assert paced(queue, ChannelTerms(digest_over=1), NOON) == Paced((2, 3, 4, 5, 6), (1, 7))


@pytest.mark.parametrize(
    ("quiet", "zone", "hour", "minute", "expected"),
    [
        ("22:00-07:00", "UTC", 22, 0, True),
        ("22:00-07:00", "UTC", 21, 59, False),
        ("22:00-07:00", "UTC", 6, 59, True),
        ("22:00-07:00", "UTC", 7, 0, False),
        ("12:00-13:00", "UTC", 12, 30, True),
        ("12:00-13:00", "UTC", 13, 0, False),
        # Berlin is an hour ahead in November; New York five behind.
        ("22:00-07:00", "Europe/Berlin", 21, 0, True),
        ("22:00-07:00", "Europe/Berlin", 6, 0, False),
        ("22:00-07:00", "America/New_York", 3, 0, True),
        ("", "UTC", 3, 0, False),
    ],
)
def test_the_quiet_hours_are_those_of_their_zone(quiet: str, zone: str, hour: int, minute: int, expected: bool) -> None:
    at = datetime(2026, 11, 20, hour, minute, tzinfo=UTC)
    assert is_quiet(ChannelTerms(quiet=quiet, quiet_zone=zone), at) is expected


def test_quiet_hours_follow_the_change_of_the_clock() -> None:
    terms = ChannelTerms(quiet="22:00-07:00", quiet_zone="Europe/Berlin")
    assert is_quiet(terms, datetime(2026, 7, 1, 4, 59, tzinfo=UTC))
    assert not is_quiet(terms, datetime(2026, 7, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    "table",
    [
        {"quiet": "22-7"}, {"quiet": "25:00-07:00"}, {"quiet": "07:00-07:00"}, {"quiet_zone": "Mars/Olympus"},
        {"quiet_zone": "../etc/passwd"}, {"rate": 0}, {"digest_over": 0},
    ],
)  # fmt: skip
def test_terms_that_mean_nothing_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChannelTerms.model_validate(table)


def test_a_digest_counts_by_severity_and_names_the_most_severe_first() -> None:
    found = summed([("low", "c"), ("critical", "b"), ("low", "a")], quiet=False, first=2)
    assert found == (
        "critical",
        "[critical] 3 notices: 1 critical, 2 low",
        "They came at once.",
        "- b\n- c\n(and 1 more)",
    )


queues = st.lists(
    st.builds(
        Waiting,
        position=st.just(0),
        thread=st.sampled_from(["a", "b", "c", f"{TASKS}1"]),
        severity=st.sampled_from(["critical", "high", "medium", "low"]),
        since=st.sampled_from([NOON, NIGHT]),
        tried=st.booleans(),
        asks=st.booleans(),
    ),
    max_size=30,
).map(lambda queue: [w._replace(position=n) for n, w in enumerate(queue, start=1)])
terms = st.builds(ChannelTerms, quiet=st.sampled_from(["", "22:00-07:00"]), digest_over=st.sampled_from([None, 1, 3, 10]))


@given(queues, terms, st.sampled_from([NOON, NIGHT]))
def test_nothing_is_lost_and_each_thread_keeps_its_order(queue: list[Waiting], terms: ChannelTerms, now: datetime) -> None:
    found = paced(queue, terms, now)
    assert not set(found.alone) & set(found.together)
    withheld = {w.position for w in queue} - {*found.alone, *found.together}
    place = {**dict.fromkeys(found.together, 0), **dict.fromkeys(found.alone, 1), **dict.fromkeys(withheld, 2)}
    for thread in {w.thread for w in queue}:
        order = [place[w.position] for w in queue if w.thread == thread]
        assert order == sorted(order)
    by_position = {w.position: w for w in queue}
    for position in withheld:
        assert is_quiet(terms, now)
        assert by_position[position].severity not in URGENT
        assert not by_position[position].asks
    for position in found.together:
        one = by_position[position]
        assert not one.tried
        assert not one.asks
        assert not one.thread.startswith(TASKS)
    assert len(found.together) != 1 or terms.digest_over is not None


@given(queues, st.integers(min_value=0, max_value=47))
def test_whoever_waits_for_the_end_of_the_quiet_gets_everything(queue: list[Waiting], hours: int) -> None:
    now = NIGHT + timedelta(hours=hours)
    found = paced(queue, QUIET, now)
    if not is_quiet(QUIET, now):
        assert sorted((*found.alone, *found.together)) == [w.position for w in queue]
