"""The worker's part in tasks: telling what was withheld once its time has come, noticing silence, forgetting what is over."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from ops_mcp.operations.chores import paced
from ops_mcp.operations.parts import Parts
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from ops_mcp.store.tasks import writing
from ops_mcp.supervising.settings import SuperviseTerms

Round: TypeAlias = Callable[[], Awaitable[None]]

LOOK_EVERY = timedelta(seconds=1)
FORGET_EVERY = timedelta(minutes=10)


def supervision(parts: Parts, terms: SuperviseTerms) -> tuple[Round, ...]:
    """What withheld checkpoints and silent tasks wait for: looked at every second, told in the transaction that notes it."""

    async def tell() -> None:
        at, fence = parts.clock(), parts.fence

        def unit(tx: Transaction) -> None:
            leases.require(tx, fence)
            writing.flush(tx, terms, at=at)
            writing.stall(tx, terms, at=at)

        if await writing.waits(parts.database, terms, at=at):
            await parts.database.write(unit)

    async def forget() -> None:
        before, fence = parts.clock() - timedelta(days=terms.keep_days), parts.fence

        def unit(tx: Transaction) -> None:
            leases.require(tx, fence)
            writing.forget_before(tx, before)

        await parts.database.write(unit)

    return (paced(tell, LOOK_EVERY, parts.clock), paced(forget, FORGET_EVERY, parts.clock))
