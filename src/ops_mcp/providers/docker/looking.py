"""Asking an engine what became of a deployment: its containers, their recent events, and the last that they wrote."""

import json
from collections.abc import Sequence
from datetime import datetime

import anyio

from ops_mcp.domain.releases import Observed, Placement, Presence
from ops_mcp.errors import OpsError
from ops_mcp.governance.redaction import plain
from ops_mcp.providers.docker import logs
from ops_mcp.providers.docker.containers import Ours, of_group
from ops_mcp.providers.docker.engine import EngineApi, lines_of
from ops_mcp.providers.docker.marks import group_labels, group_of
from ops_mcp.providers.docker.observing import Recent, is_unhealthy, observe

_RECENT_SECONDS = 600
_EVENT_SECONDS = 1.0
_TAIL_LINES, _LINE_CHARACTERS = 20, 1000


async def look(engine: EngineApi, placement: Placement, *, replicas: int, address: str, now: datetime) -> Observed:
    """One look at what runs, or ran, for this deployment. Raises where the engine cannot be asked."""
    group = group_of(placement)
    found = await of_group(engine, group)
    first = observe(placement.deployment, group, found, replicas=replicas, address=address)
    if first.presence not in (Presence.running, Presence.exited):
        return first
    recent = await _recent(engine, group, now)
    tail = await _tail(engine, found, first.presence)
    return observe(placement.deployment, group, found, replicas=replicas, address=address, recent=recent, tail=tail)


async def _recent(engine: EngineApi, group: str, now: datetime) -> Recent:
    """Ends that nobody asked for, and kills for want of memory. An engine whose clock is behind ours holds the stream open until
    it has caught up; what it told within a second will do. An engine that tells nothing is no reason not to look."""
    until = now.timestamp()
    filters = json.dumps({"label": [*group_labels(group)], "type": ["container"], "event": ["die", "stop", "oom"]})
    params = {"since": f"{until - _RECENT_SECONDS:.0f}", "until": f"{until:.6f}", "filters": filters}
    seen: list[str] = []
    try:
        with anyio.move_on_after(_EVENT_SECONDS):
            async with engine.open("GET", "/events", doing="its events", params=params) as response:
                async for event in lines_of(response, "its events"):
                    seen.append(str(event.get("Action")))  # noqa: PERF401 - what came before the second was over counts
    except OpsError:
        return Recent()
    ends = [action for action in seen if action != "oom"]
    asked_for = bool(ends) and ends[-1] == "stop"
    return Recent(ends=max(0, ends.count("die") - ends.count("stop")), out_of_memory=seen.count("oom"), stopped=asked_for)


async def _tail(engine: EngineApi, found: Sequence[Ours], presence: Presence) -> Sequence[str]:
    """The last lines of what ended, or what an unhealthy container's own check printed."""
    if presence is Presence.exited:
        ended = [one for one in found if one.container.state.status in ("exited", "dead")]
        try:
            lines = await logs.last_lines(engine, ended[0], _TAIL_LINES) if ended else ()
        except OpsError:
            return ()
        return [plain(line, _LINE_CHARACTERS) for line in lines]
    checks = [one.container.state.health for one in found if is_unhealthy(one.container)]
    said = [entry.output for health in checks if health is not None for entry in health.log[-1:]]
    return [plain(line, _LINE_CHARACTERS) for text in said for line in text.splitlines()[-_TAIL_LINES:]][:_TAIL_LINES]
