"""What was committed in the event loop's own thread, while the kernel makes it durable."""

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

MOST_IN_A_ROW = 50
"""After so many, one goes through the writer's thread, which also folds the write-ahead log into the file."""


class Sync(Protocol):
    """An asynchronous `fdatasync`, one at a time; see `kernel_sync.KernelSync`."""

    descriptor: int

    def begin(self, descriptor: int) -> None: ...

    def ended(self) -> OSError | None: ...

    def close(self) -> None: ...


def by_the_kernel() -> Sync | None:
    """What this kernel offers, if it does."""
    from ops_mcp.store.kernel_sync import kernel_sync  # ctypes, which the writer's thread loads beside the start

    return kernel_sync()


class Ahead:
    """At most one batch is on its way to the disk. Used in the event loop's thread alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sync: Sync | None = None
        self._ended: Callable[[OSError | None], None] | None = None
        self._in_a_row = 0
        self._is_closed = False

    def offered(self, sync: Sync | None) -> None:
        """Use this from now on. Where it is None, or fails to begin, the writer's thread does all."""
        if sync is not None and not self.takes_offers:
            sync.close()
        elif sync is not None:
            self._sync = sync
            self._loop.add_reader(sync.descriptor, self._readable)

    @property
    def takes_offers(self) -> bool:
        """Whether there is none yet. The writer's thread asks too, which opens the file anew after each failure."""
        return self._sync is None and not self._is_closed

    @property
    def is_busy(self) -> bool:
        return self._ended is not None

    def is_free(self) -> bool:
        """Whether a batch may be committed here now."""
        if self._sync is None or self.is_busy:
            return False
        self._in_a_row = (self._in_a_row + 1) % MOST_IN_A_ROW
        return self._in_a_row > 0

    def begin(self, log_file: int, ended: Callable[[OSError | None], None]) -> None:
        """Make the log durable; `ended` is called, in a later turn of the loop, with what went wrong or with None."""
        assert self._sync is not None, "asked for only where `is_free`"
        self._ended = ended
        try:
            self._sync.begin(log_file)
        except OSError:
            # Refused by the kernel, which says nothing of the disk. From now on the writer's thread does all.
            self._stop()
            self._loop.call_soon(self._tell, _synced(log_file))
        else:
            self.give_way()

    def give_way(self) -> None:
        """The kernel's worker waits on this processor: between two of its steps it would wait until this thread rests."""
        if self.is_busy:
            os.sched_yield()

    def close(self) -> None:
        """Let go, once what is on its way has arrived."""
        self._is_closed = True
        if self._sync is not None and self.is_busy:
            self._tell(self._sync.ended())
        self._stop()

    def _stop(self) -> None:
        sync, self._sync = self._sync, None
        if sync is not None:
            self._loop.remove_reader(sync.descriptor)
            sync.close()

    def _readable(self) -> None:
        if self._sync is not None:
            self._tell(self._sync.ended())

    def _tell(self, error: OSError | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)


def _synced(log_file: int) -> OSError | None:
    try:
        os.fdatasync(log_file)
    except OSError as error:
        return error
    return None
