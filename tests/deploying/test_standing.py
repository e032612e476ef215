"""How a probe stands after what it found, as a table that people can check, and as properties over any findings."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.deploying.standing import (
    REMEMBERED,
    UNASKED,
    Standing,
    after,
    is_due,
    is_late,
    is_too_old,
    shown,
    wait_seconds,
)
from ops_mcp.domain.inventory import Found, HealthState, Pace

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
PACE = Pace()
STATES = {"h": HealthState.healthy, "d": HealthState.degraded, "u": HealthState.unhealthy, "?": HealthState.unknown}
SIGNS = {state: sign for sign, state in STATES.items()}


def walked(findings: str, pace: Pace = PACE) -> list[Standing]:
    """The standings after each finding, one every 30 s."""
    found: list[Standing] = []
    for number, sign in enumerate(findings):
        before = found[-1] if found else UNASKED
        found.append(after(before, Found(STATES[sign], f"no. {number}"), at=START + timedelta(seconds=30 * number), pace=pace))
    return found


# Reviewed by hand: what is found, and how it stands after each finding, with two failures to fall and two answers to rise.
TABLE = [
    ("h", "h"),  # the first answer of all is taken as it is
    ("d", "d"),
    ("uu", "?u"),  # a first failure is nobody's state yet: it is looked again within 10 s
    ("huh", "hhh"),  # one failure alone changes nothing
    ("huu", "hhu"),
    ("huuhh", "hhuuh"),  # one answer alone does not end it
    ("huuhuhh", "hhuuuuh"),
    ("huudd", "hhuud"),  # slow answers are answers: it is degraded then, not healthy
    ("hdh", "hhh"),  # one slow answer alone changes nothing
    ("hdd", "hhd"),
    ("hduu", "hhhu"),  # slow once is no failure
    ("dhh", "ddh"),
    ("duu", "ddu"),
    ("huu?", "hhu?"),  # what cannot be asked any more is unknown at once
    ("huu?h", "hhu?h"),
    ("?u", "??"),
]


@pytest.mark.parametrize(("findings", "states"), TABLE)
def test_the_state_after_each_finding_is_what_the_table_says(findings: str, states: str) -> None:
    assert "".join(SIGNS[standing.state] for standing in walked(findings)) == states


def test_since_is_when_the_state_began_and_stays_until_it_ends() -> None:
    standings = walked("huuuhh")
    assert [int(((s.since or START) - START).total_seconds()) for s in standings] == [0, 0, 60, 60, 60, 150]


def test_one_failure_is_said_and_asked_again_within_10_s() -> None:
    standing = walked("hu")[-1]
    assert (standing.bad, standing.evidence) == (1, "no. 1")
    assert wait_seconds(standing, PACE, 0.0) == 10
    assert wait_seconds(walked("h")[-1], PACE, 0.0) == 30


def test_an_alternating_probe_flaps_and_is_never_told_to_be_healthy() -> None:
    standing = walked("huhuhuh")[-1]
    assert standing.flapping
    assert (standing.state, shown(standing)) == (HealthState.healthy, HealthState.degraded)
    calm = walked("huhuhuh" + "h" * REMEMBERED)[-1]
    assert not calm.flapping
    assert shown(calm) is HealthState.healthy


def test_flapping_ends_later_than_it_begins() -> None:
    begun = next(n for n, standing in enumerate(walked("huhuhuhuhu")) if standing.flapping)
    assert begun == 6
    findings = "huhuhuh" + "h" * 20
    ended = next(n for n, standing in enumerate(walked(findings)) if n > begun and not standing.flapping)
    assert walked(findings)[ended - 1].flapping
    assert ended > begun + 10


@given(st.text("hdu?", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_unhealthy_needs_so_many_failures_in_a_row_and_healthy_an_answer(findings: str, failures: int, successes: int) -> None:
    pace = Pace(failures=failures, successes=successes)
    before = UNASKED
    for number, standing in enumerate(walked(findings, pace)):
        so_far = findings[: number + 1]
        if standing.state is HealthState.unhealthy and before.state is not HealthState.unhealthy:
            assert so_far.endswith("u" * failures)
        if standing.state is HealthState.healthy and before.state is HealthState.unhealthy:
            assert so_far.endswith("h")
            assert not set(so_far[-successes:]) & {"u", "?"}
        if so_far.endswith("u" * failures):
            assert standing.state is HealthState.unhealthy
        if so_far.endswith("?"):
            assert standing.state is HealthState.unknown
        if so_far.endswith("h" * successes):
            assert standing.state is HealthState.healthy
        assert (standing.since == before.since) is (standing.state is before.state and number > 0)
        assert len(standing.past) <= REMEMBERED
        before = standing


@given(st.text("hdu?", max_size=40), st.floats(0, 1))
def test_the_wait_is_never_longer_than_the_interval_and_at_most_10_s_while_something_is_wrong(
    findings: str, chance: float
) -> None:
    for standing in walked(findings):
        waits = wait_seconds(standing, PACE, chance)
        assert 0 < waits <= 30
        if standing.bad or standing.state is HealthState.unhealthy:
            assert waits <= 10


@given(st.integers(-100_000, 100_000), st.integers(1, 30))
def test_a_clock_that_jumps_never_puts_a_probe_off_for_longer_than_its_interval(jump: int, waited: int) -> None:
    due = START + timedelta(seconds=30)
    now = START + timedelta(seconds=waited + jump)
    left = (due - now).total_seconds()
    assert is_due(due, now, PACE) is (left <= 0 or left > 30)


def test_a_finding_is_late_after_two_intervals_and_says_nothing_after_three() -> None:
    at = [START + timedelta(seconds=seconds) for seconds in (0, 60, 61, 120, 121)]
    assert [is_late(START, now, PACE) for now in at] == [False, False, True, True, True]
    assert [is_too_old(START, now, PACE) for now in at] == [False, False, False, False, True]
