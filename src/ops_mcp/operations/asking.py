"""The one place that asks providers: with a deadline, with retries of temporary failures, and stoppable between ticks.

A place that says when it takes requests again (`Retry-After`) has not failed: what must be done there waits for that, and only
what merely looks gives up instead, because it looks again anyway.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from ops_mcp.errors import DeadlineExceeded, OpsError, ProviderError
from ops_mcp.operations.parts import Parts

T = TypeVar("T")
S = TypeVar("S")


async def ask(call: Callable[[], Awaitable[T]], parts: Parts, *, seconds: float, what: str, waits_out: bool = False) -> T:
    """Make an idempotent provider call; temporary failures are tried again with growing pauses, each try has the deadline.

    With `waits_out` a wait that the place asks for is no attempt, as long as all such waits stay within `limited_seconds`.
    """
    patience = parts.patience
    left, pause, limited = patience.attempts, patience.first_pause_seconds, 0.0
    while True:
        try:
            return await _in_time(call, seconds=seconds, what=what)
        except ProviderError as error:
            wait = error.retry_after_seconds
            put_off = max(wait or 0.0, pause)
            limited += put_off
            if waits_out and wait is not None and limited <= patience.limited_seconds:
                await parts.sleep(put_off)
                continue
            left -= 1
            if not error.temporary or left <= 0 or wait is not None:
                raise
            await parts.sleep(pause)
            pause *= 2


async def ask_unless(
    call: Callable[[], Awaitable[T]],
    stop: Callable[[], Awaitable[S | None]],
    parts: Parts,
    *,
    seconds: float,
    what: str,
) -> T | S:
    """The same, but looked in on each tick: once `stop` gives a reason, the call is cancelled and the reason returned."""
    box: _Box[T] = _Box()
    reason: S | None = None
    async with anyio.create_task_group() as group:

        async def asking() -> None:
            try:
                box.value, box.answered = await ask(call, parts, seconds=seconds, what=what, waits_out=True), True
            except OpsError as error:
                box.error = error
            group.cancel_scope.cancel()

        group.start_soon(asking)
        try:
            while (reason := await stop()) is None:
                await parts.sleep(parts.patience.tick_seconds)
        except OpsError as error:
            box.error = error
        group.cancel_scope.cancel()
    if box.error is not None:
        raise box.error
    if box.answered:
        return box.value  # pyright: ignore[reportReturnType]  # answered says that it is a T
    if reason is None:
        raise DeadlineExceeded(f"{what} gave no answer.", hint="Look at `deployment` for what is there.")
    return reason


class _Box(Generic[T]):
    value: T | None = None
    answered: bool = False
    error: OpsError | None = None


async def _in_time(call: Callable[[], Awaitable[T]], *, seconds: float, what: str) -> T:
    try:
        with anyio.fail_after(seconds):
            return await call()
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"{what} took longer than {seconds:g} s.", hint="The provider is slow or stuck; its own status page tells."
        ) from error
