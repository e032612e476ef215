"""The states of a rule's alerts: the state machine of Prometheus, one evaluation at a time.

                  result has it            for `for`              result has it no more, keep_firing_for over
    (not there) ───────────────▶ pending ───────────▶ firing ──────────────────────────────────────▶ inactive
         ▲                          │                                                                   │
         └── result has it no more ─┘                                 kept 15 minutes, then forgotten ──┘

Per label set after the rule's own labels are laid over the result. Time passes only at evaluations: a gap between two of them
counts as one step, and a query that failed changes nothing. With `for` 0 an alert is pending and firing in the same evaluation.
An inactive one that comes back begins anew. The rules are those of `rules/alerting.go` in Prometheus
(https://github.com/prometheus/prometheus); the differential tests hold them equal.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.alerting.labels import Labels, overlaid
from ops_mcp.alerting.rules import Rule, own_labels
from ops_mcp.alerting.templates import Template, expanded, is_plain, parse_template

RESOLVED_RETENTION = timedelta(minutes=15)
OUTAGE_TOLERANCE = timedelta(hours=1)
GRACE_PERIOD = timedelta(minutes=10)
UNNOTICED = timedelta(seconds=60)
MOST_ALERTS = 10_000


class AlertState(StrEnum):
    """Prometheus's three states."""

    inactive = "inactive"
    pending = "pending"
    firing = "firing"


class Active(NamedTuple):
    """One alert of a rule. `series` is the result's label set, `labels` the same with the rule's own laid over it.

    `value` is that of the last evaluation whose result had it. `keep_firing_since` is set while the alert fires only because of
    `keep_firing_for`; `resolved_at` once it is inactive.
    """

    labels: Labels
    series: Labels
    value: float
    state: AlertState
    active_at: datetime
    fired_at: datetime | None = None
    keep_firing_since: datetime | None = None
    resolved_at: datetime | None = None


class Progress(NamedTuple):
    """Where a rule stands. `evaluated_at` is the last evaluation that succeeded; `error` is empty unless a later one failed."""

    evaluated_at: datetime | None = None
    alerts: Mapping[Labels, Active] = {}
    error: str = ""

    @property
    def state(self) -> AlertState | None:
        """The furthest of its alerts; None for a rule that was never evaluated."""
        if self.evaluated_at is None:
            return None
        states = {alert.state for alert in self.alerts.values()}
        return next((state for state in (AlertState.firing, AlertState.pending) if state in states), AlertState.inactive)


class Change(StrEnum):
    """What one evaluation did to one alert. `withdrawn` is a firing one that waits again, because `for` was made longer."""

    pending = "pending"
    fired = "fired"
    kept = "kept"
    resolved = "resolved"
    dropped = "dropped"
    withdrawn = "withdrawn"


class Transition(NamedTuple):
    """A change, with the alert as it is after it; one that is dropped or withdrawn as it was before, and when that ended."""

    change: Change
    alert: Active


class Evaluation(NamedTuple):
    """The rule after an evaluation, and what changed in it."""

    progress: Progress
    transitions: tuple[Transition, ...] = ()


class Watch(NamedTuple):
    """A rule made ready for many evaluations; see `watch`."""

    own: Labels
    templates: tuple[tuple[str, Template], ...]
    hold: timedelta
    keep: timedelta


NOTHING_YET = Progress()
Result = Iterable[tuple[Labels, float]]


def watch(rule: Rule) -> Watch:
    """`rule` with its templates parsed and its times as differences."""
    parsed = [(name, value, parse_template(value)) for name, value in own_labels(rule)]
    fixed = tuple((name, value) for name, value, template in parsed if is_plain(template))
    templates = tuple((name, template) for name, _, template in parsed if not is_plain(template))
    hold, keep = timedelta(seconds=rule.for_seconds), timedelta(seconds=rule.keep_firing_for_seconds)
    return Watch(fixed, templates, hold, keep)


def evaluate(watched: Watch, progress: Progress, result: Result, at: datetime) -> Evaluation:
    """The rule after one evaluation at `at`, whose query answered `result`: label sets with values.

    Where two label sets become equal under the rule's labels, or more alerts are open than `MOST_ALERTS`, the evaluation counts
    as failed: states stay as they are (Prometheus drops them all beyond a limit) and `error` says why.
    """
    present: dict[Labels, tuple[Labels, float]] = {}
    count = 0
    for series, value in result:
        present[_laid_over(watched, series, value)] = (series, value)
        count += 1
    before = progress.alerts
    if not count and not before:
        return Evaluation(Progress(at))
    if count != len(present):
        return Evaluation(failed(progress, "two results have the same labels once the rule's own are laid over them"))
    if count > MOST_ALERTS:
        return Evaluation(failed(progress, f"the query answers with {count:,} alerts; at most {MOST_ALERTS:,} are kept"))
    return _advanced(watched, before, present, at)


def failed(progress: Progress, why: str) -> Progress:
    """The rule after a query that failed: nothing fires or resolves without evidence."""
    return progress._replace(error=why)


def restored(watched: Watch, progress: Progress, at: datetime) -> Progress:
    """What to go on with at `at`, the first evaluation after nobody was there to evaluate.

    As Prometheus restores `for` from its ALERTS_FOR_STATE series: time that nobody saw does not count as pending, and what was
    about to fire waits at least `GRACE_PERIOD` more. A pending alert starts anew after an outage longer than `OUTAGE_TOLERANCE`,
    and where `for` is shorter than the grace period.

    Three things differ, because our whole state is stored and not only that series. Up to `UNNOTICED` it is a gap like any other.
    A firing alert goes on firing, however long the outage, until an evaluation says otherwise: it was told, and is told no second
    time. A resolved one is kept until its retention is over. Where the clock was set back, everything is as old as it was.
    """
    if progress.evaluated_at is not None and at < progress.evaluated_at:
        return progress._replace(alerts=_earlier(progress.alerts, progress.evaluated_at - at))
    if progress.evaluated_at is None or at - progress.evaluated_at <= UNNOTICED:
        return progress
    outage = at - progress.evaluated_at
    kept = {labels: after for labels, alert in progress.alerts.items() if (after := _after(outage, watched, alert, at))}
    return progress._replace(alerts=kept)


def ended(progress: Progress, at: datetime) -> Evaluation:
    """The end of a rule that is deleted, or whose labels changed: what fires is resolved, what waits is dropped."""
    changes = {AlertState.firing: Change.resolved, AlertState.pending: Change.dropped}
    transitions = [
        _told(changes[alert.state], alert, _resolved(alert, at), at)
        for alert in progress.alerts.values()
        if alert.state is not AlertState.inactive
    ]
    return Evaluation(Progress(at), tuple(transitions))


def _laid_over(watched: Watch, series: Labels, value: float) -> Labels:
    if not watched.templates:
        return overlaid(series, watched.own)
    filled = tuple((name, expanded(template, series, value)) for name, template in watched.templates)
    return overlaid(series, watched.own + filled)


def _advanced(
    watched: Watch, before: Mapping[Labels, Active], present: Mapping[Labels, tuple[Labels, float]], at: datetime
) -> Evaluation:
    alerts: dict[Labels, Active] = {}
    transitions: list[Transition] = []
    for labels, (series, value) in present.items():
        known = before.get(labels)
        after, change = _seen(watched, known, labels, series, value, at)
        alerts[labels] = after
        if change is not None:
            transitions.append(_told(change, known, after, at))
    for labels, known in before.items():
        if labels not in present:
            after, change = _missed(watched, known, at)
            if after is not None:
                alerts[labels] = after
            if change is not None:
                transitions.append(_told(change, known, after, at))
    return Evaluation(Progress(at, alerts), tuple(transitions))


def _seen(
    watched: Watch, known: Active | None, labels: Labels, series: Labels, value: float, at: datetime
) -> tuple[Active, Change | None]:
    """An alert that the result has."""
    if known is None or known.state is AlertState.inactive:
        if watched.hold:
            return Active(labels, series, value, AlertState.pending, at), Change.pending
        return Active(labels, series, value, AlertState.firing, at, at), Change.fired
    waited_enough = at - known.active_at >= watched.hold
    if known.state is AlertState.firing:
        if waited_enough:
            return Active(labels, series, value, AlertState.firing, known.active_at, known.fired_at), None
        return Active(labels, series, value, AlertState.pending, known.active_at), Change.withdrawn
    if waited_enough:
        return Active(labels, series, value, AlertState.firing, known.active_at, at), Change.fired
    return Active(labels, series, value, AlertState.pending, known.active_at), None


def _missed(watched: Watch, known: Active, at: datetime) -> tuple[Active | None, Change | None]:
    """An alert that the result no longer has."""
    match known.state:
        case AlertState.inactive:
            forgotten = known.resolved_at is None or at - known.resolved_at > RESOLVED_RETENTION
            return (None if forgotten else known), None
        case AlertState.pending:
            return None, Change.dropped
        case AlertState.firing:
            since = known.keep_firing_since or at
            if at - since >= watched.keep:
                return _resolved(known, at), Change.resolved
            if at - known.active_at < watched.hold:
                return known._replace(state=AlertState.pending, fired_at=None, keep_firing_since=None), Change.withdrawn
            return known._replace(keep_firing_since=since), None if known.keep_firing_since else Change.kept


def _resolved(known: Active, at: datetime) -> Active:
    return known._replace(state=AlertState.inactive, keep_firing_since=None, resolved_at=at)


def _told(change: Change, before: Active | None, after: Active | None, at: datetime) -> Transition:
    if before is not None and change in (Change.dropped, Change.withdrawn):
        return Transition(change, before._replace(resolved_at=at))
    assert after is not None
    return Transition(change, after)


def _earlier(alerts: Mapping[Labels, Active], by: timedelta) -> Mapping[Labels, Active]:
    """The same alerts on a clock that was set back. `fired_at` stays: by it, people were told."""
    return {
        labels: alert._replace(
            active_at=alert.active_at - by,
            keep_firing_since=alert.keep_firing_since and alert.keep_firing_since - by,
            resolved_at=alert.resolved_at and alert.resolved_at - by,
        )
        for labels, alert in alerts.items()
    }


def _after(outage: timedelta, watched: Watch, alert: Active, at: datetime) -> Active | None:
    """An alert after `outage`; None for one that has to begin anew."""
    if alert.state is not AlertState.pending:
        return alert
    if outage > OUTAGE_TOLERANCE or watched.hold < GRACE_PERIOD:
        return None
    remaining = watched.hold - (at - outage - alert.active_at)
    if remaining <= timedelta(0):
        return alert
    if remaining < GRACE_PERIOD:
        return alert._replace(active_at=at + GRACE_PERIOD - watched.hold)
    return alert._replace(active_at=alert.active_at + outage)
