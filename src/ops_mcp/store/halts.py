"""What stops calls at once: freezes, the kill switch for everyone, and the number that tells every process of a change."""

import json
from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.calls import Freeze
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.values import JsonObject

EVERY_ENVIRONMENT = "*"
"""The `freezes` row that covers all environments."""

EVERYONE_KILLED = "everyone_killed"
"""The `facts` row that is there while nobody may act; its value says by whom, why and since when."""

_FREEZE = "SELECT environment, reason, by_whom, since FROM freezes"


class Halt(NamedTuple):
    """The kill switch for everyone, while it is on."""

    by: str
    reason: str
    since: datetime


def covering_freeze(t: Transaction, environment: EnvironmentName | None) -> Freeze | None:
    """The freeze that covers `environment`, the one of every environment first; a call without one is covered by that alone."""
    rows = t.fetch(
        f"{_FREEZE} WHERE environment IN (?, ?) ORDER BY environment", EVERY_ENVIRONMENT, environment or EVERY_ENVIRONMENT
    )
    return _freeze(rows[0]) if rows else None


def everyone_is_killed(t: Transaction) -> bool:
    return bool(t.fetch("SELECT 1 FROM facts WHERE name = ?", EVERYONE_KILLED))


def frozen_places(t: Transaction) -> tuple[str, ...]:
    return tuple(row[0] for row in t.fetch("SELECT environment FROM freezes ORDER BY environment"))


def insert_freeze(t: Transaction, freeze: Freeze) -> None:
    """Freeze, or replace the reason of a freeze that is there."""
    place = freeze.environment or EVERY_ENVIRONMENT
    t.execute("DELETE FROM freezes WHERE environment = ?", place)
    t.execute(
        "INSERT INTO freezes (environment, reason, by_whom, since) VALUES (?, ?, ?, ?)",
        place,
        freeze.reason,
        freeze.by,
        freeze.since.isoformat(),
    )


def delete_freeze(t: Transaction, environment: EnvironmentName | None) -> bool:
    """Lift a freeze; whether there was one."""
    return t.execute("DELETE FROM freezes WHERE environment = ?", environment or EVERY_ENVIRONMENT) > 0


def halt_everyone(t: Transaction, halt: Halt) -> None:
    release_everyone(t)
    said = json.dumps({"by": halt.by, "reason": halt.reason, "since": halt.since.isoformat()})
    t.execute("INSERT INTO facts (name, value) VALUES (?, ?)", EVERYONE_KILLED, said)


def release_everyone(t: Transaction) -> bool:
    """Turn the kill switch for everyone off; whether it was on."""
    return t.execute("DELETE FROM facts WHERE name = ?", EVERYONE_KILLED) > 0


def bump_governance(t: Transaction) -> int:
    """Tell every process that what governs calls has changed; the new number."""
    present = t.fetch("SELECT value FROM facts WHERE name = 'governance'")
    number = int(present[0][0]) + 1 if present else 1
    t.execute("DELETE FROM facts WHERE name = 'governance'")
    t.execute("INSERT INTO facts (name, value) VALUES ('governance', ?)", str(number))
    return number


async def freezes(db: Database) -> tuple[Freeze, ...]:
    return tuple(_freeze(row) for row in await db.fetch(f"{_FREEZE} ORDER BY environment"))


async def halt(db: Database) -> Halt | None:
    """The kill switch for everyone, if it is on."""
    rows = await db.fetch("SELECT value FROM facts WHERE name = ?", EVERYONE_KILLED)
    if not rows:
        return None
    said: JsonObject = json.loads(rows[0][0])
    return Halt(by=str(said["by"]), reason=str(said["reason"]), since=datetime.fromisoformat(str(said["since"])))


def _freeze(row: Row) -> Freeze:
    place, reason, by, since = row
    environment = None if place == EVERY_ENVIRONMENT else EnvironmentName(place)
    return Freeze(environment=environment, reason=reason, by=by, since=datetime.fromisoformat(since))
