"""The load guard: readings of a host's CPU, memory and disk become a level, and the level says what may still run.

Each measure has its own lower bounds, in percent of what there is; ranges are half-open, so 85.0 % CPU is CRITICAL and 84.9 %
is WARN. The worst measure counts.

    measure    WARN   CRITICAL   EMERGENCY
    cpu        70     85         95
    memory     75     85         92
    disk       85     95         -

A level is reached with one reading. It is left only after its measure has stayed 5 points or more below the level's lower bound
for 60 s, level by level. Readings that are 60 s or more apart do not show that it stayed there. A measure without a reading for
60 s is unknown, which blocks like CRITICAL.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from math import isnan
from typing import NamedTuple

from ops_mcp.governance.history import GuardLevel

MARGIN_POINTS = 5.0
SETTLING = timedelta(seconds=60)
STALE_AFTER = timedelta(seconds=60)


class Measure(StrEnum):
    """What is measured."""

    cpu = "cpu"
    memory = "memory"
    disk = "disk"


BOUNDS: Mapping[Measure, Mapping[GuardLevel, float]] = {
    Measure.cpu: {GuardLevel.warn: 70.0, GuardLevel.critical: 85.0, GuardLevel.emergency: 95.0},
    Measure.memory: {GuardLevel.warn: 75.0, GuardLevel.critical: 85.0, GuardLevel.emergency: 92.0},
    Measure.disk: {GuardLevel.warn: 85.0, GuardLevel.critical: 95.0},
}

CONCURRENCY: Mapping[GuardLevel, int | None] = {
    GuardLevel.not_applicable: None,
    GuardLevel.info: 500,
    GuardLevel.warn: 200,
    GuardLevel.critical: 50,
    GuardLevel.unknown: 50,
    GuardLevel.emergency: 0,
}
"""How many changes that belong to no incident may be in flight; None is no limit of the guard's."""

DISPATCH_DELAY_SECONDS: Mapping[GuardLevel, float] = {
    GuardLevel.not_applicable: 0.0,
    GuardLevel.info: 0.0,
    GuardLevel.warn: 0.1,
    GuardLevel.critical: 0.1,
    GuardLevel.unknown: 0.1,
    GuardLevel.emergency: 0.1,
}
"""The pause between two such changes."""


class Reading(NamedTuple):
    """Percent of the host's CPU, memory and fullest disk at one moment; None is a reading that failed."""

    at: datetime
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None


class Held(NamedTuple):
    """A level that a measure has reached and not left. `below_since` is when the readings fell clear of it, if they have."""

    level: GuardLevel
    since: datetime
    below_since: datetime | None = None


class Gauge(NamedTuple):
    """One measure: its newest reading and the levels that it holds, worst last."""

    percent: float
    at: datetime
    held: tuple[Held, ...] = ()


class Guard(NamedTuple):
    """What is known of one host. A measure that was never read is missing."""

    gauges: Mapping[Measure, Gauge] = {}


class Load(NamedTuple):
    """The guard's verdict at one moment: the level, since when, and which measure at what percentage it is for."""

    level: GuardLevel
    since: datetime | None
    measure: Measure | None
    percent: float | None


def observed(guard: Guard, reading: Reading) -> Guard:
    """The guard after one more reading. A reading that failed, is not a number, or is older than the last, changes nothing."""
    values = {Measure.cpu: reading.cpu, Measure.memory: reading.memory, Measure.disk: reading.disk}
    gauges = dict(guard.gauges)
    for measure, percent in values.items():
        known = gauges.get(measure)
        if percent is not None and not isnan(percent) and (known is None or known.at <= reading.at):
            gauges[measure] = Gauge(percent, reading.at, _held(measure, known, percent, reading.at))
    return Guard(gauges)


def load(guard: Guard, at: datetime) -> Load:
    """The level at `at`. What blocks for certain outweighs what is unknown, and that outweighs the rest."""
    loads = [_of_measure(measure, guard.gauges.get(measure), at) for measure in Measure]
    return max(loads, key=lambda one: _WEIGHT[one.level])


def level_of(measure: Measure, percent: float) -> GuardLevel:
    """The level of one reading, without any memory."""
    reached = [level for level, bound in BOUNDS[measure].items() if percent >= bound]
    return reached[-1] if reached else GuardLevel.info


_WEIGHT = {
    level: weight
    for weight, level in enumerate(
        (
            GuardLevel.not_applicable,
            GuardLevel.info,
            GuardLevel.warn,
            GuardLevel.unknown,
            GuardLevel.critical,
            GuardLevel.emergency,
        )
    )
}


def _of_measure(measure: Measure, gauge: Gauge | None, at: datetime) -> Load:
    if gauge is None:
        return Load(GuardLevel.unknown, None, measure, None)
    if at - gauge.at >= STALE_AFTER:
        return Load(GuardLevel.unknown, gauge.at + STALE_AFTER, measure, None)
    if gauge.held:
        return Load(gauge.held[-1].level, gauge.held[-1].since, measure, gauge.percent)
    return Load(GuardLevel.info, None, measure, gauge.percent)


def _held(measure: Measure, known: Gauge | None, percent: float, at: datetime) -> tuple[Held, ...]:
    before = {held.level: held for held in known.held} if known is not None else {}
    seen_since = known is not None and at - known.at < STALE_AFTER
    held: list[Held] = []
    for level, bound in BOUNDS[measure].items():
        found = _after(before.get(level), level, percent - bound, at, seen_since=seen_since)
        if found is not None:
            held.append(found)
    return tuple(held)


def _after(held: Held | None, level: GuardLevel, above: float, at: datetime, *, seen_since: bool) -> Held | None:
    """Whether one level is held after a reading `above` its lower bound (below, where negative)."""
    if held is None:
        return Held(level, at) if above >= 0 else None
    if above > -MARGIN_POINTS:
        return held._replace(below_since=None)
    since = held.below_since if held.below_since is not None and seen_since else at
    return None if at - since >= SETTLING else held._replace(below_since=since)
