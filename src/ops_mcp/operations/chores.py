"""What a worker does now and then: anchors heads, expires approvals, forgets what is of no use. Nothing waits for it."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from ops_mcp.config import LedgerTerms
from ops_mcp.ports import Clock
from ops_mcp.store import anchors, approvals, counters, idempotency
from ops_mcp.store.database import Database, Transaction

log = logging.getLogger(__name__)

Chore: TypeAlias = Callable[[], Awaitable[None]]

_ANCHOR_EVERY = timedelta(seconds=15)
_EXPIRE_EVERY = timedelta(minutes=1)
_FORGET_EVERY = timedelta(hours=1)


def housekeeping(database: Database, terms: LedgerTerms, clock: Clock) -> tuple[Chore, ...]:
    """The chores, each at its own pace, the first time at once. Call them as often as you like."""

    async def anchor() -> None:
        await _anchor(database, terms, clock())

    async def expire() -> None:
        expired = await database.write(lambda tx: approvals.expire(tx, clock()))
        if expired:
            log.info("%d approvals expired", expired)

    async def forget() -> None:
        await database.write(lambda tx: _forget(tx, clock()))

    return (paced(anchor, _ANCHOR_EVERY, clock), paced(expire, _EXPIRE_EVERY, clock), paced(forget, _FORGET_EVERY, clock))


def paced(chore: Chore, every: timedelta, clock: Clock) -> Chore:
    """The chore, done at most once in that time, whether it succeeds or not. A clock that is set back holds nothing up."""
    begun: list[datetime] = []

    async def calmly() -> None:
        now = clock()
        if begun and timedelta() <= now - begun[-1] < every:
            return
        begun[:] = [now]
        await chore()

    return calmly


async def _anchor(database: Database, terms: LedgerTerms, at: datetime) -> None:
    if not terms.anchors:
        return
    for result in await anchors.anchor_now(database, terms.anchors, at, every=terms.anchor_every):
        match result:
            case anchors.NotAnchored(place=place, why=why):
                log.warning("the ledger was not anchored at %s: %s", place, why)
            case anchors.Anchored(place=place, number=number):
                log.info("record %d is anchored at %s", number, place)
            case anchors.UpToDate():
                pass


def _forget(tx: Transaction, at: datetime) -> None:
    counters.forget_before(tx, at)
    idempotency.forget_before(tx, at)
