"""Verdicts on health, looked at the way the runner looks: one look after another."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.deploying.health import Judgement, Look, Standing, Streak, counted, may_restart, supervise, verify, watch
from ops_mcp.domain.places import Health
from ops_mcp.domain.releases import DeploymentId, Observed, Presence, ProbeResult

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
HEALTH = Health(verify_seconds=60, watch_seconds=300, interval_seconds=5, successes=2, failures=2)


def look(
    healthy: bool | None,
    *,
    presence: Presence = Presence.running,
    answers: bool | None = True,
    since: datetime | None = AT,
    exit_code: int | None = None,
) -> Look:
    observed = Observed(deployment=DeploymentId("dep_1"), presence=presence, answers=answers, since=since, exit_code=exit_code)
    probe = None if healthy is None else ProbeResult(healthy=healthy, at=AT, evidence="HTTP 200" if healthy else "HTTP 500")
    return Look(observed, probe)


def verdict(judge: object, looks: list[Look], *, elapsed: float) -> Judgement:
    streak, judgement = Streak(), Judgement(Standing.pending, "")
    for one in looks:
        streak = counted(streak, one)
        judgement = judge(HEALTH, streak, one, elapsed=elapsed)  # type: ignore[operator]
        if judgement.standing is not Standing.pending:
            return judgement
    return judgement


GOOD, BAD = look(True), look(False)
OTHERS_PORT = look(True, answers=False)
DEAD = look(None, presence=Presence.exited, exit_code=3)
RESTARTED = look(True, since=AT + timedelta(seconds=9))
BUILDING = look(None, presence=Presence.building)

VERIFY = [
    ([GOOD], 5, Standing.pending),  # one is not enough
    ([GOOD, GOOD], 5, Standing.passed),
    ([GOOD, BAD, GOOD], 5, Standing.pending),  # not in a row
    ([BAD], 59.9, Standing.pending),  # it may still come up
    ([BAD], 60, Standing.failed),
    ([OTHERS_PORT, OTHERS_PORT], 5, Standing.pending),  # the old process answers
    ([OTHERS_PORT, OTHERS_PORT], 60, Standing.failed),
    ([DEAD], 1, Standing.failed),  # no second look needed
    ([GOOD, RESTARTED], 5, Standing.failed),
    ([BUILDING], 5, Standing.pending),
]


@pytest.mark.parametrize(("looks", "elapsed", "standing"), VERIFY)
def test_verify_passes_only_on_good_looks_in_a_row_at_the_new_release(
    looks: list[Look], elapsed: float, standing: Standing
) -> None:
    assert verdict(verify, looks, elapsed=elapsed).standing is standing


WATCH = [
    ([GOOD], 10, Standing.pending),
    ([GOOD], 300, Standing.passed),
    ([BAD], 300, Standing.pending),  # the last look must be good
    ([BAD, GOOD, BAD], 100, Standing.pending),
    ([BAD, BAD], 100, Standing.failed),
    ([GOOD, DEAD], 20, Standing.failed),
    ([GOOD, RESTARTED], 20, Standing.failed),
]


@pytest.mark.parametrize(("looks", "elapsed", "standing"), WATCH)
def test_the_watch_fails_on_failures_in_a_row_an_exit_or_a_restart(looks: list[Look], elapsed: float, standing: Standing) -> None:
    assert verdict(watch, looks, elapsed=elapsed).standing is standing


def test_a_verdict_says_why() -> None:
    assert "exited with code 3" in verdict(verify, [DEAD], elapsed=1).why
    assert "another process" in verdict(verify, [OTHERS_PORT], elapsed=60).why
    assert "HTTP 500" in verdict(watch, [BAD, BAD], elapsed=1).why


def test_supervision_calls_a_service_failing_after_two_bad_looks_or_one_exit() -> None:
    one = counted(Streak(), BAD)
    assert supervise(one, BAD).standing is Standing.pending
    assert supervise(counted(one, BAD), BAD).standing is Standing.failed
    assert supervise(counted(Streak(), DEAD), DEAD).standing is Standing.failed


def test_a_service_is_restarted_at_most_twice_an_hour() -> None:
    minutes = [timedelta(minutes=m) for m in (1, 2)]
    assert may_restart((AT,), AT + minutes[0])
    assert not may_restart((AT, AT + minutes[0]), AT + minutes[1])
    assert may_restart((AT, AT + minutes[0]), AT + timedelta(minutes=61))


@given(st.lists(st.sampled_from([BAD, OTHERS_PORT, BUILDING, DEAD]), max_size=20), st.floats(0, 1000))
def test_no_release_passes_without_a_good_look(looks: list[Look], elapsed: float) -> None:
    assert verdict(verify, looks, elapsed=elapsed).standing is not Standing.passed
    assert verdict(watch, looks, elapsed=elapsed).standing is not Standing.passed
