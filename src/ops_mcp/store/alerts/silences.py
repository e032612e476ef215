"""Rows of silences. One that was ended early ends then."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ops_mcp.alerting.muting import Silence, SilenceState
from ops_mcp.errors import Conflict
from ops_mcp.store.database import Database, Transaction

MOST_SILENCES = 1_000
"""Of one environment: whoever may silence there takes no other's room."""


def insert(tx: Transaction, silence: Silence) -> None:
    """Raises `Conflict` where too many are in force already."""
    counted = "SELECT COUNT(*) FROM silences WHERE environment = ? AND ends_at > ?"
    if tx.fetch(counted, silence.environment, silence.starts_at.isoformat())[0][0] >= MOST_SILENCES:
        raise Conflict(
            f"There are {MOST_SILENCES:,} silences in {silence.environment} already.",
            hint="End some, or use one with broader matchers.",
        )
    tx.execute(
        "INSERT INTO silences (id, environment, ends_at, body) VALUES (?, ?, ?, ?)",
        silence.id, silence.environment, silence.ends_at.isoformat(), silence.model_dump_json(exclude_none=True),
    )  # fmt: skip


def end(tx: Transaction, id: str, *, by: str, at: datetime) -> None:
    """End a silence early. Raises `Conflict` for one that is over."""
    silence = silence_in(tx, id)
    if silence is None or silence.state(at) is SilenceState.expired:
        raise Conflict("This silence is over, or there is none with this id.", hint="`alerts` lists the silences in force.")
    # One that is ended in the moment it began, or before, has held for an instant: nothing stored has no length.
    ended = silence.evolve(ends_at=max(at, silence.starts_at + timedelta(microseconds=1)))
    tx.execute(
        "UPDATE silences SET ends_at = ?, body = ?, ended_by = ? WHERE id = ?",
        ended.ends_at.isoformat(), ended.model_dump_json(exclude_none=True), by, id,
    )  # fmt: skip


def silence_in(tx: Transaction, id: str) -> Silence | None:
    rows = tx.fetch("SELECT body FROM silences WHERE id = ?", id)
    return _read(rows[0][0]) if rows else None


def in_force(tx: Transaction, at: datetime) -> tuple[Silence, ...]:
    return tuple(_read(row[0]) for row in tx.fetch("SELECT body FROM silences WHERE ends_at > ? ORDER BY id", at.isoformat()))


def forget_before(tx: Transaction, at: datetime) -> None:
    tx.execute("DELETE FROM silences WHERE ends_at < ?", at.isoformat())


async def silence_of(database: Database, id: str) -> Silence | None:
    rows = await database.fetch("SELECT body FROM silences WHERE id = ?", id)
    return _read(rows[0][0]) if rows else None


async def silences_of(database: Database, environments: Iterable[str], at: datetime) -> Sequence[Silence]:
    """Those that are not over, the one that ends first first."""
    places = tuple(environments)
    marks = ", ".join("?" * len(places)) or "NULL"
    rows = await database.fetch(
        f"SELECT body FROM silences WHERE environment IN ({marks}) AND ends_at > ? ORDER BY ends_at, id", *places, at.isoformat()
    )
    return [_read(row[0]) for row in rows]


def _read(body: str) -> Silence:
    return Silence.model_validate_json(body)
