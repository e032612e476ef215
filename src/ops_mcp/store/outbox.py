"""The outbox: notices stored in the transaction of what they tell of, and delivered from here, in order within each thread.

A notice is claimed before it is sent and settled after it. A claim that was left behind says that nobody knows whether it was
sent: it goes again only where the channel tells repeats apart by the notice's id, or can be asked and has not got it; else it is
final as `unknown`, and said.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, assert_never

from ops_mcp.domain.notices import OFFERS
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Problem
from ops_mcp.governance.pacing import Waiting, summed
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Notice
from ops_mcp.store import digests
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.values import Json, JsonObject, canonical, sayable, text_digest

KEEP_DELIVERED, KEEP_OTHERS = timedelta(days=7), timedelta(days=90)
KEEP_THREADS = timedelta(days=400)
"""Nobody answers to a message that is older."""
MOST_QUEUED = 2_000
MOST_BODY_BYTES = 262_144
LONGEST_THREAD, LONGEST_TITLE, LONGEST_TEXT, LONGEST_TROUBLE, LONGEST_OUTSIDE = 400, 500, 20_000, 500, 200


class State(StrEnum):
    """`waiting` and `claimed` are open. `unknown` may have arrived; `dead` has not."""

    waiting = "waiting"
    claimed = "claimed"
    delivered = "delivered"
    unknown = "unknown"
    dead = "dead"


class Posted(NamedTuple):
    """A notice as the outbox has it."""

    position: int
    notice: Notice
    state: State
    attempts: int
    due_at: datetime
    trouble: str = ""
    outside: str = ""
    settled_at: datetime | None = None
    doubts: int = 0


def enqueue(tx: Transaction, notice: Notice, *, at: datetime, redactor: Redactor | None = None) -> bool:
    """Store a notice for its channel, bounded and without secrets; False where that channel has one of this id already.

    Without the installation's own `redactor`, only secrets that show by their shape or name are taken out.
    """
    stored = bounded(redacted(notice, redactor or _SHAPES))
    return (
        tx.execute(
            "INSERT INTO outbox (position, id, channel, thread, state, due_at, body, enqueued_at)"
            " VALUES ((SELECT COALESCE(MAX(position), 0) + 1 FROM outbox), ?, ?, ?, 'waiting', ?, ?, ?)"
            " ON CONFLICT (id, channel) DO NOTHING",
            stored.id, stored.channel, stored.thread, _text(at), stored.model_dump_json(), _text(at),
        )
        > 0
    )  # fmt: skip


def redacted(notice: Notice, redactor: Redactor) -> Notice:
    """The notice without secrets. Its id and channel are ours and stay; equal threads stay equal."""
    body = redactor.value(notice.body)
    return notice.evolve(
        thread=redactor.text(notice.thread),
        title=redactor.text(notice.title),
        text=redactor.text(notice.text),
        untrusted=redactor.text(notice.untrusted),
        body=body if isinstance(body, dict) else {},
    )


def bounded(notice: Notice) -> Notice:
    """The notice no longer than a channel need take. A body that is too large is left out whole, and says so."""
    body = sayable(notice.body)
    size = len(canonical(body))
    if not isinstance(body, dict) or size > MOST_BODY_BYTES:
        body = {"left_out": f"The body had {size:,} bytes; at most {MOST_BODY_BYTES:,} are sent."}
    return notice.evolve(
        thread=_short(notice.thread),
        title=_sayable(notice.title, LONGEST_TITLE),
        text=_sayable(notice.text, LONGEST_TEXT),
        untrusted=_sayable(notice.untrusted, LONGEST_TEXT),
        body=body,
    )


class Delivered(NamedTuple):
    """The channel took it; `outside` is its own name for it."""

    outside: str = ""


class Again(NamedTuple):
    """It was not taken, and is to be tried again at `due_at`; `whole_channel` where nothing else may be sent there before."""

    due_at: datetime
    trouble: str
    whole_channel: bool = False


class Doubted(NamedTuple):
    """It may have arrived. At `due_at` the channel is asked for it; only what is certainly not there is sent again."""

    due_at: datetime
    trouble: str
    whole_channel: bool = False


class GivenUp(NamedTuple):
    """It is not tried again: `dead` where the channel refused it or too often failed, `unknown` where it may have arrived."""

    state: State
    problem: Problem


Came = Delivered | Again | Doubted | GivenUp
"""What came of one sending."""


def waits(tx: Transaction) -> bool:
    """Whether anything is not final."""
    return bool(tx.fetch("SELECT 1 FROM outbox WHERE final = 0 LIMIT 1"))


async def is_due(database: Database, channel: str, at: datetime) -> bool:
    """Whether there is something for `claim`: a notice whose time has come, or a claim that was left behind."""
    moment = _text(at)
    rows = await database.fetch(
        f"SELECT 1 FROM outbox WHERE position IN ({_FIRST}) AND digest = '' AND (state = 'claimed' OR"
        " ((attempts = 0 OR due_at <= ?) AND NOT EXISTS (SELECT 1 FROM outbox_pauses WHERE channel = ? AND until > ?))) LIMIT 1",
        channel, moment, channel, moment,
    )  # fmt: skip
    return bool(rows)


async def open_channels(database: Database) -> tuple[str, ...]:
    """Channels that have something to deliver, whether they are configured or not."""
    rows = await database.fetch("SELECT DISTINCT channel FROM outbox WHERE final = 0 ORDER BY channel LIMIT 1000")
    return tuple(row[0] for row in rows)


async def queue(database: Database, channel: str) -> tuple[Waiting, ...]:
    """A channel's open notices in their order, for the decision what of them is sent now; of very many, the oldest."""
    rows = await database.fetch(
        "SELECT position, thread, body, enqueued_at, attempts, digest, state FROM outbox WHERE final = 0 AND channel = ?"
        " ORDER BY position LIMIT ?",
        channel, MOST_QUEUED,
    )  # fmt: skip
    return tuple(map(_waiting, rows))


def _waiting(row: Row) -> Waiting:
    position, thread, body, enqueued_at, attempts, digest, state = row
    notice = Notice.model_validate_json(body)
    return Waiting(
        position=position,
        thread=thread,
        severity=notice.severity,
        since=datetime.fromisoformat(enqueued_at),
        tried=attempts > 0 or bool(digest) or state != State.waiting or digests.is_one(notice.id),
        asks=bool(notice.replaces) or any(button.action not in OFFERS for button in notice.buttons),
    )


def summarise(tx: Transaction, channel: str, positions: Sequence[int], *, quiet: bool, at: datetime) -> int | None:
    """Put one notice in the place of these, and have them wait for it; its position. None where none of them waits any more."""
    members: list[Notice] = []
    for position in positions:
        rows = tx.fetch(f"{_POSTED} WHERE position = ? AND state = 'waiting' AND digest = '' AND attempts = 0", position)
        members += [_posted(row).notice for row in rows]
    if not members:
        return None
    words = summed([(one.severity, one.title) for one in members], quiet=quiet)
    ids: list[Json] = [one.id for one in members]
    id = digests.id_of(channel, [one.id for one in members], _text(at))
    body: JsonObject = {"kind": "digest", "notices": ids}
    enqueue(tx, Notice(id=id, channel=channel, thread=id, body=body, at=at, **words._asdict()), at=at)
    for position in positions:
        tx.execute(
            "UPDATE outbox SET digest = ? WHERE position = ? AND state = 'waiting' AND digest = '' AND attempts = 0", id, position
        )
    return int(tx.fetch("SELECT position FROM outbox WHERE id = ? AND channel = ?", id, channel)[0][0])


def claim(
    tx: Transaction, channel: str, *, fence: int, at: datetime, most: int, among: Collection[int] | None = None
) -> tuple[Posted, ...]:
    """Take the first notice of each thread whose time has come, unless the channel pauses. Each claim counts as an attempt.

    `among` are the positions that may be taken, where not all may be.
    """
    paused = tx.fetch("SELECT 1 FROM outbox_pauses WHERE channel = ? AND until > ?", channel, _text(at))
    if paused:
        return ()
    rows = tx.fetch(
        f"{_POSTED} WHERE position IN ({_FIRST}) AND digest = '' AND state = 'waiting' AND (attempts = 0 OR due_at <= ?)"
        " ORDER BY position LIMIT ?",
        channel, _text(at), most if among is None else MOST_QUEUED,
    )  # fmt: skip
    if among is not None:
        rows = [row for row in rows if row[0] in among][:most]
    for row in rows:
        tx.execute(
            "UPDATE outbox SET state = 'claimed', fence = ?, attempts = attempts + 1 WHERE position = ?", fence, int(row[0])
        )
    return tuple(_posted(row)._replace(state=State.claimed, attempts=int(row[4]) + 1) for row in rows)


def settle(tx: Transaction, posted: Posted, came: Came, *, fence: int, at: datetime) -> bool:
    """Write what came of a claim; False where it is settled already, or somebody else's by now."""
    match came:
        case Delivered(outside=outside):
            ended = _end(tx, posted, State.delivered, fence, at, outside=outside)
            if ended:
                digests.answer_to(tx, posted.notice, _sayable(outside, LONGEST_OUTSIDE), at=_text(at))
            return ended
        case Again(due_at=due_at, trouble=trouble):
            return _put_back(tx, posted, fence, due_at, trouble, doubts=0)
        case Doubted(due_at=due_at, trouble=trouble):
            return _put_back(tx, posted, fence, due_at, trouble, doubts=posted.doubts + 1)
        case GivenUp(state=state, problem=problem):
            ended = _end(tx, posted, state, fence, at, trouble=_told(problem))
            if ended:
                digests.give_up(tx, posted.notice.id, state, _told(problem), at=_text(at))
                tx.record(_record(f"notice.{state}", posted, at, code=problem.code.value, reason=_told(problem)))
            return ended
        case _:
            assert_never(came)


def pause(tx: Transaction, channel: str, until: datetime) -> None:
    """Send nothing to this channel before that moment."""
    tx.execute(
        "INSERT INTO outbox_pauses (channel, until) VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET until = excluded.until"
        " WHERE outbox_pauses.until < excluded.until",
        channel, _text(until),
    )  # fmt: skip


def left_behind(tx: Transaction, channel: str, *, fence: int) -> tuple[Posted, ...]:
    """Take over, under this fence, every claim on the channel: nobody knows whether those were sent.

    Only for a worker that has none of them in its hands.
    """
    rows = tx.fetch(f"{_POSTED} WHERE final = 0 AND channel = ? AND state = 'claimed' ORDER BY position", channel)
    found = tuple(map(_posted, rows))
    for posted in found:
        tx.execute("UPDATE outbox SET fence = ? WHERE position = ?", fence, posted.position)
    return found


def repeat(tx: Transaction, id: str, *, by: str, at: datetime) -> int:
    """Have a notice that is dead or unknown tried again, in every channel where it is; how many that were."""
    rows = tx.fetch(f"{_POSTED} WHERE id = ? AND state IN ('dead', 'unknown') ORDER BY position", id)
    for posted in map(_posted, rows):
        tx.execute(
            "UPDATE outbox SET state = 'waiting', final = 0, attempts = 0, doubts = 0, digest = '', due_at = ?, settled_at = NULL"
            " WHERE position = ?",
            _text(at), posted.position,
        )  # fmt: skip
        tx.record(_record("notice.repeated", posted, at, caller=by))
    return len(rows)


async def listed(database: Database, states: tuple[State, ...], *, limit: int) -> tuple[Posted, ...]:
    """Notices in any of these states, the newest first."""
    marks = ", ".join("?" * len(states)) or "NULL"
    rows = await database.fetch(f"{_POSTED} WHERE state IN ({marks}) ORDER BY position DESC LIMIT ?", *states, limit)
    return tuple(map(_posted, rows))


async def counted(database: Database) -> dict[str, int]:
    """How many there are in each state that any is in."""
    rows = await database.fetch("SELECT state, COUNT(*) FROM outbox GROUP BY state ORDER BY state")
    return {str(state): int(number) for state, number in rows}


async def named(database: Database, id: str) -> tuple[Posted, ...]:
    """The notice of this id in every channel where it is."""
    return tuple(map(_posted, await database.fetch(f"{_POSTED} WHERE id = ? ORDER BY position", id)))


def forget_before(tx: Transaction, at: datetime) -> int:
    """Drop what was settled long ago; how many. From then on their ids are free again."""
    digests.forget_threads(tx, _text(at - KEEP_THREADS))
    return tx.execute(
        "DELETE FROM outbox WHERE final = 1 AND ((state = 'delivered' AND settled_at < ?)"
        " OR (state IN ('dead', 'unknown') AND settled_at < ?))",
        _text(at - KEEP_DELIVERED), _text(at - KEEP_OTHERS),
    )  # fmt: skip


def _end(
    tx: Transaction, posted: Posted, state: State, fence: int, at: datetime, *, outside: str = "", trouble: str = ""
) -> bool:
    return (
        tx.execute(
            "UPDATE outbox SET state = ?, final = 1, outside = ?, trouble = ?, settled_at = ?"
            " WHERE position = ? AND state = 'claimed' AND fence = ?",
            state, _sayable(outside, LONGEST_OUTSIDE), trouble, _text(at), posted.position, fence,
        )
        > 0
    )  # fmt: skip


def _put_back(tx: Transaction, posted: Posted, fence: int, due_at: datetime, trouble: str, *, doubts: int) -> bool:
    return (
        tx.execute(
            "UPDATE outbox SET state = 'waiting', due_at = ?, trouble = ?, doubts = ?"
            " WHERE position = ? AND state = 'claimed' AND fence = ?",
            _text(due_at), trouble[:LONGEST_TROUBLE], doubts, posted.position, fence,
        )
        > 0
    )  # fmt: skip


def _record(
    kind: str, posted: Posted, at: datetime, *, code: str | None = None, reason: str | None = None, caller: str | None = None
) -> Record:
    notice = posted.notice
    data: JsonObject = {
        "notice": notice.id,
        "channel": notice.channel,
        "thread": notice.thread,
        "severity": notice.severity,
        "attempts": posted.attempts,
    }
    return Record(kind=kind, at=at, caller=caller, code=code, reason=reason, data=data)


def _posted(row: Row) -> Posted:
    position, body, state, due_at, attempts, trouble, outside, settled_at, doubts, parent = row
    notice = Notice.model_validate_json(body)
    return Posted(
        position=position,
        notice=notice if notice.parent or not parent else notice.evolve(parent=parent),
        state=State(state),
        attempts=attempts,
        due_at=datetime.fromisoformat(due_at),
        trouble=trouble,
        outside=outside,
        settled_at=datetime.fromisoformat(settled_at) if settled_at else None,
        doubts=doubts,
    )


def _told(problem: Problem) -> str:
    return f"{problem.message} {problem.hint}".strip()[:LONGEST_TROUBLE]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _short(thread: str) -> str:
    """A thread's name no longer than `LONGEST_THREAD`; different ones stay different."""
    thread = thread.encode(errors="backslashreplace").decode()
    return thread if len(thread) <= LONGEST_THREAD else f"{thread[: LONGEST_THREAD - 80]} {text_digest(thread)}"


def _sayable(text: str, longest: int) -> str:
    """Text that UTF-8 can carry, no longer than that; a cut ends in `…`."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"


_POSTED = (
    "SELECT position, body, state, due_at, attempts, trouble, outside, settled_at, doubts,"
    " (SELECT t.outside FROM outbox_threads t WHERE t.channel = outbox.channel AND t.thread = outbox.thread) FROM outbox"
)
_FIRST = "SELECT MIN(position) FROM outbox WHERE final = 0 AND channel = ? GROUP BY thread"
"""The first open notice of each thread of a channel: only that may be sent."""

_SHAPES = Redactor({}, b"outbox")
