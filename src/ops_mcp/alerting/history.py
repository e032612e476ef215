"""What a rule would have done: its alerts over evaluations that were made again from stored samples."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from ops_mcp.alerting.labels import Labels
from ops_mcp.alerting.lifecycle import NOTHING_YET, AlertState, Change, Result, Transition, evaluate, failed, watch
from ops_mcp.alerting.rules import Rule

MOST_PERIODS = 1_000


class QueryFailed(NamedTuple):
    """An evaluation whose query failed, and why."""

    why: str


class Period(NamedTuple):
    """One time that an alert fired. `resolved_at` is None where it still fires after the last evaluation.

    `value` is the one that it fired with.
    """

    labels: Labels
    pending_at: datetime
    fired_at: datetime
    resolved_at: datetime | None
    value: float


class Rehearsal(NamedTuple):
    """`never_fired` counts alerts that waited and ended, or still wait; `failures` the evaluations that failed.

    At most `MOST_PERIODS` periods are kept, the first ones; `fired` counts them all.
    """

    periods: tuple[Period, ...]
    fired: int
    never_fired: int
    evaluations: int
    failures: int
    failure: str


def when_would_fire(rule: Rule, evaluations: Iterable[tuple[datetime, Result | QueryFailed]]) -> Rehearsal:
    """Run `rule` over what its query answered at each moment, oldest first, beginning with nothing known."""
    watched, progress = watch(rule), NOTHING_YET
    noted = _Noted()
    count = failures = 0
    failure = ""
    for at, answer in evaluations:
        count += 1
        if isinstance(answer, QueryFailed):
            progress = failed(progress, answer.why)
        else:
            progress, transitions = evaluate(watched, progress, answer, at)
            for transition in transitions:
                noted.note(transition)
        if progress.error:
            failures, failure = failures + 1, progress.error
    waiting = sum(alert.state is AlertState.pending for alert in progress.alerts.values())
    return Rehearsal(noted.periods, noted.fired, noted.dropped + waiting, count, failures, failure)


class _Noted:
    """Periods in the order in which they began."""

    def __init__(self) -> None:
        self._periods: list[Period] = []
        self._open: dict[Labels, int] = {}
        self.fired = 0
        self.dropped = 0

    @property
    def periods(self) -> tuple[Period, ...]:
        return tuple(self._periods)

    def note(self, transition: Transition) -> None:
        change, alert = transition
        match change:
            case Change.fired:
                self.fired += 1
                if len(self._periods) < MOST_PERIODS:
                    self._open[alert.labels] = len(self._periods)
                    self._periods.append(
                        Period(alert.labels, alert.active_at, alert.fired_at or alert.active_at, None, alert.value)
                    )
            case Change.resolved | Change.withdrawn:
                index = self._open.pop(alert.labels, None)
                if index is not None:
                    self._periods[index] = self._periods[index]._replace(resolved_at=alert.resolved_at)
            case Change.dropped:
                self.dropped += 1
            case Change.pending | Change.kept:
                pass
