"""Waiting for what other processes do: asked again until it holds, always with a deadline."""

from collections.abc import Callable

import anyio

_PAUSE_SECONDS = 0.02


async def until(holds: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came to hold in time. Asked at least once."""
    ends_at = anyio.current_time() + seconds
    while True:
        if holds():
            return True
        if anyio.current_time() >= ends_at:
            return False
        await anyio.sleep(_PAUSE_SECONDS)
