"""The one seam to SQL: every governed write is a unit of work queued to one writer thread; every other connection only reads.

The writer commits whatever is waiting in one transaction (group commit). Processes take turns by an advisory lock beside the
file, because closed-loop writers starve each other when SQLite's busy timeout alone decides who goes next. When nothing is
waiting, a read's admission is judged and committed where it was asked for, in the event loop's own thread, and the kernel (or,
where it does not offer that, the writer's thread) makes it durable while the call already goes on (`write_ahead`).

All that is of a file. In a PostgreSQL a lock of each transaction's takes the place of the file's, and only the thread writes.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import OpsError
from ops_mcp.store.ahead import Ahead, Sync, by_the_kernel
from ops_mcp.store.batches import abandon, resolve, unwritten
from ops_mcp.store.chain import Signer
from ops_mcp.store.files import FileStorage, FileWriting
from ops_mcp.store.outages import closed, unavailable
from ops_mcp.store.recent import Recent
from ops_mcp.store.seam import Connection, Storage
from ops_mcp.store.transaction import AnyWork, Row, SqlValue, Transaction, Work, Writing

T = TypeVar("T")

QUIET = 3
"""Most calls in a batch where nobody is in a crowd."""

BUSY_SECONDS = 5.0
"""How long the writer's thread waits for somebody who writes past the advisory lock."""

_SHARING_SECONDS, _ALONE_SECONDS = 0.000_02, sys.getswitchinterval()

LAZY_SECONDS = 0.010
"""How long a lazy write may wait for company."""

AGAIN_SECONDS = 1.0
"""How long one that the file did not take waits, unless somebody else writes before."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long to wait for the writers' lock, and the least free space for writes that are not vital."""

    lock_seconds: float = 5.0
    free_space_floor_bytes: int = 0


class Judged(NamedTuple):
    """A batch that was judged in the event loop's thread and is to be committed."""

    batch: Sequence[AnyWork]


class Database:
    """The governed database of one process. Opening it never fails: what is wrong is said by each write and by `trouble`."""

    def __init__(
        self, place: Path | Address, signer: Callable[[Connection], Signer], terms: Terms, sync: Callable[[], Sync | None]
    ) -> None:
        self.place = place
        self.terms = terms
        self.trouble = ""
        self._storage = self._storage_at(place, signer)
        self._queue: queue.SimpleQueue[AnyWork | Judged | None] = queue.SimpleQueue()
        self._handed = 0
        """Units that the writer's thread has not reported yet: while there are none, it touches nothing of ours."""
        self._crowd = 0
        """Calls in the batch before: in a crowd everybody is served sooner by larger batches."""
        self._writing: Writing | None = None
        self._later: list[AnyWork] = []
        self._recent = Recent()
        self._waiting: deque[tuple[float, AnyWork]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._offers = sync
        self._ahead = Ahead(self._loop)
        self._next: list[AnyWork] = []
        self._doubtful = False  # whether the disk did not take what was committed: then the log is folded into the file first
        self._thread = threading.Thread(target=self._write_forever, name="ledger-writer", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        place: Path | Address,
        *,
        signer: Callable[[Connection], Signer],
        terms: Terms | None = None,
        sync: Callable[[], Sync | None] = by_the_kernel,
    ) -> AsyncGenerator["Database"]:
        """Open the database and its writer; leaving the context commits what was queued and closes both."""
        database = cls(place, signer, terms or Terms(), sync)
        database._thread.start()
        try:
            yield database
        finally:
            with anyio.move_on_after(1.5, shield=True):
                await database._close()

    async def fetch(self, sql: str, *params: SqlValue) -> list[Row]:
        """All rows of a query on a read-only connection. Raises `Unavailable` with the reason when it cannot be read."""
        return await self._storage.fetch(sql, params)

    async def fetch_recent(self, sql: str, *params: SqlValue) -> list[Row]:
        """Like `fetch`, for what a call reads right after its admission: as of then or later, from memory where that is known."""
        rows = self._recent.rows((sql, params))
        if rows is None:
            state = self._recent.state
            rows = await self.fetch(sql, *params)
            self._recent.keep((sql, params), rows, asked_in=state)
        return rows

    async def write(self, unit: Callable[[Transaction], T], *, vital: bool = False) -> T:
        """Run a unit of work; durable when this returns. `vital` ones also run below the free-space floor.

        Raises what the unit raises (then it left nothing behind), or `Unavailable` when it could not be written in time. A
        caller that is cancelled before the writer took the unit up leaves nothing behind either; after that it waits.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        work = Work(unit, done, vital)
        self._submit(work)
        return await self._outcome(work, done)

    async def write_ahead(self, unit: Callable[[Transaction], T]) -> "tuple[T, Work[T] | None]":
        """Like `write` for a short unit, but where it can be judged at once its value comes before it is durable, with the work
        whose `done` tells when it is, or raises `Unavailable`. Nothing that follows may leave before that."""
        if self._handed or self._crowd > QUIET or not isinstance(self._writing, FileWriting):
            return await self.write(unit), None
        done: asyncio.Future[T] = self._loop.create_future()
        work = Work(unit, done, vital=False)
        if not self._judged_here([work], self._writing):
            self._submit(work)
        judged = work.judged()
        if judged is not None and not done.done():
            return judged[0], work
        return await self._outcome(work, done), None

    def write_later(self, unit: Callable[[Transaction], object]) -> None:
        """Queue a vital unit for a batch within 10 ms, or for when the file takes it again. A crash before that loses it."""
        self._later.append(Work(unit, None, vital=True))
        self._flush_in(LAZY_SECONDS)
        self._ahead.give_way()

    @property
    def path(self) -> Path:
        """The file of an embedded database."""
        assert isinstance(self.place, Path), "asked for only where there is one"
        return self.place

    def _storage_at(self, place: Path | Address, signer: Callable[[Connection], Signer]) -> Storage:
        if isinstance(place, Path):
            return FileStorage(place, signer, lambda: self.write(_nothing, vital=True))
        from ops_mcp.store.postgres import ServerStorage  # with its driver, which few need

        return ServerStorage(place, signer, lock_seconds=self.terms.lock_seconds)

    async def _outcome(self, work: AnyWork, done: "asyncio.Future[T]") -> T:
        try:
            return await done
        except asyncio.CancelledError:
            if not work.claim.acquire(blocking=False):
                await self._finish_shielded(work)
            raise

    async def _finish_shielded(self, work: AnyWork) -> None:
        with anyio.move_on_after(self.terms.lock_seconds, shield=True):
            while not work.finished:
                await anyio.sleep(0.001)

    def _watch(self, work: AnyWork) -> None:
        """Abandon `work` when its time is up. All have the same time, so one timer for the oldest does for all of them."""
        while self._waiting and self._waiting[0][1].finished:
            self._waiting.popleft()
        self._waiting.append((self._loop.time() + self.terms.lock_seconds, work))
        if self._expiry is None:
            self._expiry = self._loop.call_later(self.terms.lock_seconds, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        while self._waiting and (self._waiting[0][1].finished or self._waiting[0][0] <= self._loop.time()):
            abandon(self._waiting.popleft()[1])
        if self._waiting:
            self._expiry = self._loop.call_at(self._waiting[0][0], self._expire)

    def _submit(self, work: AnyWork) -> None:
        self._hand([*self._taken_later(), work])
        self._watch(work)

    def _flush_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._flush)

    def _flush(self) -> None:
        self._hand(self._taken_later())

    def _taken_later(self) -> list[AnyWork]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._later = self._later, []
        return taken

    def _hand(self, batch: Sequence[AnyWork]) -> None:
        """To the writer's thread, once what was committed before is durable: a later success would not tell of its failure."""
        self._handed += len(batch)
        self._next += batch
        if not self._ahead.is_busy:
            self._hand_next()

    def _hand_next(self) -> None:
        for work in self._next:
            self._queue.put(work)
        self._next = []

    def _judged_here(self, batch: Sequence[AnyWork], writing: FileWriting) -> bool:
        """Judge a batch in this thread, where nobody must be waited for. Making it durable is the kernel's, or the writer's."""
        here = self._ahead.is_free()
        if not self._begun_here(writing, durable=not here):
            return False
        try:
            self._storage.refuse_below(self.terms.free_space_floor_bytes, batch)
            writing.judge(batch)
            self._recent.seen(writing.state)
            log_file = self._committed_here(writing) if here else None
        except Exception as error:  # noqa: BLE001  as in the writer's thread: it goes to whoever waits
            self._storage.give_turn_back()
            self._fail(writing, batch, error)
            self._settle_up(batch)
            return True
        self._handed += len(batch)
        if log_file is not None:
            self._storage.give_turn_back()
            self._ahead.begin(log_file, partial(self._synced, writing, batch))
            return True
        # The writer needs the interpreter for an instant to begin its wait; by default it gets it only when this thread rests.
        sys.setswitchinterval(_SHARING_SECONDS)
        self._queue.put(Judged(batch))
        return True

    def _committed_here(self, writing: FileWriting) -> int:
        """Commit to the kernel's cache; the log that is to be made durable."""
        self._commit()
        return writing.log_file()

    def _synced(self, writing: Writing, batch: Sequence[AnyWork], error: OSError | None) -> None:
        """What the disk did not take may be gone after a crash, and no later success would tell: nobody is told it is durable."""
        if error is not None:
            self._doubtful = True
            self._fail(writing, batch, error)
        self._reported(batch)
        self._hand_next()

    def _begun_here(self, writing: Writing, *, durable: bool) -> bool:
        """Whether it could be begun without waiting. What speaks against it, the writer's thread meets it too."""
        try:
            if not self._storage.take_turn_if_free():
                return False
        except OSError:
            return False
        try:
            writing.begin(seconds=0, durable=durable)
        except sqlite3.Error:
            self._storage.give_turn_back()
            return False
        return True

    async def _close(self) -> None:
        """The reader goes first: the writer is then the last of this process and folds the write-ahead log into the file."""
        self._ahead.close()
        self._flush()
        if self._expiry is not None:
            self._expiry.cancel()
        await self._storage.close_readers()
        self._queue.put(None)
        while self._thread.is_alive():
            await anyio.sleep(0.001)

    # Everything below runs in the writer thread.

    def _write_forever(self) -> None:
        with contextlib.closing(self._storage):
            while True:
                judged, batch, last = self._next_batch()
                if judged is not None:
                    self._finish_batch(judged.batch, self._commit)
                if batch:
                    self._finish_batch(batch, lambda batch=batch: self._write_batch(batch))
                if last:
                    break
            if self._writing is not None:
                self._writing.close()

    def _finish_batch(self, batch: Sequence[AnyWork], finish: Callable[[], None]) -> None:
        try:
            try:
                finish()
            finally:
                self._storage.give_turn_back()
            self.trouble = ""
        except Exception as error:  # noqa: BLE001  without the writer every later call would wait for good
            self._fail(self._writing, batch, error)
        self._report(batch)

    def _write_batch(self, batch: Sequence[AnyWork]) -> None:
        self._storage.take_turn()
        if self._writing is None:
            self._writing = self._opened()
        self._writing.begin(seconds=BUSY_SECONDS)
        self._storage.refuse_below(self.terms.free_space_floor_bytes, batch)
        self._writing.judge(batch)
        self._commit()

    def _commit(self) -> None:
        if self._writing is not None:
            self._writing.commit()
            self._recent.seen(self._writing.state)

    def _opened(self) -> Writing:
        writing, self._doubtful = self._storage.open(doubtful=self._doubtful), False
        offers = self._offers if isinstance(writing, FileWriting) else lambda: None
        if self._ahead.takes_offers and (sync := offers()) is not None:
            self._loop.call_soon_threadsafe(self._ahead.offered, sync)
        return writing

    def _next_batch(self) -> tuple["Judged | None", list[AnyWork], bool]:
        """What was judged elsewhere, if anything was: it came first; then what is waiting; and whether that was the last."""
        waiting = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(self._queue.get_nowait())
        judged = waiting[0] if isinstance(waiting[0], Judged) else None
        return judged, [w for w in waiting if isinstance(w, Work)], None in waiting

    def _fail(self, writing: Writing | None, batch: Sequence[AnyWork], error: Exception) -> None:
        """Nothing of the batch was committed. The connection is dropped, so that the next batch looks again."""
        failure = closed(error) if isinstance(error, OpsError) else self._storage.unavailable(error)
        self.trouble = failure.message
        self._writing = None
        for work in batch:
            work.claim.acquire(blocking=False)
            work.finish(None, failure)
        if writing is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                writing.close()

    def _report(self, batch: Sequence[AnyWork]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._reported, batch)

    def _reported(self, batch: Sequence[AnyWork]) -> None:
        sys.setswitchinterval(_ALONE_SECONDS)
        self._handed -= len(batch)
        self._crowd = sum(work.done is not None for work in batch)
        self._settle_up(batch)

    def _settle_up(self, batch: Sequence[AnyWork]) -> None:
        resolve(batch)
        if again := unwritten(batch, len(self._later)):
            self._later += again
            self._flush_in(AGAIN_SECONDS)


def _nothing(_tx: Transaction) -> None:
    """A write for its own sake."""


__all__ = ["Database", "Row", "SqlValue", "Terms", "Transaction", "unavailable"]
