"""Figures about incidents, each defined here once, from stored facts only. Where there are no facts there is no figure.

    MTTD               mean of (fired - began): from the first evaluation that saw the condition true to the alert
    MTTR               mean of (resolved - fired), over incidents that are resolved
    auto-fix           of the closed incidents whose rule names a remedy: the share that ended after an automatic attempt and
                       without a person
    auto-recovery      of all closed incidents: the share that ended without a person
    false positives    of all closed incidents: the share that a person closed as false positive

Closed is resolved and not open again. "Without a person" is: nobody acknowledged it, no attempt of a person's, and it was not
escalated. Nothing was recovered in a false positive: it is among all closed incidents, and in no share of recoveries.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import fmean
from typing import NamedTuple


class Case(NamedTuple):
    """The facts about one incident.

    `remediable`: its rule names a remedy. `automatic_attempts` and `manual_attempts` are counts. `acknowledged`: somebody took it
    in hand.
    """

    began_at: datetime
    fired_at: datetime
    resolved_at: datetime | None = None
    remediable: bool = False
    automatic_attempts: int = 0
    manual_attempts: int = 0
    acknowledged: bool = False
    escalated: bool = False
    false_positive: bool = False

    @property
    def without_a_person(self) -> bool:
        return not (self.acknowledged or self.escalated or self.manual_attempts)


class Share(NamedTuple):
    """So many out of so many. The ratio is None where there were none."""

    some: int
    of: int

    @property
    def ratio(self) -> float | None:
        return self.some / self.of if self.of else None


class Times(NamedTuple):
    """Mean and 95th percentile (nearest rank) in seconds of so many known ones; None where there were none."""

    mean: float | None
    p95: float | None
    known: int


class Figures(NamedTuple):
    """See the module for what each of them is."""

    incidents: int
    open: int
    time_to_detect: Times
    time_to_resolve: Times
    auto_fix: Share
    auto_recovery: Share
    false_positives: Share


def figures(cases: Iterable[Case]) -> Figures:
    """The figures of these incidents, for instance those that fired within a month."""
    known = tuple(cases)
    closed = [case for case in known if case.resolved_at is not None]
    real = [case for case in closed if not case.false_positive]
    unaided = [case for case in real if case.without_a_person]
    remediable = [case for case in closed if case.remediable]
    fixed = [case for case in unaided if case.remediable and case.automatic_attempts]
    return Figures(
        incidents=len(known),
        open=len(known) - len(closed),
        time_to_detect=_times([case.fired_at - case.began_at for case in known]),
        time_to_resolve=_times([case.resolved_at - case.fired_at for case in closed if case.resolved_at is not None]),
        auto_fix=Share(len(fixed), len(remediable)),
        auto_recovery=Share(len(unaided), len(closed)),
        false_positives=Share(len(closed) - len(real), len(closed)),
    )


def _times(spans: Sequence[timedelta]) -> Times:
    seconds = sorted(max(0.0, span.total_seconds()) for span in spans)
    if not seconds:
        return Times(None, None, 0)
    return Times(fmean(seconds), seconds[-(-95 * len(seconds) // 100) - 1], len(seconds))
