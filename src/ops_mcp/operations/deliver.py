"""The worker's delivery: what waits in the outbox goes to its channels, in order within each thread, each channel on its own.

A notice is claimed, sent, settled. A worker that dies in between leaves its claim, and the next one knows only that it may have
been sent: it goes again where the channel's other end tells repeats by the notice's id; where it can be asked, it is asked first;
else it is `unknown` and said.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

import anyio

from ops_mcp.errors import Code, DeadlineExceeded, LeaseLost, NotConfigured, OpsError, ProviderError, Unavailable
from ops_mcp.governance import pacing
from ops_mcp.governance.pacing import Paced
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Notice, Reconciles, Way
from ops_mcp.operations.chores import paced
from ops_mcp.operations.parts import Parts
from ops_mcp.store import leases, outbox
from ops_mcp.store.database import Transaction
from ops_mcp.store.outbox import Again, Came, Delivered, Doubted, GivenUp, Posted, State

log = logging.getLogger(__name__)

Round: TypeAlias = Callable[[], Awaitable[None]]

SEND_SECONDS = 10.0
"""A worker that ends waits as long for what is on its way, which is less than its lease has left."""

MOST_ATTEMPTS = 20
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 900.0
LONGEST_ASKED_SECONDS = 6 * 3600.0
"""A receiver makes us wait no longer than this by asking for it."""

MOST_DOUBTS = 8
"""So often a channel is asked whether a notice has arrived, before that stays unknown."""

DOUBT_SECONDS = 5.0
"""A service needs a moment until what it took is found."""

_FORGET_EVERY = timedelta(hours=1)
_REFUSED = frozenset(
    {Code.invalid_arguments, Code.unauthenticated, Code.not_permitted, Code.not_found, Code.conflict, Code.unsupported}
)
"""What a channel raises when the notice was certainly not taken, and will not be."""


def deliveries(parts: Parts, ways: Mapping[str, Way], redactor: Callable[[], Redactor]) -> tuple[Round, ...]:
    """A round for each channel, so that none waits for another; one for channels that nobody configured; and one that forgets."""

    async def forget() -> None:
        await parts.database.write(lambda tx: outbox.forget_before(tx, parts.clock()))

    each = tuple(Delivery(name, way, parts, redactor) for name, way in ways.items())
    return (*each, Unconfigured(ways, parts, redactor), paced(forget, _FORGET_EVERY, parts.clock))


@dataclass
class Delivery:
    """The rounds of one channel. Call it as often as you like; it returns once nothing more is due."""

    name: str
    way: Way
    parts: Parts
    redactor: Callable[[], Redactor]
    send_seconds: float = SEND_SECONDS
    doubt_seconds: float = DOUBT_SECONDS
    _unsettled: dict[int, tuple[Posted, Came]] = field(default_factory=dict[int, "tuple[Posted, Came]"], init=False)
    """What was sent and could not be settled: as long as this worker lives it knows how that went."""

    async def __call__(self) -> None:
        for posted, came in list(self._unsettled.values()):
            await self._settle(posted, came)
        if self._unsettled:
            return
        while not self.parts.reins.pulled and await outbox.is_due(self.parts.database, self.name, self.parts.clock()):
            claimed = await self._claimed(await self._chosen())
            if not claimed:
                return
            async with anyio.create_task_group() as group:
                for posted in claimed:
                    group.start_soon(self._deliver, posted)
            if self._unsettled:
                return
            if 0 < self.way.gap_seconds < 1:  # rounds are a second apart
                await self.parts.sleep(self.way.gap_seconds)

    async def _chosen(self) -> Paced | None:
        """What may be sent now; None where that is everything."""
        if self.way.terms is None or not self.way.terms.chooses:
            return None
        return pacing.paced(await outbox.queue(self.parts.database, self.name), self.way.terms, self.parts.clock())

    async def _claimed(self, chosen: Paced | None) -> tuple[Posted, ...]:
        if chosen is not None and not (chosen.alone or chosen.together):
            return ()
        at, fence = self.parts.clock(), self.parts.fence

        def unit(tx: Transaction) -> tuple[Posted, ...]:
            leases.require(tx, fence)
            for posted in outbox.left_behind(tx, self.name, fence=fence):
                came = interrupted(posted, self.way, at, doubt_seconds=self.doubt_seconds)
                outbox.settle(tx, posted, came, fence=fence, at=at)
            most = 1 if self.way.gap_seconds else self.way.at_once
            return outbox.claim(tx, self.name, fence=fence, at=at, most=most, among=_among(tx, self.name, chosen, at))

        return await self.parts.database.write(unit, vital=True)

    async def _deliver(self, posted: Posted) -> None:
        # Shielded: what is cut off in the middle may have arrived, and nobody would know.
        with anyio.CancelScope(shield=True):
            came = await self._sent(posted)
            await self._settle(posted, came)

    async def _sent(self, posted: Posted) -> Came:
        notice = outbox.redacted(posted.notice, self.redactor())
        channel = self.way.channel
        if posted.doubts and isinstance(channel, Reconciles):
            return await self._asked(posted, notice, channel)
        if posted.doubts:
            return GivenUp(State.unknown, _DOUBTFUL)
        try:
            with anyio.fail_after(self.send_seconds):
                return Delivered(await self.way.channel.send(notice))
        except TimeoutError:
            error: OpsError = _late(self.way)
        except OpsError as raised:
            error = raised
        asks = isinstance(channel, Reconciles) and not self.way.knows_repeats
        came = judged(posted, error, self.parts.clock(), doubt_seconds=self.doubt_seconds if asks else None)
        log.warning("notice %s to %s: %s", posted.notice.id, self.name, error.message)
        return came

    async def _asked(self, posted: Posted, notice: Notice, channel: Reconciles) -> Came:
        """Ask for a notice that may have arrived. What certainly has not is sent with the next claim, which has its full time."""
        try:
            with anyio.fail_after(self.send_seconds):
                outside = await channel.find(notice)
        except TimeoutError:
            error: OpsError = DeadlineExceeded("The channel did not say in time whether the notice has arrived.")
        except OpsError as raised:
            error = raised
        else:
            at = self.parts.clock()
            return Delivered(outside) if outside is not None else Again(at, "It had not arrived; it is sent again.")
        log.warning("whether notice %s has arrived at %s: %s", posted.notice.id, self.name, error.message)
        return doubted(posted, error, self.parts.clock(), self.doubt_seconds)

    async def _settle(self, posted: Posted, came: Came) -> None:
        at, fence = self.parts.clock(), self.parts.fence

        def unit(tx: Transaction) -> None:
            leases.require(tx, fence)
            outbox.settle(tx, posted, came, fence=fence, at=at)
            if (until := self._paused_until(came, at)) is not None:
                outbox.pause(tx, self.name, until)

        self._unsettled[posted.position] = (posted, came)
        try:
            await self.parts.database.write(unit, vital=True)
        except LeaseLost:
            raise
        except Unavailable as error:
            log.warning("what came of notice %s cannot be written: %s", posted.notice.id, error.message)
            return
        del self._unsettled[posted.position]

    def _paused_until(self, came: Came, at: datetime) -> datetime | None:
        """When the channel may be used again, where it has a rate or has asked for rest."""
        gap = at + timedelta(seconds=self.way.gap_seconds) if self.way.gap_seconds else None
        asked = came.due_at if isinstance(came, Again | Doubted) and came.whole_channel else None
        return max((moment for moment in (gap, asked) if moment is not None), default=None)


@dataclass
class Unconfigured:
    """The rounds of channels that notices name and nobody configured: they wait, and at last are dead letters that say why."""

    ways: Mapping[str, Way]
    parts: Parts
    redactor: Callable[[], Redactor]
    _rounds: dict[str, Delivery] = field(default_factory=dict[str, Delivery], init=False)

    async def __call__(self) -> None:
        for name in await outbox.open_channels(self.parts.database):
            if name not in self.ways:
                way = Way(_Nowhere(name, tuple(self.ways)))
                await self._rounds.setdefault(name, Delivery(name, way, self.parts, self.redactor))()


def judged(posted: Posted, error: OpsError, at: datetime, *, doubt_seconds: float | None = None) -> Came:
    """What follows from an error of a channel: another attempt, or none because it was refused, or because nobody knows.

    A channel that can be asked is asked in `doubt_seconds`.
    """
    problem = error.problem
    if error.may_be_retried or isinstance(error, NotConfigured):
        if posted.attempts >= MOST_ATTEMPTS:
            told = f"Given up after {posted.attempts} attempts. {problem.message}"
            return GivenUp(State.dead, problem.evolve(message=told))
        asked = min(problem.retry_after_seconds or 0.0, LONGEST_ASKED_SECONDS)
        wait = max(pause_seconds(posted.attempts), asked)
        return Again(at + timedelta(seconds=wait), problem.message, whole_channel=problem.code is Code.rate_limited)
    if doubt_seconds is not None and problem.code not in _REFUSED:
        return Doubted(at + timedelta(seconds=doubt_seconds), f"{problem.message} It is asked whether it has arrived.")
    return GivenUp(State.dead if problem.code in _REFUSED else State.unknown, problem)


def doubted(posted: Posted, error: OpsError, at: datetime, doubt_seconds: float) -> Came:
    """What follows where a channel could not say whether it has a notice: it is asked again later, but not for ever."""
    problem = error.problem
    if posted.doubts >= MOST_DOUBTS or problem.code in _REFUSED or problem.code is Code.not_configured:
        told = f"It may have arrived; asked {posted.doubts} times, the channel could not say. {problem.message}"
        return GivenUp(State.unknown, problem.evolve(message=told))
    asked = min(problem.retry_after_seconds or 0.0, LONGEST_ASKED_SECONDS)
    wait = min(LONGEST_PAUSE_SECONDS, max(asked, doubt_seconds * 2.0**posted.doubts))
    return Doubted(at + timedelta(seconds=wait), problem.message, whole_channel=problem.code is Code.rate_limited)


def interrupted(posted: Posted, way: Way, at: datetime, *, doubt_seconds: float = DOUBT_SECONDS) -> Came:
    """What follows from a claim that nobody settled."""
    if not way.knows_repeats and isinstance(way.channel, Reconciles):
        said = "The worker ended while this was being sent; it is asked whether it has arrived."
        return Doubted(at + timedelta(seconds=doubt_seconds), said)
    if not way.knows_repeats:
        problem = ProviderError(
            "The worker ended while this was being sent; it may have arrived.", hint="To send it again: ops-mcp outbox retry ID"
        ).problem
        return GivenUp(State.unknown, problem)
    if posted.attempts >= MOST_ATTEMPTS:
        message = f"Given up after {posted.attempts} attempts, the last of which was interrupted; it may have arrived."
        return GivenUp(State.unknown, ProviderError(message).problem)
    return Again(at, "The worker ended while this was being sent; it is sent again under the same id.")


def pause_seconds(attempts: int) -> float:
    """How long to wait after that many attempts: twice as long after each, up to a quarter of an hour."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 30))


def _among(tx: Transaction, channel: str, chosen: Paced | None, at: datetime) -> frozenset[int] | None:
    """The positions that may be claimed; what comes together has become one notice by then."""
    if chosen is None:
        return None
    digest = outbox.summarise(tx, channel, chosen.together, quiet=chosen.quiet, at=at) if chosen.together else None
    return frozenset(chosen.alone) if digest is None else frozenset((*chosen.alone, digest))


class _Nowhere:
    """A channel that is not there."""

    kind = "nowhere"

    def __init__(self, name: str, others: tuple[str, ...]) -> None:
        self._name = name
        self._others = others

    async def send(self, notice: Notice) -> str:  # noqa: ARG002  # the Protocol's
        raise NotConfigured(
            f"There is no channel {self._name!r}.",
            hint=f"Channels: {', '.join(sorted(self._others)) or 'none'}. Add [channels.{self._name}] to config.toml.",
        )


def _late(way: Way) -> OpsError:
    """A channel that did not end in time: the notice may have arrived."""
    message = "The channel did not answer in time; the notice may have arrived."
    return DeadlineExceeded(message) if way.knows_repeats else ProviderError(message)


_DOUBTFUL = ProviderError(
    "It may have arrived, and this channel cannot be asked.", hint="To send it again: ops-mcp outbox retry ID"
).problem
