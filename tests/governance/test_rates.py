"""Token buckets."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.governance.rates import allows, full, refilled, seconds_until_next, taken

AT = datetime(2026, 11, 20, 17, tzinfo=UTC)


def test_a_full_bucket_lets_a_burst_through_and_then_one_each_interval() -> None:
    state = full(per_minute=30, burst=3)
    for _ in range(3):
        assert allows(state)
        state = refilled(taken(state), since=AT, at=AT, per_minute=30, burst=3)

    assert not allows(state)
    assert seconds_until_next(state) == 2.0
    assert allows(refilled(state.level, since=AT, at=AT + timedelta(seconds=2), per_minute=30, burst=3))


def test_a_bucket_holds_no_more_than_its_burst_and_a_clock_going_back_adds_nothing() -> None:
    assert refilled(1.0, since=AT, at=AT + timedelta(days=9), per_minute=30, burst=3).level == 3.0
    assert refilled(1.0, since=AT, at=AT - timedelta(days=9), per_minute=30, burst=3).level == 1.0


@given(st.floats(0, 0.999), st.floats(0.1, 6000))
def test_waiting_as_long_as_told_is_enough(level: float, per_minute: float) -> None:
    state = refilled(level, since=AT, at=AT, per_minute=per_minute, burst=5)
    later = AT + timedelta(seconds=seconds_until_next(state) + 0.001)

    assert allows(refilled(level, since=AT, at=later, per_minute=per_minute, burst=5))


@given(st.lists(st.integers(0, 10_000), max_size=200))
def test_no_pattern_of_calls_gets_more_than_burst_and_rate_allow(gaps: list[int]) -> None:
    at, level, passed = AT, 5.0, 0
    for gap in gaps:
        state = refilled(level, since=at, at=at + timedelta(milliseconds=gap), per_minute=60, burst=5)
        at, level = at + timedelta(milliseconds=gap), state.level
        if allows(state):
            level, passed = taken(state), passed + 1

    assert passed <= 5 + (at - AT).total_seconds() * 1.0 + 1e-6
