"""Waiting for an engine that went away: it is restarted, updated, or its host comes up again. Only for what may be begun anew."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ops_mcp.ports import Sleep
from ops_mcp.providers.docker.troubles import EngineAway

T = TypeVar("T")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 8.0


async def patiently(step: Callable[[bool], Awaitable[T]], *, sleep: Sleep, seconds: float) -> T:
    """`step(False)`; whenever the engine was away meanwhile, `step(True)` once it may be back, for that long in all."""
    waited, pause = 0.0, _FIRST_PAUSE_SECONDS
    interrupted = False
    while True:
        try:
            return await step(interrupted)
        except EngineAway:
            if waited >= seconds:
                raise
        await sleep(pause)
        waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE_SECONDS)
        interrupted = True
