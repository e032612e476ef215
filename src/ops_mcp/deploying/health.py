"""The verdict on a release's health: what a look at it says, and what looks in a row come to. Looks and times are arguments."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.domain.places import Health
from ops_mcp.domain.releases import Observed, Presence, ProbeResult

SUPERVISED_SECONDS = 30.0
RECHECK_SECONDS = 10.0
SUPERVISED_FAILURES = 2
MOST_RESTARTS = 2
RESTARTS_COUNT_FOR = timedelta(hours=1)


class Look(NamedTuple):
    """One look at a deployment: what the provider saw, and what the probe answered, if it was asked."""

    observed: Observed
    probe: ProbeResult | None


class Sight(StrEnum):
    """What one look says. `gone` needs no second look."""

    good = "good"
    bad = "bad"
    gone = "gone"


class Seen(NamedTuple):
    sight: Sight
    why: str


class Streak(NamedTuple):
    """Looks in a row, newest last; `since` is the start time of the process the first good look saw."""

    good: int = 0
    bad: int = 0
    since: datetime | None = None
    why: str = "no look yet"


class Standing(StrEnum):
    pending = "pending"
    passed = "passed"
    failed = "failed"


class Judgement(NamedTuple):
    """Where verify, watch or supervision stands, with the reason that is told and recorded."""

    standing: Standing
    why: str


def seen(look: Look, streak: Streak) -> Seen:
    """What this look says: the process must be there, be the same one, own its port, and pass its probe."""
    observed, probe = look
    match observed.presence:
        case Presence.exited:
            return Seen(Sight.gone, _ending(observed))
        case Presence.absent:
            return Seen(Sight.gone, "nothing runs for this deployment")
        case Presence.building:
            return Seen(Sight.bad, "it is still being built")
        case Presence.running | Presence.unknown:
            pass
    if streak.since is not None and observed.since is not None and observed.since > streak.since:
        return Seen(Sight.gone, "it was restarted behind our back")
    if observed.answers is False:
        return Seen(Sight.bad, "its port is answered by another process")
    if probe is None:
        return Seen(Sight.bad, "it could not be probed")
    return Seen(Sight.good if probe.healthy else Sight.bad, probe.evidence)


def counted(streak: Streak, look: Look) -> Streak:
    """The streak after one more look."""
    sight, why = seen(look, streak)
    since = streak.since or look.observed.since
    if sight is Sight.good:
        return Streak(good=streak.good + 1, bad=0, since=since, why=why)
    return Streak(good=0, bad=streak.bad + 1, since=since, why=why)


def verify(health: Health, streak: Streak, look: Look | None, *, elapsed: float) -> Judgement:
    """Passed after enough good looks in a row; failed at once when the process is gone, or when the time is over.

    `streak` already counts `look`, which is the newest one.
    """
    if look is not None and seen(look, streak).sight is Sight.gone:
        return Judgement(Standing.failed, streak.why)
    if streak.good >= health.successes:
        return Judgement(Standing.passed, f"{streak.good} healthy probes in a row: {streak.why}")
    if elapsed >= health.verify_seconds:
        return Judgement(Standing.failed, f"no {health.successes} healthy probes in a row in {elapsed:.0f} s: {streak.why}")
    return Judgement(Standing.pending, streak.why)


def watch(health: Health, streak: Streak, look: Look | None, *, elapsed: float) -> Judgement:
    """Failed when the process is gone or enough looks in a row were bad; passed when the time is over and the last was good."""
    if look is not None and seen(look, streak).sight is Sight.gone:
        return Judgement(Standing.failed, streak.why)
    if streak.bad >= health.failures:
        return Judgement(Standing.failed, f"{streak.bad} failed probes in a row: {streak.why}")
    if elapsed >= health.watch_seconds and streak.good > 0:
        return Judgement(Standing.passed, f"healthy for {elapsed:.0f} s: {streak.why}")
    return Judgement(Standing.pending, streak.why)


def supervise(streak: Streak, look: Look) -> Judgement:
    """The verdict on a release after its deployment is done; `passed` means the look was good."""
    if seen(look, streak).sight is Sight.gone:
        return Judgement(Standing.failed, streak.why)
    if streak.bad >= SUPERVISED_FAILURES:
        return Judgement(Standing.failed, f"{streak.bad} failed probes in a row: {streak.why}")
    return Judgement(Standing.passed if streak.good else Standing.pending, streak.why)


def next_look_seconds(streak: Streak) -> float:
    """How long supervision waits: 30 s, and 10 s after a failure."""
    return RECHECK_SECONDS if streak.bad else SUPERVISED_SECONDS


def may_restart(restarts: tuple[datetime, ...], at: datetime) -> bool:
    """At most twice within an hour; after that a person is told."""
    return sum(1 for restart in restarts if at - restart < RESTARTS_COUNT_FOR) < MOST_RESTARTS


def _ending(observed: Observed) -> str:
    if observed.signal is not None:
        return f"its process was ended by signal {observed.signal}"
    if observed.exit_code is not None:
        return f"its process exited with code {observed.exit_code}"
    return "its process has ended"
