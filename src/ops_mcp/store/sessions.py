"""Sessions of the approval page, as stored: opened once for each ticket, known by the hash of their cookie, ended by time."""

from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.identity import Operator
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Conflict, NotPermitted
from ops_mcp.governance.attesting import Delegation, delegated
from ops_mcp.store import people
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.keys import operator_signed

_DOOR = "page"


class Session(NamedTuple):
    """Who looks at the page, and the word of theirs that lets this session act as them."""

    operator: Operator
    delegation: Delegation


def open_session(tx: Transaction, delegation: Delegation, token_hash: str, *, at: datetime) -> None:
    """Exchange an operator's word for a session. Raises `NotPermitted` for one that is not theirs, `Conflict` for a used one.

    How long it may last, and that it was given just now, the caller has seen to.
    """
    operator = people.operator_named(tx, delegation.operator)
    if operator is None or operator.revoked_at is not None:
        raise NotPermitted("This ticket is of nobody who is an operator here.", hint="See: ops-mcp operator list")
    if not operator_signed(operator.public_key, delegated(delegation), delegation.signature):
        raise NotPermitted("This ticket is not signed by the operator's key.", hint="Get another one: ops-mcp page")
    tx.execute("DELETE FROM door_sessions WHERE expires_at <= ?", at.isoformat())
    taken = tx.execute(
        "INSERT INTO door_events (door, id, at) VALUES (?, ?, ?) ON CONFLICT (door, id) DO NOTHING",
        _DOOR, delegation.session, at.isoformat(),
    )  # fmt: skip
    if not taken:
        raise Conflict("This ticket was used already.", hint="Get another one: ops-mcp page")
    tx.execute(
        "INSERT INTO door_sessions (token_hash, operator, expires_at, body) VALUES (?, ?, ?, ?)",
        token_hash, delegation.operator, delegation.until.isoformat(), delegation.model_dump_json(),
    )  # fmt: skip
    tx.record(_record("page.unlocked", delegation, at))


def end_session(tx: Transaction, token_hash: str, delegation: Delegation, *, at: datetime) -> None:
    """Forget it, when its operator locks the page."""
    if tx.execute("DELETE FROM door_sessions WHERE token_hash = ?", token_hash):
        tx.record(_record("page.locked", delegation, at))


async def session_of(database: Database, token_hash: str, at: datetime) -> Session | None:
    """The session of a cookie, while it lasts and its operator is one."""
    rows = await database.fetch(
        "SELECT body, operator FROM door_sessions WHERE token_hash = ? AND expires_at > ?", token_hash, at.isoformat()
    )
    if not rows:
        return None
    operator = next((o for o in await people.operators(database) if o.name == rows[0][1]), None)
    if operator is None or operator.revoked_at is not None:
        return None
    return Session(operator, Delegation.model_validate_json(rows[0][0]))


def _record(kind: str, delegation: Delegation, at: datetime) -> Record:
    return Record(
        kind=kind,
        at=at,
        caller=f"operator:{delegation.operator}",
        owner=delegation.operator,
        data={"session": delegation.session, "until": delegation.until.isoformat()},
    )
