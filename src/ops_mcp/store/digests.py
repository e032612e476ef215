"""What hangs on a notice that was settled: the thread that answers to it from now on, and the notices for which it stands."""

from collections.abc import Sequence

from ops_mcp.observing import Notice
from ops_mcp.store.database import Transaction
from ops_mcp.values import text_digest

_PREFIX = "dig_"


def id_of(channel: str, members: Sequence[str], at: str) -> str:
    """The id of one digest: the same notices, repeated by hand and summarised once more, are another."""
    return _PREFIX + text_digest(" ".join((channel, at, *members))).removeprefix("sha256:")[:20]


def is_one(id: str) -> bool:
    """Whether a notice of this id stands for others."""
    return id.startswith(_PREFIX)


def answer_to(tx: Transaction, notice: Notice, outside: str, *, at: str) -> None:
    """A notice arrived: the first of a thread is what all later ones answer to, and those for which it stands have arrived."""
    if is_one(notice.id):
        _arrived(tx, notice, outside, at)
    elif outside and notice.thread != notice.id:
        tx.execute(
            "INSERT INTO outbox_threads (channel, thread, outside, used_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (channel, thread) DO UPDATE SET used_at = excluded.used_at",
            notice.channel, notice.thread, outside, at,
        )  # fmt: skip


def give_up(tx: Transaction, id: str, state: str, trouble: str, *, at: str) -> None:
    """The notices for which this one stands share its lot; each can be repeated on its own."""
    if is_one(id):
        tx.execute(
            "UPDATE outbox SET state = ?, final = 1, trouble = ?, settled_at = ? WHERE digest = ? AND final = 0",
            state, trouble, at, id,
        )  # fmt: skip


def forget_threads(tx: Transaction, before: str) -> None:
    """Drop threads that nothing was told in since then."""
    tx.execute("DELETE FROM outbox_threads WHERE used_at < ?", before)


def _arrived(tx: Transaction, digest: Notice, outside: str, at: str) -> None:
    if outside:
        tx.execute(
            "INSERT INTO outbox_threads (channel, thread, outside, used_at)"
            " SELECT DISTINCT channel, thread, ?, ? FROM outbox WHERE digest = ? AND thread <> id"
            " ON CONFLICT (channel, thread) DO UPDATE SET used_at = excluded.used_at",
            outside, at, digest.id,
        )  # fmt: skip
    tx.execute(
        "UPDATE outbox SET state = 'delivered', final = 1, outside = ?, trouble = '', settled_at = ? WHERE digest = ?",
        outside, at, digest.id,
    )  # fmt: skip
