"""The worker's loop: under one lease, run what is committed, supervise what serves, and let go when told or when idle."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import anyio
import anyio.abc

from ops_mcp.domain.releases import Operation, OperationId
from ops_mcp.errors import InProgress, LeaseLost, OpsError, Unavailable
from ops_mcp.operations.course import Course
from ops_mcp.operations.parts import Parts, Reins, Sleep
from ops_mcp.operations.run import run
from ops_mcp.operations.supervise import Supervision
from ops_mcp.operations.undoing import lose_sight
from ops_mcp.ports import Clock
from ops_mcp.store import deployments, leases, operations
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.leases import Claim, Lease

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16
MOST_CRASHES = 3
_SAY_AGAIN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often the worker does what, in seconds. With `exits_when_idle` it ends after `idle_seconds` without work."""

    lease_seconds: float = 15.0
    renew_seconds: float = 3.0
    poll_seconds: float = 0.2
    supervise_seconds: float = 1.0
    chores_seconds: float = 2.0
    rounds_seconds: float = 1.0
    crash_pause_seconds: float = 5.0
    idle_seconds: float = 30.0
    exits_when_idle: bool = True


def _no_rounds(_parts: Parts) -> tuple[Callable[[], Awaitable[None]], ...]:
    return ()


def _never_busy(_tx: Transaction) -> bool:
    return False


async def _no_delay(_operation: Operation) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What the loop needs from whoever starts it. `chores` are done now and then, each on its own; `rounds` every second, under
    the lease; `busy` says what else keeps an idle worker alive; `delay` how many seconds to leave between taking up an operation
    and the one before. `is_gone` tells of a claim's process on this host that it does not live any more."""

    database: Database
    claim: Claim
    parts: Callable[[int, Reins], Parts]
    clock: Clock
    sleep: Sleep
    is_gone: Callable[[Claim], bool]
    chores: tuple[Callable[[], Awaitable[None]], ...] = ()
    rounds: Callable[[Parts], tuple[Callable[[], Awaitable[None]], ...]] = _no_rounds
    busy: Callable[[Transaction], bool] = _never_busy
    delay: Callable[[Operation], Awaitable[float]] = _no_delay
    rhythm: Rhythm = Rhythm()


@dataclass(slots=True)
class _Hands:
    """What the loop has in its hands: running operations, and those that crashed and wait."""

    running: set[OperationId] = field(default_factory=set[OperationId])
    ended: set[OperationId] = field(default_factory=set[OperationId])
    """Carried to their end while what is open was being read, which therefore may still name them."""
    crashes: dict[OperationId, int] = field(default_factory=dict[OperationId, int])
    not_before: dict[OperationId, datetime] = field(default_factory=dict[OperationId, datetime])
    supervised: int = 0
    last_busy: datetime | None = None
    last_taken: datetime | None = None


async def work(desk: Desk, reins: Reins) -> None:
    """Work until told to let go, until the lease is lost, or until idle. Leaves every operation at a step boundary.

    Raises `InProgress` when another worker is at work, `Conflict` when it works for another installation.
    """
    lease = await acquire(desk)
    log.info("worker %s holds the lease with fence %d", desk.claim.version, lease.fence)
    try:
        parts = desk.parts(lease.fence, reins)
        hands = _Hands(last_busy=desk.clock())
        async with anyio.create_task_group() as side:
            side.start_soon(_renew, desk, lease.fence, reins, side.cancel_scope)
            side.start_soon(_supervise, desk, parts, hands, side)
            for chore in desk.chores:
                side.start_soon(_repeat, desk, chore, reins, desk.rhythm.chores_seconds)
            for one in desk.rounds(parts):
                side.start_soon(_repeat, desk, one, reins, desk.rhythm.rounds_seconds)
            async with anyio.create_task_group() as group:
                await _take_up(desk, parts, hands, group)
            side.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(5, shield=True):
            await _give_back(desk, lease.fence)


async def acquire(desk: Desk) -> Lease:
    """Take the lease, waiting for one whose holder has died or, being older, was asked to yield."""
    waits_until = desk.clock() + timedelta(seconds=desk.rhythm.lease_seconds * 1.5)
    while True:
        present = await _present(desk)
        dead = present.fence if present is not None and desk.is_gone(present.claim) else None
        taking = partial(_taken, desk, dead)
        try:
            lease = await desk.database.write(taking, vital=True)
            if lease.claim.holder == desk.claim.holder:
                return lease
        except InProgress:
            if desk.clock() > waits_until:
                raise
        await desk.sleep(desk.rhythm.poll_seconds)


def _taken(desk: Desk, dead_fence: int | None, tx: Transaction) -> Lease:
    return leases.take(tx, desk.claim, at=desk.clock(), seconds=desk.rhythm.lease_seconds, dead_fence=dead_fence)


async def _present(desk: Desk) -> Lease | None:
    try:
        return await leases.present(desk.database)
    except Unavailable:
        return None


async def _take_up(desk: Desk, parts: Parts, hands: _Hands, group: anyio.abc.TaskGroup) -> None:
    """Start what is open and not running, until told to let go; then the group waits for each to reach its boundary."""
    while not parts.reins.pulled:
        found = await _open(desk)
        hands.ended &= {operation.id for operation in found}
        for operation in found:
            waits = hands.not_before.get(operation.id)
            if (
                operation.id in hands.running | hands.ended
                or len(hands.running) >= MOST_AT_ONCE
                or (waits and desk.clock() < waits)
            ):
                continue
            hands.running.add(operation.id)
            await _pause(desk, hands, operation)
            group.start_soon(_carry, desk, parts, hands, operation)
        if _idle(desk, hands):
            if await _left(desk, parts.fence):
                parts.reins.pull()
                return
            hands.last_busy = desk.clock()  # something waits; asked again when as much time has passed
        await desk.sleep(desk.rhythm.poll_seconds)


async def _pause(desk: Desk, hands: _Hands, operation: Operation) -> None:
    """Leave as much time since the last operation as the load of the host asks for."""
    try:
        delay = timedelta(seconds=await desk.delay(operation))
    except Unavailable:
        delay = timedelta()
    if delay and hands.last_taken is not None and (left := hands.last_taken + delay - desk.clock()) > timedelta():
        await desk.sleep(min(left, delay).total_seconds())  # no longer where the clock was set back
    hands.last_taken = desk.clock()


async def _carry(desk: Desk, parts: Parts, hands: _Hands, operation: Operation) -> None:
    async def carry() -> None:
        await _claimed(desk, operation, parts.fence)
        await run(operation, parts)

    error = await _survived(carry, f"operation {operation.id}", parts.reins)
    if error is not None and not parts.reins.pulled:
        hands.not_before[operation.id] = desk.clock() + timedelta(seconds=desk.rhythm.crash_pause_seconds)
        # A database that cannot be written says nothing about the operation: it waits until it can.
        hands.crashes[operation.id] = hands.crashes.get(operation.id, 0) + (not isinstance(error, Unavailable))
        if hands.crashes[operation.id] >= MOST_CRASHES:
            await _survived(lambda: _abandon(operation, parts), f"abandoning {operation.id}", parts.reins)
    elif error is None:
        hands.ended.add(operation.id)
    hands.running.discard(operation.id)


async def _claimed(desk: Desk, operation: Operation, fence: int) -> None:
    def unit(tx: Transaction) -> None:
        leases.require(tx, fence)
        operations.claim(tx, operation.id, fence)

    await desk.database.write(unit, vital=True)


async def _abandon(operation: Operation, parts: Parts) -> None:
    await lose_sight(Course(operation, parts), "worker", "The worker failed on it several times; see the worker's log.")


async def _open(desk: Desk) -> tuple[Operation, ...]:
    try:
        return await operations.open_operations(desk.database)
    except Unavailable as error:
        log.warning("operations cannot be read: %s", error.message)
        return ()


def _idle(desk: Desk, hands: _Hands) -> bool:
    """Whether there has been nothing to do for long enough."""
    now = desk.clock()
    if hands.running or hands.supervised or hands.last_busy is None:
        hands.last_busy = now
    return desk.rhythm.exits_when_idle and (now - hands.last_busy).total_seconds() >= desk.rhythm.idle_seconds


async def _left(desk: Desk, fence: int) -> bool:
    """Give the lease back unless something was committed meanwhile: whoever commits next finds no live worker and starts one."""

    def unit(tx: Transaction) -> bool:
        if operations.any_open(tx) or deployments.any_serving(tx) or desk.busy(tx):
            return False
        leases.release(tx, fence, at=desk.clock())
        return True

    try:
        return await desk.database.write(unit, vital=True)
    except Unavailable:
        return False


async def _renew(desk: Desk, fence: int, reins: Reins, everything: anyio.CancelScope) -> None:
    """Prolong the lease. Once it is lost everything here is cancelled at once; a newer version that wants it makes us let go."""
    while True:
        await desk.sleep(desk.rhythm.renew_seconds)
        try:
            lease = await desk.database.write(
                lambda tx: leases.renew(tx, fence, at=desk.clock(), seconds=desk.rhythm.lease_seconds), vital=True
            )
        except LeaseLost:
            log.warning("the lease was lost; whoever holds it goes on")
            reins.pull()
            everything.cancel()
            return
        except OpsError as error:
            log.warning("the lease cannot be renewed: %s", error.message)
            continue
        if lease.wanted_by is not None:
            log.info("version %s takes over", lease.wanted_by)
            reins.pull()


async def _supervise(desk: Desk, parts: Parts, hands: _Hands, group: anyio.abc.TaskGroup) -> None:
    """Begin a round every second; one that restarts a service goes on beside the next, which leaves that service alone."""
    supervision, said = Supervision(parts), _Said()

    async def once() -> None:
        hands.supervised = await supervision.round()

    while not parts.reins.pulled:
        group.start_soon(_survived, once, "supervision", parts.reins, said)
        await desk.sleep(desk.rhythm.supervise_seconds)


async def _repeat(desk: Desk, doing: Callable[[], Awaitable[None]], reins: Reins, seconds: float) -> None:
    said = _Said()
    while not reins.pulled:
        await _survived(doing, "a round", reins, said)
        await desk.sleep(seconds)


@dataclass(slots=True)
class _Said:
    """What was logged last of something that is done again and again."""

    error: str = ""
    at: float = 0.0

    def is_news(self, error: Exception) -> bool:
        """Whether it is another error, or was not said for a while: what fails every second must not fill the disk."""
        now, text = anyio.current_time(), repr(error)
        if text == self.error and now - self.at < _SAY_AGAIN_SECONDS:
            return False
        self.error, self.at = text, now
        return True


async def _survived(doing: Callable[[], Awaitable[None]], what: str, reins: Reins, said: _Said | None = None) -> Exception | None:
    """Do it, and outlive whatever it raises, which is returned: one broken operation must not take the others along."""
    try:
        await doing()
    except Exception as raised:  # the one place; what is not ours to expect is logged and counted
        error = _alone(raised)
        if _lost_lease(error):
            reins.pull()
        if said is None or said.is_news(error):
            log.warning("%s: %s", what, error, exc_info=None if isinstance(error, OpsError) else error)
        return error
    return None


def _alone(error: Exception) -> Exception:
    """The one error of a group that has no other."""
    together: tuple[Exception, ...] = getattr(error, "exceptions", ())
    return _alone(together[0]) if len(together) == 1 else error


def _lost_lease(error: BaseException) -> bool:
    together: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return isinstance(error, LeaseLost) or any(map(_lost_lease, together))


async def _give_back(desk: Desk, fence: int) -> None:
    """Free the lease for the next worker, unless it is taken already."""
    try:
        await desk.database.write(lambda tx: leases.release(tx, fence, at=desk.clock()), vital=True)
    except OpsError as error:
        log.info("the lease was not given back: %s", error.message)
