"""What is really there for a deployment, by what the engine tells of its containers. Pure; decides nothing about health."""

import signal as signals
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.releases import DeploymentId, Observed, Presence
from ops_mcp.providers._mirror import cleaned
from ops_mcp.providers.docker.answers import Container, State
from ops_mcp.providers.docker.containers import Ours

_QUICK_SECONDS = 10.0
_LOOP_ENDS = 3
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - what the engine answers for a port that it publishes on every address


class Recent(NamedTuple):
    """What the engine's events told of a group in the last ten minutes: ends that nobody asked for, kills for want of memory, and
    whether the last end was asked for."""

    ends: int = 0
    out_of_memory: int = 0
    stopped: bool = False


_NOTHING_RECENT = Recent()


def observe(
    deployment: DeploymentId,
    group: str,
    found: Sequence[Ours],
    *,
    replicas: int,
    address: str,
    recent: Recent = _NOTHING_RECENT,
    tail: Sequence[str] = (),
) -> Observed:
    """One look at all replicas as one: it runs when all of them run, and has ended when one of them has."""
    ours = [one for one in found if one.replica <= replicas and one.container.state.status != "removing"]
    if not ours:
        return Observed(deployment=deployment, presence=Presence.absent, handle=group)
    worst = min(ours, key=lambda one: _BY_WEIGHT.index(_presence(one.container.state)))
    presence = _presence(worst.container.state)
    if presence is Presence.running and len(ours) < replicas:
        presence = Presence.building
    running = presence is Presence.running
    state = worst.container.state
    ended = presence is Presence.exited and state.status != "restarting"
    return Observed(
        deployment=deployment,
        presence=presence,
        answers=_answers(ours, running=running),
        exit_code=state.exit_code if ended else None,
        signal=_signal(state) if ended else None,
        since=_since(ours, presence, state),
        url=url_of(ours[0], address) if presence in (Presence.running, Presence.building) else None,
        handle=group,
        detail=_detail(ours, worst, presence, replicas, recent),
        untrusted_tail=tuple(tail),
    )


def ending_of(state: State) -> str:
    """How a container ended, in words: an exit code, a signal, memory, or a start that failed."""
    if state.out_of_memory:
        return "the kernel ended it: out of memory"
    if state.error:
        return f"the engine could not start it (exit code {state.exit_code})"
    number = _signal(state)
    if number is None:
        return f"exit code {state.exit_code}"
    return f"exit code {state.exit_code}, as after signal {number} ({_signal_name(number)}); the engine saw no want of memory"


def _detail(ours: Sequence[Ours], worst: Ours, presence: Presence, replicas: int, recent: Recent) -> str:
    said = [_of_presence(worst, presence, recent)]
    if len(ours) < replicas or (replicas > 1 and presence is not Presence.running):
        up = sum(1 for one in ours if one.container.state.status == "running")
        said.append(f"{up} of {replicas} replicas run")
    if presence is Presence.running:
        said += [*_of_checks(ours), *_of_restarts(ours)]
        if recent.out_of_memory:
            said.append(f"the kernel ended a process in it for want of memory, {recent.out_of_memory} times in 10 minutes")
    return "; ".join(part for part in said if part)


def _of_presence(worst: Ours, presence: Presence, recent: Recent) -> str:
    state = worst.container.state
    match presence:
        case Presence.exited:
            if state.status == "restarting":
                return f"the engine starts it again and again ({worst.container.restart_count} times): it does not stay up"
            return "; ".join(part for part in (ending_of(state), _loop(state, recent)) if part)
        case Presence.building:
            return "created, and not started yet" if state.status == "created" else ""
        case Presence.unknown:
            return f"the engine says {cleaned(state.status, 40) or 'nothing'!r} of it, which is no state that is known"
        case Presence.running:
            return "it is paused" if state.status == "paused" else ""
        case Presence.absent:
            return ""


def _loop(state: State, recent: Recent) -> str:
    """Whether it was stopped, or ends as often as it is started."""
    if recent.stopped:
        return "it was stopped"
    if recent.ends >= _LOOP_ENDS:
        return f"it ended {recent.ends} times in 10 minutes"
    if state.started_at is not None and state.finished_at is not None:
        lived = (state.finished_at - state.started_at).total_seconds()
        if 0 <= lived < _QUICK_SECONDS:
            return f"it lived for {lived:.1f} s"
    return ""


def _of_checks(ours: Sequence[Ours]) -> list[str]:
    said: list[str] = []
    for one in ours:
        health = one.container.state.health
        if health is None or health.status in ("", "none", "healthy"):
            continue
        who = f"replica {one.replica}: " if len(ours) > 1 else ""
        if health.status == "starting":
            said.append(f"{who}its image's own health check has not passed yet")
        elif health.status == "unhealthy":
            said.append(f"{who}its image's own health check says unhealthy, {health.failing_streak} failures in a row")
    return said


def _of_restarts(ours: Sequence[Ours]) -> list[str]:
    again = max(one.container.restart_count for one in ours)
    return [f"the engine started it again {again} times"] if again else []


def is_unhealthy(container: Container) -> bool:
    """By the image's own check, while it runs: one that ended keeps what was said last."""
    health = container.state.health
    return container.state.status == "running" and health is not None and health.status == "unhealthy"


def is_checked(container: Container) -> bool:
    """Whether nothing more is to be waited for from the image's own check."""
    health = container.state.health
    return health is None or health.status != "starting"


def _presence(state: State) -> Presence:
    match state.status:
        case "running" | "paused":
            return Presence.running
        case "exited" | "dead" | "restarting":
            return Presence.exited
        case "created":
            return Presence.building
        case _:
            return Presence.unknown


_BY_WEIGHT = (Presence.exited, Presence.unknown, Presence.building, Presence.running, Presence.absent)


def _answers(ours: Sequence[Ours], *, running: bool) -> bool | None:
    """Whether the port is its own: the first replica runs and the engine holds the mapping for it."""
    first = ours[0]
    if not first.marks.port:
        return None
    return running and first.container.state.status == "running" and _mapping(first) is not None


def _since(ours: Sequence[Ours], presence: Presence, worst: State) -> datetime | None:
    """When the newest process started, so that one that was started behind our back shows; or when it ended."""
    if presence is Presence.exited:
        return worst.finished_at
    return max((one.container.state.started_at for one in ours if one.container.state.started_at is not None), default=None)


def url_of(first: Ours, address: str) -> str | None:
    """Where this replica answers, as the engine publishes it; None where it does not."""
    found = _mapping(first)
    if found is None:
        return None
    ip, port = found
    host = address if ip in _ANYWHERE else ip
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _mapping(first: Ours) -> tuple[str, str] | None:
    published = first.container.networking.ports.get(first.marks.port) or ()
    return next(((one.host_ip, one.host_port) for one in published if one.host_port), None)


def _signal(state: State) -> int | None:
    """The engine writes 128 and the signal's number as exit code; a process may exit with such a number itself."""
    number = state.exit_code - 128
    return number if 0 < number < 65 and not state.error else None


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
