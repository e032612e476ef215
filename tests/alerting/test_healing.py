"""What may be done without a person, and what the figures make of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.figures import Case, Share, Times, figures
from ops_mcp.alerting.healing import (
    MOST_ATTEMPTS,
    Attempt,
    Escalate,
    Incident,
    Leave,
    Outcome,
    Remediate,
    Step,
    Wait,
    incident_after,
    next_step,
)
from ops_mcp.alerting.rules import Remedy, Rule
from tests.alerting.makers import NOON, a_rule, after, an_alert

ALERT = an_alert()
RESTARTS = a_rule(service="web", remediation={"remedy": "restart", "agent": "healer"})
ROLLS_BACK = a_rule(service="web", remediation={"remedy": "rollback", "agent": "healer"})
INCIDENT = incident_after(None, ALERT, NOON)


def attempt(minute: float, outcome: Outcome, remedy: Remedy = Remedy.restart, *, automatic: bool = True) -> Attempt:
    at = after(minutes=minute)
    return Attempt(remedy, at, outcome, None if outcome is Outcome.open else at + timedelta(minutes=1), automatic)


GOOD, BAD = Outcome.succeeded, Outcome.failed
STEPS = [
    # the rule, the attempts, minutes after the alert, what to do
    ("nothing tried yet", RESTARTS, [], 0, Remediate),
    ("one is under way", RESTARTS, [attempt(1, Outcome.open)], 30, Wait),
    ("one worked a minute ago", RESTARTS, [attempt(1, GOOD)], 3, Wait),
    ("one worked and five minutes did not help", RESTARTS, [attempt(1, GOOD)], 7, Remediate),
    ("one failed", RESTARTS, [attempt(1, BAD)], 3, Remediate),
    ("two failed", RESTARTS, [attempt(1, BAD), attempt(3, BAD)], 5, Escalate),
    ("the second worked just now", RESTARTS, [attempt(1, BAD), attempt(3, GOOD)], 5, Wait),
    ("the second worked and did not help", RESTARTS, [attempt(1, BAD), attempt(3, GOOD)], 9, Escalate),
    (
        "a person restarted it twice",
        RESTARTS,
        [attempt(1, GOOD, automatic=False), attempt(7, GOOD, automatic=False)],
        13,
        Escalate,
    ),
    ("attempts before the alert do not count", RESTARTS, [attempt(-9, GOOD), attempt(-5, GOOD)], 0, Remediate),
    ("it was refused", RESTARTS, [attempt(1, Outcome.refused)], 3, Escalate),
    ("nobody knows what it did", RESTARTS, [attempt(1, Outcome.unknown)], 3, Escalate),
    ("a rollback failed", ROLLS_BACK, [attempt(1, BAD, Remedy.rollback)], 3, Remediate),
    ("a rollback did not help", ROLLS_BACK, [attempt(1, GOOD, Remedy.rollback)], 8, Escalate),
    ("the rule names no remedy", a_rule(), [], 0, Leave),
    ("no rule claims it", None, [], 0, Leave),
    ("no agent is assigned", a_rule(remediation={"remedy": "restart"}), [], 0, Escalate),
]


@pytest.mark.parametrize(("story", "rule", "attempts", "minute", "step"), STEPS, ids=[row[0] for row in STEPS])
def test_the_next_step(story: str, rule: Rule | None, attempts: Sequence[Attempt], minute: float, step: type[Step]) -> None:
    assert isinstance(next_step(INCIDENT, ALERT, rule, attempts, after(minutes=minute)), step)


def test_a_remedy_is_submitted_for_the_alerts_service_as_the_assigned_agent() -> None:
    first = next_step(INCIDENT, ALERT, RESTARTS, [], NOON)
    second = next_step(INCIDENT, ALERT, RESTARTS, [attempt(1, BAD)], after(minutes=3))
    assert isinstance(first, Remediate)
    assert isinstance(second, Remediate)
    assert (first.remedy, first.environment, first.service, first.agent, first.number) == (
        Remedy.restart,
        "production",
        "web",
        "healer",
        1,
    )
    assert first == next_step(INCIDENT, ALERT, RESTARTS, [], after(minutes=2))  # asked again: the same attempt
    assert first.key != second.key
    assert len(first.key) <= 128


def test_an_alert_that_names_no_service_of_ours_is_for_a_person() -> None:
    stray = an_alert(service="../etc")
    step = next_step(incident_after(None, stray, NOON), stray, a_rule(remediation=RESTARTS.remediation), [], NOON)
    assert isinstance(step, Escalate)


def test_what_a_source_reports_starts_nothing_unless_the_rule_names_that_source() -> None:
    outside = ALERT.evolve(source="grafana")
    assert isinstance(next_step(INCIDENT, outside, RESTARTS, [], NOON), Leave)
    assert isinstance(next_step(INCIDENT, outside, RESTARTS.evolve(sources=("other",)), [], NOON), Leave)
    assert isinstance(next_step(INCIDENT, outside, RESTARTS.evolve(sources=("grafana",)), [], NOON), Remediate)


def test_a_person_is_told_once_and_nothing_is_done_after_the_end() -> None:
    assert isinstance(next_step(INCIDENT._replace(escalated_at=NOON), ALERT, RESTARTS, [], NOON), Leave)
    assert isinstance(next_step(INCIDENT._replace(resolved_at=NOON), ALERT, RESTARTS, [], NOON), Leave)


def ended(alert: Alert, at: datetime) -> Alert:
    return alert.evolve(ends_at=at)


def test_an_alert_that_comes_back_soon_is_the_same_incident() -> None:
    over = incident_after(INCIDENT, ended(ALERT, after(minutes=5)), after(minutes=5))
    soon = incident_after(over, ALERT.evolve(starts_at=after(minutes=34)), after(minutes=34))
    late = incident_after(over, ALERT.evolve(starts_at=after(minutes=35)), after(minutes=35))
    other = incident_after(over, an_alert(instance="b"), after(minutes=6))
    assert over == INCIDENT._replace(resolved_at=after(minutes=5))
    assert soon == INCIDENT
    assert late.fired_at == after(minutes=35)
    assert other.fingerprint != INCIDENT.fingerprint


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([RESTARTS, ROLLS_BACK]),
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from(Outcome), st.booleans()), max_size=60),
)
def test_no_remedy_runs_more_than_twice_in_one_incident_however_often_the_alert_comes_and_goes(
    rule: Rule, events: list[tuple[int, Outcome, bool]]
) -> None:
    """Whatever the attempts come to, and with an alert that ends and comes back before the half hour is over."""
    at, incident, alert, attempts, escalations = NOON, INCIDENT, ALERT, list[Attempt](), 0
    for minutes, outcome, comes_back in events:
        at += timedelta(minutes=minutes)
        match next_step(incident, alert, rule, attempts, at):
            case Remediate(remedy=remedy):
                attempts.append(Attempt(remedy, at, outcome, at))
            case Escalate():
                escalations += 1
                incident = incident._replace(escalated_at=at)
            case _:
                pass
        if attempts and attempts[-1].outcome is Outcome.open:
            attempts[-1] = attempts[-1]._replace(outcome=Outcome.succeeded, finished_at=at)
        if comes_back:
            incident = incident_after(incident, ended(alert, at), at)
            alert = ALERT.evolve(starts_at=at + timedelta(minutes=1))
            incident = incident_after(incident, alert, at + timedelta(minutes=1))
    assert len(attempts) <= MOST_ATTEMPTS
    assert escalations <= 1


def seconds(count: float) -> datetime:
    return NOON + timedelta(seconds=count)


CASES = [
    # began 60 s before it fired, restarted by itself, over after 300 s
    Case(seconds(-60), NOON, seconds(300), remediable=True, automatic_attempts=1),
    # the remedy did not do, a person did
    Case(seconds(-30), NOON, seconds(900), remediable=True, automatic_attempts=2, escalated=True, manual_attempts=1),
    # ended by itself, no remedy
    Case(seconds(-30), NOON, seconds(60)),
    # somebody took it in hand
    Case(seconds(-30), NOON, seconds(600), acknowledged=True),
    # remediable, but it ended before anything was tried: recovered, not fixed
    Case(seconds(-30), NOON, seconds(30), remediable=True),
    Case(seconds(0), NOON, seconds(30), false_positive=True),
    Case(seconds(-40), NOON, remediable=True, automatic_attempts=1),  # goes on
]


def test_the_figures_come_from_facts_and_from_nothing_else() -> None:
    found = figures(CASES)
    assert (found.incidents, found.open) == (7, 1)
    assert found.time_to_detect == Times(220 / 7, 60.0, 7)
    assert found.time_to_resolve == Times(1_920 / 6, 900.0, 6)
    assert found.auto_fix == Share(1, 3)
    assert found.auto_recovery == Share(3, 6)
    assert found.false_positives == Share(1, 6)


def test_without_facts_there_is_no_figure() -> None:
    found = figures([])
    assert (found.time_to_detect, found.time_to_resolve) == (Times(None, None, 0), Times(None, None, 0))
    assert (found.auto_fix.ratio, found.auto_recovery.ratio, found.false_positives.ratio) == (None, None, None)


def test_an_incident_begins_where_the_condition_was_first_seen() -> None:
    alert = an_alert(starts_at=after(minutes=5)).evolve(began_at=NOON)
    assert incident_after(None, alert, after(minutes=5)) == Incident(
        alert.fingerprint, alert.environment, "web", NOON, after(minutes=5)
    )
