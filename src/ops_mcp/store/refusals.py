"""Floods: refusals beyond 60 a minute and caller are counted, and written as one record when the minute is over."""

from datetime import datetime

from ops_mcp.domain.outcomes import Record
from ops_mcp.store.database import Transaction

WRITTEN_PER_MINUTE = 60
REPEATS = "/repeats"
"""Repeats of a known key are counted apart from refusals, under the caller's name with this ending."""


def count(tx: Transaction, caller: str, at: datetime) -> bool:
    """Count one refusal; True when it is to be written as a record of its own. Ended minutes are summed up on the way."""
    minute = at.strftime("%Y-%m-%dT%H:%M")
    sum_up(tx, at, caller)
    tx.execute(
        "INSERT INTO refusals (caller, minute, count, written) VALUES (?, ?, 1, 1) ON CONFLICT (caller, minute)"
        " DO UPDATE SET count = refusals.count + 1, written = CASE WHEN refusals.written < ? THEN refusals.written + 1"
        " ELSE refusals.written END",
        caller, minute, WRITTEN_PER_MINUTE,
    )  # fmt: skip
    rows = tx.fetch("SELECT count FROM refusals WHERE caller = ? AND minute = ?", caller, minute)
    return rows[0][0] <= WRITTEN_PER_MINUTE


def sum_up(tx: Transaction, at: datetime, caller: str | None = None) -> None:
    """Write one `call.refused_many` for each ended minute that counted more than it wrote."""
    minute = at.strftime("%Y-%m-%dT%H:%M")
    if caller is None:
        ended = tx.fetch("SELECT caller, minute, count, written FROM refusals WHERE minute < ?", minute)
    else:
        ended = tx.fetch("SELECT caller, minute, count, written FROM refusals WHERE caller = ? AND minute < ?", caller, minute)
    for who, when, counted, written in ended:
        if counted > written:
            data = {"minute": str(when), "refused": int(counted), "of_which_recorded": int(written)}
            kind = "call.repeated_many" if str(who).endswith(REPEATS) else "call.refused_many"
            tx.record(Record(kind=kind, at=at, caller=str(who).removesuffix(REPEATS), data=dict(data)))
        tx.execute("DELETE FROM refusals WHERE caller = ? AND minute = ?", who, when)
