"""The states of alerts, evaluation by evaluation: commented stories, what a restart does, and properties of any history."""

import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.alerting.alerts import alert_of
from ops_mcp.alerting.labels import Labels, labels_of
from ops_mcp.alerting.lifecycle import (
    MOST_ALERTS,
    NOTHING_YET,
    Active,
    AlertState,
    Change,
    Progress,
    Result,
    Transition,
    ended,
    evaluate,
    failed,
    restored,
    watch,
)
from tests.alerting.makers import NOON, a_rule, after

WEB = labels_of({"__name__": "errors", "instance": "web-1"})
API = labels_of({"__name__": "errors", "instance": "api-1"})

T, F, E = "true", "false", "failed query"
STORIES = [
    # for, keep_firing_for (seconds); what each minute's evaluation saw; the changes, by minute
    ("fires at once without for", 0, 0, [T], {0: "fired"}),
    ("fires at the evaluation that is `for` after the first", 120, 0, [T, T, T], {0: "pending", 2: "fired"}),
    ("an odd `for` fires at the next evaluation", 90, 0, [T, T, T], {0: "pending", 2: "fired"}),
    ("a pending alert is dropped at once", 120, 600, [T, T, F, T], {0: "pending", 2: "dropped", 3: "pending"}),
    ("ends at the first evaluation that says so", 0, 0, [T, T, F, F], {0: "fired", 2: "resolved"}),
    ("is kept from the first false evaluation on", 0, 120, [T, F, F, F], {0: "fired", 1: "kept", 3: "resolved"}),
    (
        "coming back resets the time that it is kept",
        0,
        120,
        [T, F, T, F, F, F],
        {0: "fired", 1: "kept", 3: "kept", 5: "resolved"},
    ),
    (
        "what comes back after its end begins anew",
        60,
        0,
        [T, T, F, T, T],
        {0: "pending", 1: "fired", 2: "resolved", 3: "pending", 4: "fired"},
    ),
    ("a failed query changes nothing", 60, 0, [T, E, E, T, E, F], {0: "pending", 3: "fired", 5: "resolved"}),
    ("a failed query does not end what is kept", 0, 60, [T, F, E, F], {0: "fired", 1: "kept", 3: "resolved"}),
]


@pytest.mark.parametrize(("story", "hold", "keep", "seen", "changes"), STORIES, ids=[row[0] for row in STORIES])
def test_an_alert_goes_through_its_states(story: str, hold: int, keep: int, seen: list[str], changes: dict[int, str]) -> None:
    watched, progress = watch(a_rule(for_seconds=hold, keep_firing_for_seconds=keep)), NOTHING_YET
    happened: dict[int, str] = {}
    for minute, what in enumerate(seen):
        if what == E:
            progress = failed(progress, "no answer")
            assert progress.error
            continue
        progress, transitions = evaluate(watched, progress, [(WEB, 1.0)] if what == T else [], after(minutes=minute))
        happened.update((minute, transition.change.value) for transition in transitions)
        assert not progress.error
    assert happened == changes


def test_a_rule_lays_its_labels_over_those_of_the_result() -> None:
    rule = a_rule(service="shop", labels={"team": "core", "where": "{{ $labels.instance }}", "instance": ""}, severity="P1")
    (transition,) = evaluate(watch(rule), NOTHING_YET, [(WEB, 7.0)], NOON).transitions
    assert transition.alert.labels == labels_of(
        {
            "alertname": "HighErrors",
            "environment": "production",
            "service": "shop",
            "severity": "high",
            "team": "core",
            "where": "web-1",
        }
    )


def test_what_is_told_has_the_rules_words_and_the_results_numbers() -> None:
    rule = a_rule(
        annotations={"summary": "{{ $labels.instance }}: {{ $value | humanize }}", "none": "{{ $labels.none }}"},
        channels=["pager"],
    )
    watched = watch(rule.evolve(for_seconds=60.0))
    pending = evaluate(watched, NOTHING_YET, [(WEB, 1_500.0)], NOON)
    fired = evaluate(watched, pending.progress, [(WEB, 2_500.0)], after(minutes=1))
    resolved = evaluate(watched, fired.progress, [], after(minutes=2))

    assert alert_of(rule, pending.transitions[0]) is None
    told = alert_of(rule, fired.transitions[0])
    over = alert_of(rule, resolved.transitions[0])
    assert told is not None
    assert over is not None
    assert (told.annotations, told.value) == ((("summary", "web-1: 2.5k"),), "2500")
    assert (told.began_at, told.starts_at, told.ends_at) == (NOON, after(minutes=1), None)
    assert over == told.evolve(ends_at=after(minutes=2))


def test_two_results_that_become_one_alert_fail_the_evaluation_and_change_nothing() -> None:
    watched = watch(a_rule(labels={"instance": "any"}))
    first = evaluate(watched, NOTHING_YET, [(WEB, 1.0)], NOON)
    second = evaluate(watched, first.progress, [(WEB, 1.0), (API, 1.0)], after(minutes=1))
    assert second.transitions == ()
    assert second.progress == first.progress._replace(error=second.progress.error)
    assert "same labels" in second.progress.error


def test_more_alerts_than_a_rule_may_have_fail_the_evaluation_and_end_nothing() -> None:
    watched = watch(a_rule())
    first = evaluate(watched, NOTHING_YET, [(WEB, 1.0)], NOON)
    many = [(labels_of({"i": str(i)}), 1.0) for i in range(MOST_ALERTS + 1)]
    second = evaluate(watched, first.progress, many, after(minutes=1))
    assert (second.transitions, second.progress.alerts) == ((), first.progress.alerts)
    assert "at most" in second.progress.error


def test_a_resolved_alert_is_remembered_for_more_than_15_minutes() -> None:
    watched = watch(a_rule())
    progress = evaluate(watched, NOTHING_YET, [(WEB, 1.0)], NOON).progress
    for minute, remembered in ((1, True), (16, True), (17, False)):
        progress = evaluate(watched, progress, [], after(minutes=minute)).progress
        assert bool(progress.alerts) is remembered


def test_a_longer_for_puts_a_firing_alert_back_and_ends_what_was_told() -> None:
    rule = a_rule(for_seconds=60)
    progress = NOTHING_YET
    for minute in (0, 1):
        progress = evaluate(watch(rule), progress, [(WEB, 1.0)], after(minutes=minute)).progress
    longer = watch(rule.evolve(for_seconds=180.0))
    (withdrawn,) = evaluate(longer, progress, [(WEB, 1.0)], after(minutes=2)).transitions
    told = alert_of(rule, withdrawn)
    assert withdrawn.change is Change.withdrawn
    assert told is not None
    assert told.ends_at == after(minutes=2)


def test_a_longer_for_puts_back_what_fires_only_because_it_is_kept_and_then_drops_it() -> None:
    rule = a_rule(keep_firing_for_seconds=600)
    first = evaluate(watch(rule), NOTHING_YET, [(WEB, 1.0)], NOON).progress
    kept = evaluate(watch(rule), first, [], after(minutes=1)).progress
    longer = watch(rule.evolve(for_seconds=300.0))
    back = evaluate(longer, kept, [], after(minutes=2))
    gone = evaluate(longer, back.progress, [], after(minutes=3))
    assert [transition.change for transition in (*back.transitions, *gone.transitions)] == [Change.withdrawn, Change.dropped]


def test_a_deleted_rule_ends_what_fires_and_drops_what_waits() -> None:
    watched = watch(a_rule(for_seconds=60))
    first = evaluate(watched, NOTHING_YET, [(WEB, 1.0)], NOON).progress
    second = evaluate(watched, first, [(WEB, 1.0), (API, 1.0)], after(minutes=1)).progress
    over = ended(second, after(minutes=2))
    assert [transition.change for transition in over.transitions] == [Change.resolved, Change.dropped]
    assert over.progress.alerts == {}


MINUTES_20 = 1_200
RESTARTS = [
    # `for`, pending since, last evaluation, first one after the outage (minutes); pending since then, None: begins anew
    (MINUTES_20, 0, 2, 3, 0),  # a minute is a gap like any other
    (MINUTES_20, 0, 2, 32, 30),  # 2 of 20 minutes waited: the 30 that nobody saw do not count
    (MINUTES_20, 0, 15, 25, 15),  # 5 minutes remain, less than the grace period: fires 10 minutes from now
    (MINUTES_20, 0, 10, 20, 10),  # just the grace period remains: shifted by the outage, which is the same
    (MINUTES_20, 0, 2, 62, 60),  # an hour is tolerated
    (MINUTES_20, 0, 2, 63, None),  # more is not
    (300, 0, 2, 12, None),  # shorter than the grace period: waits its `for` again
]


@pytest.mark.parametrize(("hold", "since", "last", "back", "then"), RESTARTS)
def test_after_an_outage_a_pending_alert_waits_for_what_was_not_seen(
    hold: int, since: int, last: int, back: int, then: int | None
) -> None:
    watched = watch(a_rule(for_seconds=hold))
    progress = NOTHING_YET
    for minute in range(since, last + 1):
        progress = evaluate(watched, progress, [(WEB, 1.0)], after(minutes=minute)).progress
    alerts = list(restored(watched, progress, after(minutes=back)).alerts.values())
    assert [alert.active_at for alert in alerts] == ([] if then is None else [after(minutes=then)])


def test_a_firing_alert_outlives_any_outage_and_ends_when_an_evaluation_says_so() -> None:
    watched = watch(a_rule(for_seconds=600))
    progress = NOTHING_YET
    for minute in range(11):
        progress = evaluate(watched, progress, [(WEB, 1.0)], after(minutes=minute)).progress
    back = restored(watched, progress, after(days=3))
    assert evaluate(watched, back, [(WEB, 1.0)], after(days=3)).transitions == ()
    assert [t.change for t in evaluate(watched, back, [], after(days=3)).transitions] == [Change.resolved]


def test_a_rule_is_unknown_until_it_was_evaluated() -> None:
    watched = watch(a_rule(for_seconds=60))
    waiting = evaluate(watched, NOTHING_YET, [(WEB, 1.0)], NOON).progress
    assert NOTHING_YET.state is None
    assert evaluate(watched, NOTHING_YET, [], NOON).progress.state is AlertState.inactive
    assert waiting.state is AlertState.pending
    assert evaluate(watched, waiting, [(WEB, 1.0), (API, 1.0)], after(minutes=1)).progress.state is AlertState.firing


HISTORIES = st.lists(st.tuples(st.integers(1, 900), st.frozensets(st.sampled_from("abc")), st.booleans()), max_size=40)


def played(
    hold: int, keep: int, history: list[tuple[int, frozenset[str], bool]]
) -> list[tuple[datetime, Progress, tuple[Transition, ...], Result | None]]:
    watched, progress, at = watch(a_rule(for_seconds=hold, keep_firing_for_seconds=keep)), NOTHING_YET, NOON
    rows: list[tuple[datetime, Progress, tuple[Transition, ...], Result | None]] = []
    for seconds, names, answers in history:
        at += timedelta(seconds=seconds)
        result = [(labels_of({"i": name}), 1.0) for name in sorted(names)] if answers else None
        transitions: tuple[Transition, ...] = ()
        if result is None:
            progress = failed(progress, "no answer")
        else:
            progress, transitions = evaluate(watched, progress, result, at)
        rows.append((at, progress, transitions, result))
    return rows


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, 60, 300, 1000]), st.sampled_from([0, 60, 700]), HISTORIES)
def test_an_alert_fires_only_after_its_time_and_every_end_has_a_beginning(
    hold: int, keep: int, history: list[tuple[int, frozenset[str], bool]]
) -> None:
    open_now: set[Labels] = set()
    for at, progress, transitions, result in played(hold, keep, history):
        for change, alert in transitions:
            match change:
                case Change.fired:
                    assert alert.labels not in open_now
                    assert at - alert.active_at >= timedelta(seconds=hold)
                    open_now.add(alert.labels)
                case Change.resolved:
                    open_now.remove(alert.labels)
                case _:
                    pass
        firing = {labels for labels, alert in progress.alerts.items() if alert.state is AlertState.firing}
        assert firing == open_now
        if result is not None:
            told = {labels for labels, alert in progress.alerts.items() if alert.state is not AlertState.inactive}
            assert {dict(labels)["i"] for labels, _ in result} <= {dict(labels)["i"] for labels in told}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0, 60, 300]), st.sampled_from([0, 60]), HISTORIES)
def test_the_state_is_a_value_that_history_before_it_cannot_change(
    hold: int, keep: int, history: list[tuple[int, frozenset[str], bool]]
) -> None:
    once, again = played(hold, keep, history), played(hold, keep, history)
    assert once == again
    for _, progress, _, _ in once:
        assert all(isinstance(alert, Active) and alert.labels == labels for labels, alert in progress.alerts.items())


@pytest.mark.slow
def test_a_round_of_ten_thousand_rules_over_a_thousand_series_takes_far_less_than_a_second() -> None:
    rules = [watch(a_rule(name=f"R{i}", for_seconds=60)) for i in range(10_000)]
    series = [labels_of({"__name__": "x", "instance": f"10.0.0.{i}:9100", "job": "node"}) for i in range(1_000)]
    states = [NOTHING_YET] * len(rules)
    best = 60.0
    for minute in range(3):
        results = [[(series[i % 1_000], 1.0)] for i in range(len(rules))]
        began = time.perf_counter()
        for i, watched in enumerate(rules):
            states[i] = evaluate(watched, states[i], results[i], after(minutes=minute)).progress
        best = min(best, time.perf_counter() - began)
    assert sum(progress.state is AlertState.firing for progress in states) == len(rules)
    assert best < 0.5
