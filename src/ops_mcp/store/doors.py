"""What doors have taken already, and who a person at a door is."""

from datetime import UTC, datetime, timedelta

from ops_mcp.domain.identity import Operator
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.people import operators

KEEP = timedelta(days=1)


def take(tx: Transaction, door: str, id: str, *, at: datetime) -> bool:
    """Note that this was taken; False where it was before. Slack sends an event again for an hour at most."""
    tx.execute("DELETE FROM door_events WHERE door = ? AND at < ?", door, _text(at - KEEP))
    return (
        tx.execute(
            "INSERT INTO door_events (door, id, at) VALUES (?, ?, ?) ON CONFLICT (door, id) DO NOTHING", door, id, _text(at)
        )
        > 0
    )


async def operator_in_slack(database: Database, user: str) -> Operator | None:
    """The operator who was added with this id of Slack's, unless revoked. What they order is verified again as it is done."""
    found = [one for one in await operators(database) if one.slack_id == user and one.revoked_at is None] if user else []
    return found[0] if len(found) == 1 else None


async def thread_at(database: Database, outside: str) -> str | None:
    """Which of our threads begins with the message of this name of the outside's."""
    rows = await database.fetch("SELECT thread FROM outbox_threads WHERE outside = ? LIMIT 1", outside)
    return str(rows[0][0]) if rows else None


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
