"""What monitoring reads of our own records: how much waits, how much is spent, and what the ledger says since a moment."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from ops_mcp.domain.releases import Deployment
from ops_mcp.store import leases, outbox
from ops_mcp.store.database import Database
from ops_mcp.values import JsonObject


class Depths(NamedTuple):
    """How much waits. `outbox` and `tasks` are by state, `head` is the number of the ledger's newest record."""

    outbox: dict[str, int]
    tasks: dict[str, int]
    approvals: int
    operations: int
    head: int
    lease_seconds: float


class Spending(NamedTuple):
    """One counter row of a budget's present window."""

    scope: str
    window: str
    calls: int
    tokens: int
    usd_micros: int


async def depths(database: Database, at: datetime) -> Depths:
    """Counted now. `lease_seconds` is how long the worker's lease still runs, 0 where nobody holds it."""
    approvals = await database.fetch("SELECT COUNT(*) FROM approvals WHERE state = 'pending' AND answer_by > ?", at.isoformat())
    operations = await database.fetch("SELECT COUNT(*) FROM operations WHERE final = 0")
    tasks = await database.fetch("SELECT state, COUNT(*) FROM tasks GROUP BY state")
    lease = await leases.present(database)
    return Depths(
        outbox=await outbox.counted(database),
        tasks={str(state): int(number) for state, number in tasks},
        approvals=int(approvals[0][0]),
        operations=int(operations[0][0]),
        head=await head(database),
        lease_seconds=max(0.0, (lease.expires_at - at).total_seconds()) if lease else 0.0,
    )


async def head(database: Database) -> int:
    """The number of the newest record, 0 where there is none."""
    return int((await database.fetch("SELECT COALESCE(MAX(id), 0) FROM ledger"))[0][0])


async def spending(database: Database, at: datetime) -> Sequence[Spending]:
    """Counter rows of the running hour and day."""
    rows = await database.fetch(
        "SELECT scope, win, calls, tokens, usd_micros FROM spend WHERE win IN (?, ?) ORDER BY scope, win LIMIT 10000",
        at.strftime("%Y-%m-%dT%H"), at.strftime("%Y-%m-%d"),
    )  # fmt: skip
    return [Spending(str(row[0]), str(row[1]), int(row[2]), int(row[3]), int(row[4])) for row in rows]


async def records_after(database: Database, number: int, *, limit: int) -> Sequence[tuple[int, JsonObject]]:
    """The next records after this one, oldest first."""
    rows = await database.fetch("SELECT id, body FROM ledger WHERE id > ? ORDER BY id LIMIT ?", number, limit)
    return [(int(row[0]), cast(JsonObject, json.loads(row[1]))) for row in rows]


async def last_before(database: Database, moment: datetime) -> int:
    """The number of the last record older than that moment, found by halves: there may be millions."""
    low, high = 0, await head(database)
    while low < high:
        middle = (low + high + 1) // 2
        found = await database.fetch("SELECT id, body FROM ledger WHERE id <= ? ORDER BY id DESC LIMIT 1", middle)
        if not found or datetime.fromisoformat(json.loads(found[0][1])["at"]) < moment:
            low = middle
        else:
            high = int(found[0][0]) - 1
    return low


async def overdue(database: Database, at: datetime, *, by: timedelta) -> bool:
    """Whether a notice that could be sent has waited that long: nobody delivers. One that waits behind another does not count."""
    first = "SELECT MIN(position) FROM outbox WHERE final = 0 GROUP BY channel, thread"
    before = (at - by).isoformat()
    rows = await database.fetch(f"SELECT 1 FROM outbox WHERE position IN ({first}) AND due_at < ? LIMIT 1", before)
    return bool(rows)


async def newest_sample(database: Database) -> datetime | None:
    """When a host's load was last read, which the worker does all the time; None where none ever was."""
    rows = await database.fetch("SELECT MAX(read_at) FROM guard_hosts")
    return datetime.fromisoformat(rows[0][0]) if rows and rows[0][0] else None


async def running(database: Database, *, limit: int) -> Sequence[Deployment]:
    """What serves and what is under way, by service and environment."""
    rows = await database.fetch(
        "SELECT body FROM deployments"
        " WHERE serving = 1 OR state IN ('queued', 'releasing', 'verifying', 'watching', 'undoing')"
        " ORDER BY service, environment, id LIMIT ?",
        limit,
    )
    return [Deployment.model_validate_json(row[0]) for row in rows]
