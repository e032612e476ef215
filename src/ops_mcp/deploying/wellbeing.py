"""The health of one thing of the inventory, from where its probes stand and what is recorded of its deployment; and what
explains its trouble.

    what we deployed there   expected running                       expected stopped
    serves, failing          unhealthy                              degraded: it should be stopped
    serves, healthy          healthy, unless its looks are too old  degraded: it should be stopped
    serves, unverified       unknown                                degraded: it should be stopped
    nothing, it ended        unhealthy; unknown if that is          healthy
    nothing, on its way      unknown                                unknown
    nothing, never           says nothing                           healthy

Each probe says what it stands for; one that is too old, or was never asked, says unknown. Where it is to be stopped, one that
answers is degraded, and one that does not is healthy. The worst that is said counts: unhealthy, degraded, unknown, healthy. Where
nothing is said at all it is unknown.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.deploying.standing import Standing, is_late, is_too_old, shown
from ops_mcp.domain.inventory import RELEASE, HealthState, Thing
from ops_mcp.domain.releases import DeploymentState, HealthVerdict

WORST_FIRST = (HealthState.unhealthy, HealthState.degraded, HealthState.unknown, HealthState.healthy)

GRACE = timedelta(minutes=2)
"""How much later than the trouble that it explains a dependency's may have been seen: probes are asked at different times."""


class Released(NamedTuple):
    """What is recorded of the deployment that serves, or of the newest one where none does. `proven_at` is when it was last seen
    to be well, as far as it is known."""

    deployment: str
    serving: bool
    state: str
    verdict: HealthVerdict
    proven_at: datetime | None = None
    detail: str = ""
    final: bool = True


class Said(NamedTuple):
    """What one probe, or the deployment, says of the thing."""

    by: str
    state: HealthState
    evidence: str
    since: datetime | None = None
    flapping: bool = False


class Wellbeing(NamedTuple):
    state: HealthState
    evidence: str
    since: datetime | None
    flapping: bool
    said: tuple[Said, ...]


def wellbeing(thing: Thing, standings: Mapping[str, Standing], released: Released | None, now: datetime) -> Wellbeing:
    """`standings` are those of its probes by their names; only the newest answers to the questions that are asked now."""
    serves = released is not None and released.serving
    said = [_by_probe(thing, name, standing, now) for name, standing in standings.items() if serves or name != RELEASE]
    if thing.bound and (told := _by_release(thing, released, now)) is not None:
        said.append(told)
    if not said:
        why = "nothing was ever deployed here" if thing.bound else "no probe is configured"
        return Wellbeing(HealthState.unknown, why, None, flapping=False, said=())
    worst = min(said, key=lambda one: WORST_FIRST.index(one.state))
    same = [one for one in said if one.state is worst.state]
    moments = [one.since for one in same if one.since is not None]
    # Trouble has lasted since the first began it, health since the last became well.
    since = (max if worst.state is HealthState.healthy else min)(moments, default=None)
    evidence = "; ".join(f"{one.by}: {one.evidence}" for one in same[:3])
    return Wellbeing(worst.state, evidence, since, any(one.flapping for one in said), tuple(said))


class Node(NamedTuple):
    """One thing as the search for an explanation sees it."""

    state: HealthState
    since: datetime | None
    depends_on: tuple[str, ...]


def explained_by(name: str, nodes: Mapping[str, Node]) -> str:
    """The dependency, near or far, whose trouble explains this one's: as bad at least, no younger, and itself not explained by
    another where that can be told. Empty where there is none. Cycles end."""
    node = nodes[name]
    if node.state not in (HealthState.unhealthy, HealthState.degraded):
        return ""
    suspects = [one for one in _reached(name, nodes) if _can_explain(nodes[one], node)]
    roots = [one for one in suspects if not any(_can_explain(nodes[n], nodes[one]) for n in _reached(one, nodes) if n != name)]
    return next(iter(roots or suspects), "")


def _reached(name: str, nodes: Mapping[str, Node]) -> Sequence[str]:
    """Everything it depends on, the nearest first, itself left out."""
    found: dict[str, None] = {}
    waiting: list[str] = [name]
    while waiting:
        following: list[str] = []
        for each in (d for one in waiting for d in nodes[one].depends_on):
            if each in nodes and each != name and each not in found:
                found[each] = None
                following.append(each)
        waiting = following
    return list(found)


def _can_explain(cause: Node, trouble: Node) -> bool:
    if cause.state not in (HealthState.unhealthy, HealthState.degraded):
        return False
    if WORST_FIRST.index(cause.state) > WORST_FIRST.index(trouble.state):
        return False
    return cause.since is None or trouble.since is None or cause.since <= trouble.since + GRACE


def _by_probe(thing: Thing, name: str, standing: Standing, now: datetime) -> Said:
    checked, state, evidence = standing.checked_at, shown(standing), standing.evidence
    if checked is None:
        return Said(name, HealthState.unknown, evidence)
    if is_too_old(checked, now, thing):
        age = f"{(now - checked).total_seconds():.0f} s"
        return Said(name, HealthState.unknown, f"last asked {age} ago, which says nothing about now")
    if is_late(checked, now, thing):
        evidence += f" (late: asked {(now - checked).total_seconds():.0f} s ago)"
    if thing.expected == "stopped":
        state, evidence = _when_stopped(state, evidence)
    if standing.flapping:
        evidence += f" (flapping: {standing.past.count('-')} of the last {len(standing.past)} failed)"
    return Said(name, state, evidence, standing.since, standing.flapping)


def _when_stopped(state: HealthState, evidence: str) -> tuple[HealthState, str]:
    match state:
        case HealthState.unhealthy:
            return HealthState.healthy, f"stopped, as expected: {evidence}"
        case HealthState.unknown:
            return state, evidence
        case _:
            return HealthState.degraded, f"it answers, and should be stopped: {evidence}"


def _by_release(thing: Thing, released: Released | None, now: datetime) -> Said | None:
    by = "deployment"
    if thing.expected == "stopped":
        if released is None or not released.serving:
            if released is not None and not released.final:
                return Said(by, HealthState.unknown, f"{released.deployment} is on its way")
            return Said(by, HealthState.healthy, "nothing that we deployed runs, as expected")
        return Said(by, HealthState.degraded, f"{released.deployment} runs, and should be stopped")
    if released is None:
        return None
    if not released.serving:
        if not released.final:
            return Said(by, HealthState.unknown, f"{released.deployment} is on its way")
        state = HealthState.unknown if released.state == DeploymentState.unknown else HealthState.unhealthy
        return Said(by, state, f"nothing serves: {released.deployment} ended as {released.state}")
    return _by_verdict(thing, by, released, now)


def _by_verdict(thing: Thing, by: str, released: Released, now: datetime) -> Said:
    match released.verdict:
        case HealthVerdict.failing:
            return Said(by, HealthState.unhealthy, released.detail or f"{released.deployment} is failing")
        case HealthVerdict.unverified:
            return Said(by, HealthState.unknown, f"{released.deployment} is not verified yet")
        case HealthVerdict.healthy:
            if released.proven_at is None or is_too_old(released.proven_at, now, thing):
                return Said(by, HealthState.unknown, f"{released.deployment} was last looked at too long ago")
            return Said(by, HealthState.healthy, f"{released.deployment} is healthy")
