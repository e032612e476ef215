"""The ledger for reading: bounded search, and the export that the auditor's program reads. Changes nothing, checks nothing."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from ops_mcp.errors import Conflict, InvalidArguments
from ops_mcp.ports import Page, TrailEntry, TrailQuery
from ops_mcp.store.chain import GENESIS
from ops_mcp.store.database import Database, SqlValue
from ops_mcp.values import JsonObject, canonical, digest

MOST_ENTRIES = 500

_WINDOW = 20_000
_WINDOWS = 10
_BATCH = 1_000


class StoredTrail:
    """`ports.Trail` over the database. A caller in the query is a filter that no other field widens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, query: TrailQuery) -> Page[TrailEntry]:
        """Newest first. A page can be short, even empty, and still have a cursor: one search looks at 200,000 records at most.

        `since` and `until` are inclusive to the second. Raises `InvalidArguments` for a cursor of another query.
        """
        limit = max(1, min(query.limit, MOST_ENTRIES))
        below = _position(query) if query.cursor else await self._newest() + 1
        oldest = await self._oldest()
        found: list[TrailEntry] = []
        for _ in range(_WINDOWS):
            if below <= oldest:
                return Page(tuple(found))
            low = max(below - _WINDOW, oldest)
            found += await self._window(query, low, below, limit + 1 - len(found))
            if len(found) > limit:
                return Page(tuple(found[:limit]), _cursor(query, found[limit - 1].number))
            below = low
        return Page(tuple(found), _cursor(query, below) if below > oldest else None)

    async def _window(self, query: TrailQuery, low: int, below: int, limit: int) -> list[TrailEntry]:
        """Matches with numbers in `[low, below)`."""
        conditions, params = _conditions(query)
        where = " AND ".join(["id >= ?", "id < ?", *conditions])
        rows = await self._database.fetch(
            f"SELECT id, hash, body FROM ledger WHERE {where} ORDER BY id DESC LIMIT ?",  # our own conditions
            low,
            below,
            *params,
            limit,
        )
        return [TrailEntry(number=number, hash=hash, body=cast(JsonObject, json.loads(body))) for number, hash, body in rows]

    async def _newest(self) -> int:
        return int((await self._database.fetch("SELECT max(id) FROM ledger"))[0][0] or 0)

    async def _oldest(self) -> int:
        return int((await self._database.fetch("SELECT min(id) FROM ledger"))[0][0] or 1)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records to export: `previous` is the hash before `first`; `last` is a signed head."""

    ledger: str
    first: int
    previous: str
    last: int
    stubs: tuple[JsonObject, ...] = ()


async def whole_ledger(database: Database) -> Run:
    """Everything that is present now, with the stubs of what was removed."""
    stubs = tuple(
        cast(JsonObject, json.loads(r[0])) for r in await database.fetch("SELECT body FROM ledger_stubs ORDER BY first_id")
    )
    first = cast(int, stubs[-1]["last_id"]) + 1 if stubs else 1
    previous = str(stubs[-1]["last_hash"]) if stubs else GENESIS
    last = (await database.fetch("SELECT max(id) FROM ledger_heads"))[0][0] or first - 1
    return Run(await ledger_id(database), first, previous, last, stubs)


async def ledger_id(database: Database) -> str:
    """The ledger's own id, which every signed head names. Empty before the first start has made it."""
    rows = await database.fetch("SELECT value FROM facts WHERE name = 'ledger_id'")
    return str(rows[0][0]) if rows else ""


async def export(database: Database, run: Run) -> AsyncGenerator[bytes]:
    """The lines of an export, ready to write: a header, then each record, each head after the record that it signs.

    A record's body is written byte for byte as it was hashed, so every line is JSON and can still be verified. Raises
    `Conflict` when a record is missing, as when retention removes records meanwhile.
    """
    header: JsonObject = {
        "first": run.first,
        "format": 1,
        "ledger": run.ledger,
        "previous": run.previous,
        "stubs": list(run.stubs),
    }
    yield canonical(header) + b"\n"
    expected = run.first
    for low in range(run.first, run.last + 1, _BATCH):
        high = min(low + _BATCH - 1, run.last)
        rows = await database.fetch(
            "SELECT l.id, l.hash, l.body, h.hash, h.key, h.signature FROM ledger l LEFT JOIN ledger_heads h ON h.id = l.id"
            " WHERE l.id BETWEEN ? AND ? ORDER BY l.id",
            low,
            high,
        )
        for number, hash, body, head_hash, key, signature in rows:
            if number != expected:
                break
            expected += 1
            yield b'{"id":%d,"hash":"%s","body":%s}\n' % (number, hash.encode(), body.encode())
            if signature is not None:
                head = (number, head_hash.encode(), key.encode(), signature.encode())
                yield b'{"head":%d,"hash":"%s","key":"%s","signature":"%s"}\n' % head
        if expected <= high:
            raise Conflict(
                f"Record {expected} is missing.", hint="Run `ops-mcp audit verify`; if retention is running, try again."
            )


def _conditions(query: TrailQuery) -> tuple[list[str], list[SqlValue]]:
    wanted: dict[str, SqlValue] = {
        "caller = ?": query.caller,
        "kind = ?": query.kind,
        "deployment = ?": query.deployment,
        "json_extract(body, '$.tool') = ?": query.tool,
        "json_extract(body, '$.environment') = ?": query.environment,
        "at >= ?": _text(query.since),
        "at <= ?": f"{_text(query.until)}Z" if query.until else None,
    }
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return list(given), list(given.values())


def _text(moment: datetime | None) -> str | None:
    """A moment as the ledger's text begins; cut to the second, because stored times have a fraction or none. Naive is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _cursor(query: TrailQuery, below: int) -> str:
    return base64.urlsafe_b64encode(f"{below}.{_identity(query)}".encode()).decode()


def _position(query: TrailQuery) -> int:
    try:
        below, _, identity = base64.urlsafe_b64decode((query.cursor or "").encode()).decode().partition(".")
        if identity == _identity(query):
            return min(int(below), 2**62)
    except (ValueError, binascii.Error):
        pass
    raise InvalidArguments(
        "cursor: it does not belong to this query.",
        hint="Repeat the query with the same filters, or start again without a cursor.",
    )


def _identity(query: TrailQuery) -> str:
    """What a cursor is bound to: every filter, but neither the limit nor the cursor itself."""
    filters = {k: v for k, v in query.json_value().items() if k not in {"cursor", "limit"}}
    return digest(filters)[7:23]
