"""How a probe stands after what it found in a row, when it is asked again, and when what it found is too old to say anything."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from ops_mcp.domain.inventory import Found, HealthState, Pace
from ops_mcp.values import Value

REMEMBERED = 20
"""How many findings flapping is judged by."""

FLAPS_FROM, FLAPS_UNTIL = 6, 3
"""A probe flaps once its last findings changed sides so often, and until they did so less than that."""

LATE_AFTER, TOO_OLD_AFTER = 2.0, 3.0
"""In intervals: a finding older than that is said to be late, or says nothing any more."""

_GOOD, _BAD = "+", "-"


class Standing(Value):
    """Where one probe stands. `good`, `fine`, `poor` and `bad` count findings in a row: that it answered, that it was healthy,
    that it was not, that it was unhealthy. `past` has one sign for each of the last findings."""

    state: HealthState = HealthState.unknown
    since: datetime | None = None
    checked_at: datetime | None = None
    evidence: str = "not asked yet"
    latency_ms: float | None = None
    good: int = 0
    fine: int = 0
    poor: int = 0
    bad: int = 0
    past: str = ""
    flapping: bool = False


UNASKED: Final = Standing()


def after(standing: Standing, found: Found, *, at: datetime, pace: Pace) -> Standing:
    """The standing after one more finding.

    It turns unhealthy, or from healthy to degraded, after `failures` in a row; better again after `successes`; the first answer
    of all is taken as it is. What could not even be asked is unknown at once.
    """
    if found.state is HealthState.unknown:
        return _changed(Standing(past=standing.past), standing, HealthState.unknown, found, at)
    is_bad, is_fine = found.state is HealthState.unhealthy, found.state is HealthState.healthy
    past = (standing.past + (_BAD if is_bad else _GOOD))[-REMEMBERED:]
    counted = Standing(
        good=0 if is_bad else standing.good + 1,
        fine=standing.fine + 1 if is_fine else 0,
        poor=0 if is_fine else standing.poor + 1,
        bad=standing.bad + 1 if is_bad else 0,
        past=past,
        flapping=_flaps(past, FLAPS_UNTIL if standing.flapping else FLAPS_FROM),
    )
    return _changed(counted, standing, _turned(standing.state, counted, found.state, pace), found, at)


def shown(standing: Standing) -> HealthState:
    """What it is told as: what flaps is never told to be healthy."""
    if standing.flapping and standing.state is HealthState.healthy:
        return HealthState.degraded
    return standing.state


def wait_seconds(standing: Standing, pace: Pace, chance: float) -> float:
    """How long until it is asked again: the interval, up to a tenth less so that not all are asked at once; sooner after a
    failure and until it is well again. `chance` lies between 0 and 1."""
    worse = standing.bad > 0 or (standing.poor > 0 and standing.state is HealthState.healthy)
    steady = not worse and standing.state is not HealthState.unhealthy
    seconds = pace.interval_seconds if steady else min(pace.recheck_seconds, pace.interval_seconds)
    return seconds * (1 - 0.1 * chance)


def is_due(due: datetime | None, now: datetime, pace: Pace) -> bool:
    """Whether it is to be asked now. A moment further off than any wait means that the clock was set back."""
    return due is None or now >= due or due - now > timedelta(seconds=pace.interval_seconds)


def is_late(checked_at: datetime, now: datetime, pace: Pace) -> bool:
    return _age(checked_at, now) > LATE_AFTER * pace.interval_seconds


def is_too_old(checked_at: datetime, now: datetime, pace: Pace, *, timeout_seconds: float = 30.0) -> bool:
    """Whether a finding says nothing about now any more."""
    return _age(checked_at, now) > TOO_OLD_AFTER * pace.interval_seconds + timeout_seconds


def _age(then: datetime, now: datetime) -> float:
    """Seconds between them; a clock that was set back makes nothing old."""
    return (now - then).total_seconds()


def _turned(state: HealthState, counted: Standing, found: HealthState, pace: Pace) -> HealthState:
    match found:
        case HealthState.unhealthy:
            return found if counted.bad >= pace.failures else state
        case HealthState.degraded:
            enough = counted.good >= pace.successes if state is HealthState.unhealthy else counted.poor >= pace.failures
        case _:
            enough = (counted.fine if state is HealthState.degraded else counted.good) >= pace.successes
    return found if enough or state is HealthState.unknown else state


def _changed(counted: Standing, before: Standing, state: HealthState, found: Found, at: datetime) -> Standing:
    same = state is before.state and before.since is not None
    return counted.evolve(
        state=state,
        since=before.since if same else at,
        checked_at=at,
        evidence=found.evidence,
        latency_ms=found.latency_ms,
    )


def _flaps(past: str, bound: int) -> bool:
    return sum(1 for one, following in pairwise(past) if one != following) >= bound
