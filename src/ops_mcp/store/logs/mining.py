"""Templates of what is stored, counted by minute as it comes; the miners' memory is stored with the lines that changed it."""

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.records import LogRecord
from ops_mcp.logs.shapes import TemplateId
from ops_mcp.logs.templates import Memory, Miner
from ops_mcp.store.logs.chunks import RANKS
from ops_mcp.store.logs.schema import microseconds

MINUTE = 60_000_000
_LARGE_MEMORY, _LARGE_EVERY = 256 * 1024, 30
"""A large memory takes long to write: it is, when this many batches have changed it. Ids that it misses are found again."""


@dataclass(slots=True)
class _Mined:
    miner: Miner
    stored_state: int = 0
    size: int = 0
    waited: int = 0


class Miners:
    """The miners of all services, as a collector goes on with them. After a transaction that failed, a new one must be made."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._mined: dict[int, _Mined] = {}

    def service(self, connection: sqlite3.Connection, environment: str, service: str) -> int:
        """The store's number for a service."""
        key = (environment, service)
        if key not in self._numbers:
            asked = "SELECT id FROM services WHERE environment = ? AND service = ?"
            if (row := connection.execute(asked, key).fetchone()) is None:
                connection.execute("INSERT INTO services (environment, service, memory, revision) VALUES (?, ?, x'', 0)", key)
                row = connection.execute(asked, key).fetchone()
            self._numbers[key] = row[0]
        return self._numbers[key]

    def count(self, connection: sqlite3.Connection, service: int, records: Sequence[LogRecord]) -> None:
        """Give each record its template and count it."""
        if not records:
            return
        add = self._of(connection, service).miner.add
        found: dict[tuple[int, TemplateId, Severity], tuple[int, int, int]] = {}
        for record in records:
            at = microseconds(record.time)
            key = (at // MINUTE, add(record.message, record.time), record.severity)
            count, first, last = found.get(key, (0, at, at))
            found[key] = (count + 1, min(first, at), max(last, at))
        connection.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (service, minute, template, severity) DO UPDATE SET"
            " records = records + excluded.records, first_us = min(first_us, excluded.first_us),"
            " last_us = max(last_us, excluded.last_us)",
            [(service, minute, id, RANKS[severity], *counted) for (minute, id, severity), counted in found.items()],
        )

    def remember(self, connection: sqlite3.Connection) -> None:
        """Store the memory of each miner whose templates are not those that were stored."""
        for service, mined in self._mined.items():
            if mined.miner.changes == mined.stored_state:
                continue
            mined.waited += 1
            if mined.size > _LARGE_MEMORY and mined.waited < _LARGE_EVERY:
                continue
            memory = mined.miner.memory().model_dump_json().encode(errors="replace")
            packed = zlib.compress(memory, 1)
            connection.execute("UPDATE services SET memory = ?, revision = revision + 1 WHERE id = ?", (packed, service))
            mined.stored_state, mined.size, mined.waited = mined.miner.changes, len(memory), 0

    def _of(self, connection: sqlite3.Connection, service: int) -> _Mined:
        if service not in self._mined:
            (packed,) = connection.execute("SELECT memory FROM services WHERE id = ?", (service,)).fetchone()
            self._mined[service] = _Mined(Miner(memory_of(packed)))
        return self._mined[service]


def memory_of(packed: bytes) -> Memory | None:
    """What a miner remembered; None at the very beginning, or where it was written by one who remembers otherwise."""
    if not packed:
        return None
    try:
        return Memory.model_validate_json(zlib.decompress(packed))
    except (ValueError, zlib.error):
        return None
