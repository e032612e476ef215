"""The worker's collection of logs: the lines of all that serves or served lately, each deployment read on its own to its end."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import anyio
from anyio import to_thread

from ops_mcp.deploying.states import is_final
from ops_mcp.domain.releases import Deployment, DeploymentId
from ops_mcp.errors import DeadlineExceeded, NotFound, OpsError
from ops_mcp.logs.records import LogRecord
from ops_mcp.observing import Tailed, Tails
from ops_mcp.operations.chores import Chore, paced
from ops_mcp.operations.line_records import Lines, Owner, Redact
from ops_mcp.operations.parts import Parts
from ops_mcp.store import deployments
from ops_mcp.store.logs.appending import Batch, Position, Read
from ops_mcp.store.logs.store import LogStore

log = logging.getLogger(__name__)

MOST_BYTES, LEAST_BYTES, MOST_BYTES_TOGETHER = 2**20, 2**16, 2**23
"""Bytes of one look at a deployment; all that are looked at at once share the last, so that memory is bounded."""

LOOK_SECONDS = 30.0
EVERY_SECONDS, QUIET_SECONDS, SLOW_SECONDS, MOST_PAUSE = 1.0, 2.0, 10.0, 60.0
"""Pauses between looks: where lines come, where none do, where asking takes long, and where it fails."""

_HANDS = 1
"""How many deployments' lines are parsed at once: it keeps a core busy, and two threads would only wait for each other."""

_QUICK_SECONDS = 0.1
_BEAT = timedelta(seconds=5)
_LATELY, _QUIET_FOR = timedelta(days=1), timedelta(hours=1)
_KEEP_EVERY, _MOST_KEPT_AT_ONCE = timedelta(seconds=20), 50
_SAID_AT = frozenset((1, 10, *range(100, 10_000, 100)))


@dataclass(slots=True)
class _Desk:
    """How one deployment's lines are read on. `lines` is None where it must be learnt anew what is stored of it."""

    deployment: Deployment
    position: Position = field(default_factory=Position)
    lines: Lines | None = None
    due: float = 0.0
    pause: float = EVERY_SECONDS
    failures: int = 0
    busy: bool = False
    heard_at: datetime | None = None

    @property
    def owner(self) -> Owner:
        return Owner(self.deployment.environment, self.deployment.service, self.deployment.id)

    @property
    def is_over(self) -> bool:
        """Whether it will not serve any more, unless it is put in place again."""
        return is_final(self.deployment.state) and not self.deployment.serving


class Collection:
    """Everything that is collected. `redactor` is asked for at each look: secrets change."""

    def __init__(self, parts: Parts, store: LogStore, redactor: Callable[[], Redact]) -> None:
        self._parts, self._store, self._redactor = parts, store, redactor
        self._desks: dict[DeploymentId, _Desk] = {}
        self._hands = anyio.CapacityLimiter(_HANDS)

    async def run(self) -> None:
        """Look at what is due, every second, until this worker is to let go. A place that is slow holds up no other."""
        self._desks.clear()  # whatever was cut off: what is stored tells where to go on
        async with anyio.create_task_group() as group:
            while not self._parts.reins.pulled:
                for desk in await self._due():
                    desk.busy = True
                    group.start_soon(self._look_alone, desk)
                await self._beat()
                await self._parts.sleep(EVERY_SECONDS)

    async def once(self) -> int:
        """Look at everything now, due or not, and wait for it; how many were looked at."""
        for desk in self._desks.values():
            desk.due = 0.0
        due = await self._due()
        async with anyio.create_task_group() as group:
            for desk in due:
                desk.busy = True
                group.start_soon(self._look_alone, desk)
        await self._beat()
        return len(due)

    async def _due(self) -> Sequence[_Desk]:
        found = await self._wanted()
        before, self._desks = self._desks, {}
        for deployment in found:
            desk = self._desks[deployment.id] = before.get(deployment.id) or _Desk(deployment)
            desk.deployment = deployment
        free = [desk for desk in self._desks.values() if not desk.busy]
        await self._learn([desk for desk in free if desk.lines is None])
        now = anyio.current_time()
        return [desk for desk in free if desk.due <= now and not (desk.position.ended and desk.is_over)]

    async def _wanted(self) -> Sequence[Deployment]:
        """What serves, is on its way, or was committed lately; and what is being read, until it has ended."""
        reading = [id for id, desk in self._desks.items() if desk.busy or not desk.position.ended]
        if not reading:
            reading = [DeploymentId(id) for (_, _, id), kept in (await self._store.positions()).items() if not kept.ended]
        return await deployments.collected(self._parts.database, self._parts.clock() - _LATELY, reading)

    async def _learn(self, desks: Sequence[_Desk]) -> None:
        """Where to go on, as it is stored."""
        if not desks:
            return
        stored, now = await self._store.positions(), self._parts.clock()
        for desk in desks:
            desk.position = stored.get(desk.owner, Position())
            desk.lines = Lines(desk.owner, desk.position.open, now=now)

    async def _look_alone(self, desk: _Desk) -> None:
        """What goes wrong at one place is said, and tried again ever later; what was not stored is read again."""
        try:
            await self._look(desk)
            desk.failures = 0
        except Exception as error:  # one mistake of ours must not end the collection of everything else
            desk.lines = None
            desk.failures += 1
            desk.pause = min(MOST_PAUSE, EVERY_SECONDS * 2 ** min(desk.failures - 1, 10))
            if desk.failures in _SAID_AT:
                why = error if isinstance(error, OpsError) else type(error).__name__
                log.warning("the logs of %s are not collected: %s", desk.deployment.id, why, exc_info=why is not error)
        except BaseException:
            desk.lines = None
            raise
        finally:
            desk.busy = False
            desk.due = anyio.current_time() + desk.pause

    async def _look(self, desk: _Desk) -> None:
        provider = self._parts.provider(desk.deployment.release)
        if not isinstance(provider, Tails):
            desk.pause = MOST_PAUSE
            return
        more = True
        while more and desk.lines is not None and not self._parts.reins.pulled:
            began = anyio.current_time()
            tailed = await self._tailed(provider, desk)
            quick = anyio.current_time() - began < _QUICK_SECONDS
            desk.pause = SLOW_SECONDS if not quick else EVERY_SECONDS if tailed.lines else QUIET_SECONDS
            await self._take(desk, desk.lines, tailed)
            more = tailed.more

    async def _tailed(self, provider: Tails, desk: _Desk) -> Tailed:
        busy = sum(1 for each in self._desks.values() if each.busy)
        most = max(LEAST_BYTES, min(MOST_BYTES, MOST_BYTES_TOGETHER // max(1, busy)))
        try:
            with anyio.fail_after(LOOK_SECONDS):
                return await provider.tail(desk.deployment.placement, desk.position.position, most_bytes=most)
        except NotFound:
            if not desk.is_over:
                raise
            return Tailed((), desk.position.position, ended=True)
        except TimeoutError as error:
            raise DeadlineExceeded("The place did not tell its lines in time.") from error

    async def _take(self, desk: _Desk, lines: Lines, tailed: Tailed) -> None:
        """Store what became of the lines, together with the position behind them."""
        now = self._parts.clock()
        if tailed.lines or desk.heard_at is None:
            desk.heard_at = now
        # Not every place says that a deployment has ended.
        over = desk.is_over and not tailed.more and (tailed.ended or now - desk.heard_at > _QUIET_FOR)
        records = await to_thread.run_sync(
            partial(_digested, lines, tailed, now, self._redactor(), over=over), limiter=self._hands
        )
        after = Position(tailed.position, lines.open, ended=over)
        if records or after[:3] != desk.position[:3] or not desk.position.revision:
            await self._append(now, ((desk, after, records),))

    async def _beat(self) -> None:
        """Say of all that is quiet that it was watched."""
        now = self._parts.clock()
        quiet = [desk for desk in self._desks.values() if _is_quiet(desk, now)]
        for desk in quiet:
            desk.busy = True
        try:
            if quiet:
                await self._append(now, [(desk, desk.position, ()) for desk in quiet])
        except BaseException:
            for desk in quiet:
                desk.lines = None
            raise
        finally:
            for desk in quiet:
                desk.busy = False

    async def _append(self, now: datetime, all: Sequence[tuple[_Desk, Position, Sequence[LogRecord]]]) -> None:
        reads = [Read(*desk.owner, was=desk.position, now=after, records=records) for desk, after, records in all]
        for (desk, *_), stored in zip(all, await self._store.append(Batch(now, reads)), strict=True):
            desk.position = stored


def collecting(parts: Parts, store: LogStore, redactor: Callable[[], Redact]) -> tuple[Chore, ...]:
    """The rounds of a worker that collects logs: reading them, and keeping what was read within its bounds."""
    return (Collection(parts, store, redactor).run, paced(partial(_keep, store), _KEEP_EVERY, parts.clock))


async def _keep(store: LogStore) -> None:
    for _ in range(_MOST_KEPT_AT_ONCE):
        kept = await store.keep()
        if kept.deleted:
            log.info("log records up to %s were deleted; the store holds %d bytes", kept.deleted_until, kept.bytes)
        if not kept.more:
            return


def _digested(lines: Lines, tailed: Tailed, now: datetime, redact: Redact, *, over: bool) -> Sequence[LogRecord]:
    records = lines.take(tailed.lines, now=now, redact=redact)
    return records + (lines.closed(redact=redact) if over else [])


def _is_quiet(desk: _Desk, now: datetime) -> bool:
    read_at = desk.position.read_at
    watched = not desk.busy and desk.lines is not None and desk.position.revision > 0 and desk.deployment.serving
    return watched and (read_at is None or now - read_at >= _BEAT)
