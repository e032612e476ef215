"""Looking at a release: one look by the provider and the probe, and looks in a row until the pure verdict is in."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

from ops_mcp.deploying.health import Judgement, Look, Standing, Streak, counted
from ops_mcp.domain.places import Health
from ops_mcp.domain.releases import Observed, Placement, Presence
from ops_mcp.errors import OpsError
from ops_mcp.operations.asking import ask
from ops_mcp.operations.parts import Looked, Parts

S = TypeVar("S")


class Judge(Protocol):
    def __call__(self, health: Health, streak: Streak, look: Look | None, *, elapsed: float) -> Judgement: ...


async def observe(placement: Placement, parts: Parts, *, waits_out: bool = False) -> Observed:
    """What the provider sees now. A provider that cannot tell is an observation too: `unknown`, with the reason."""
    try:
        provider = parts.provider(placement.release)
        return await ask(
            lambda: provider.status(placement),
            parts,
            seconds=parts.patience.look_seconds,
            what="Looking at what runs",
            waits_out=waits_out,
        )
    except OpsError as error:
        return Observed(deployment=placement.deployment, presence=Presence.unknown, detail=error.message)


async def look_at(placement: Placement, parts: Parts) -> Look:
    """One look: what is there and, where something can answer, one probe of it."""
    look = await _look(placement, parts)
    binding = placement.release.binding
    parts.looks[binding.service, binding.environment] = Looked(placement, look)
    return look


async def _look(placement: Placement, parts: Parts) -> Look:
    observed = await observe(placement, parts)
    match observed.presence:
        case Presence.running | Presence.unknown:
            provider = parts.providers.get(placement.release.binding.provider)  # which an operator may have taken away
            return Look(observed, await parts.probe(placement, provider, observed) if provider is not None else None)
        case Presence.building | Presence.exited | Presence.absent:
            return Look(observed, None)


async def judged(
    placement: Placement,
    parts: Parts,
    judge: Judge,
    *,
    since: datetime,
    every: float,
    stop: Callable[[], Awaitable[S | None]],
) -> Judgement | S:
    """Look in a row until the verdict is in, or `stop` gives a reason, which it is asked for every tick."""
    streak = Streak()
    while True:
        look = await look_at(placement, parts)
        streak = counted(streak, look)
        elapsed = (parts.clock() - since).total_seconds()
        judgement = judge(placement.release.binding.health, streak, look, elapsed=elapsed)
        if judgement.standing is not Standing.pending:
            return judgement
        reason = await _pause(parts, stop, seconds=every)
        if reason is not None:
            return reason


async def _pause(parts: Parts, stop: Callable[[], Awaitable[S | None]], *, seconds: float) -> S | None:
    """Wait until the next look, tick by tick."""
    left = seconds
    while True:
        if (reason := await stop()) is not None:
            return reason
        if left <= 0:
            return None
        await parts.sleep(min(left, parts.patience.tick_seconds))
        left -= parts.patience.tick_seconds
