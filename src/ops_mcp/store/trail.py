"""ports.Trail over the database: a first, plain form until the ledger's own helper widens it."""

import json

from ops_mcp.ports import Page, TrailEntry, TrailQuery
from ops_mcp.store.database import Database


class StoredTrail:
    """The ledger, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, query: TrailQuery) -> Page[TrailEntry]:
        rows = await self._database.fetch(
            "SELECT id, hash, body FROM ledger WHERE caller = ? ORDER BY id DESC LIMIT ?", query.caller, query.limit
        )
        return Page(tuple(TrailEntry(number=row[0], hash=row[1], body=json.loads(row[2])) for row in rows))
