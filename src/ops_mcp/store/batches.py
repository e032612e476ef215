"""What becomes of the units of a batch besides being run: refused, abandoned, and told to whoever waits."""

import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from ops_mcp.errors import Unavailable
from ops_mcp.store.outages import MaybeWritten, unavailable
from ops_mcp.store.transaction import AnyWork, Work

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_MOST_KEPT = 10_000


class FreeSpace:
    """The free space where the database is, looked at ten times a second at most."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._looked_at = -1.0
        self._free = 0

    def refuse_below(self, floor: int, batch: Sequence[AnyWork]) -> None:
        """Where less than `floor` is free, refuse every unit that is not vital."""
        if not floor or self._bytes() >= floor:
            return
        refusal = Unavailable(
            "The disk is nearly full: only settlements, steps in progress, undo, freeze, kill and retention are written.",
            hint="An operator must free space or run `ops-mcp audit retain`.",
            retry_after_seconds=60.0,
        )
        for work in batch:
            if not work.vital and work.claim.acquire(blocking=False):
                work.finish(None, refusal)

    def _bytes(self) -> int:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            space = os.statvfs(self._directory)
            self._free, self._looked_at = space.f_bavail * space.f_frsize, now
        return self._free


def abandon(work: AnyWork) -> None:
    if work.claim.acquire(blocking=False) and work.done is not None and not work.done.done():
        work.done.set_exception(unavailable(sqlite3.OperationalError("database is locked")))


def unwritten(batch: Sequence[AnyWork], kept: int) -> list[AnyWork]:
    """What nobody waits for and the file did not take, to be tried again: all, while no more than so many are kept already.

    What a unit itself raised would be raised again, and what may have been written must not be written twice; it is logged.
    """
    again: list[AnyWork] = []
    for work in batch:
        if work.done is not None or work.error is None:
            continue
        if isinstance(work.error, Unavailable) and not isinstance(work.error, MaybeWritten) and kept + len(again) < _MOST_KEPT:
            again.append(Work(work.unit, None, vital=True))
        else:
            log.error("a settlement could not be written: %s", work.error)
    return again


def resolve(batch: Sequence[AnyWork]) -> None:
    for work in batch:
        if work.done is None or work.done.done():
            continue
        if work.error is not None:
            work.done.set_exception(work.error)
        else:
            work.done.set_result(work.value)
