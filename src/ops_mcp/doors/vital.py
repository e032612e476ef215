"""Whether this installation is well, for whoever asks without a token: a word, and the names of what is not."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio

from ops_mcp.errors import OpsError
from ops_mcp.startup import Opened
from ops_mcp.store import gauges
from ops_mcp.store.database import Transaction

FRESH = timedelta(seconds=5)
OVERDUE = timedelta(minutes=15)
STALE = timedelta(minutes=5)
MOST_OPEN = 10_000


@dataclass
class Vital:
    """Looks at most once in five seconds: everybody may ask, and a look writes."""

    opened: Opened
    _seen: tuple[datetime, tuple[str, ...]] | None = field(default=None, init=False)
    _lock: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def __call__(self) -> tuple[str, ...]:
        """The names of what is not well; nothing where all is."""
        at = self.opened.app.clock()
        async with self._lock:
            if self._seen is None or not timedelta(0) <= at - self._seen[0] < FRESH:
                self._seen = at, await self._look(at)
        return self._seen[1]

    async def _look(self, at: datetime) -> tuple[str, ...]:
        """The database can be written and read, what is to be delivered is, and the worker has looked at its host of late."""
        database = self.opened.database
        try:
            await database.write(_nothing)
            bad = [] if await self._delivers(at) else ["outbox"]
            if await self.opened.app.sights.health.standstill():
                return (*bad, "worker")
            return (*bad, "samples") if await self._is_blind(at) else tuple(bad)
        except OpsError:
            return ("database",)

    async def _delivers(self, at: datetime) -> bool:
        counted = await gauges.depths(self.opened.database, at)
        waiting = counted.outbox.get("waiting", 0) + counted.outbox.get("claimed", 0)
        return waiting <= MOST_OPEN and not await gauges.overdue(self.opened.database, at, by=OVERDUE)

    async def _is_blind(self, at: datetime) -> bool:
        """A worker holds the lease, and its newest sample of a host is old."""
        if not self.opened.config.settings.guard.enabled:
            return False
        lease = (await gauges.depths(self.opened.database, at)).lease_seconds
        newest = await gauges.newest_sample(self.opened.database)
        return lease > 0 and newest is not None and at - newest > STALE


def _nothing(_tx: Transaction) -> None:
    """A unit of work that writes nothing still takes the lock, the head and the disk's free space to be had."""
