"""The worker's eye on the load of its own host."""

from collections.abc import Awaitable, Callable

from ops_mcp.operations.parts import Parts
from ops_mcp.store.guard import HostGuard


def watching(guard: HostGuard, parts: Parts) -> Callable[[], Awaitable[None]]:
    """Called every second; reads the host every 15 s. The ledger hears of changes of its level only."""

    async def once() -> None:
        await guard.watch(parts.clock(), fence=parts.fence)

    return once
