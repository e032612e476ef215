"""What is done with records that have become old: packed, then deleted; and the oldest go when the store grows too large."""

import sqlite3
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.logs.settings import LogTerms
from ops_mcp.store.logs import chunks
from ops_mcp.store.logs.mining import MINUTE
from ops_mcp.store.logs.schema import microseconds, moment, transaction

_AT_ONCE = 32
"""Chunks that are packed, or deleted, in one transaction: a collector waits no longer than for these."""

_ROOM = 0.95
"""How full the store is left when it had grown too large, so that not every batch deletes something."""


_STREAMS_OF_NOTHING = (
    "DELETE FROM streams WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.stream = streams.id)"
    " AND NOT EXISTS (SELECT 1 FROM positions p WHERE p.environment = streams.environment AND p.service = streams.service"
    " AND p.deployment = streams.deployment)"
)
"""Those of deployments that nothing is kept of, and that are read no more."""


class Kept(NamedTuple):
    """What a round of keeping came to. `more` says that another one has work to do at once."""

    packed: int = 0
    deleted: int = 0
    deleted_until: datetime | None = None
    bytes: int = 0
    more: bool = False


def keep(connection: sqlite3.Connection, terms: LogTerms, now: datetime) -> Kept:
    """A bounded piece of the work."""
    expired = _delete_before(connection, microseconds(now - timedelta(days=terms.keep_days)))
    size = _size(connection)
    crowded = _delete_oldest(connection, size - int(terms.most_bytes * _ROOM)) if size > terms.most_bytes else []
    packed = _pack_before(connection, microseconds(now - timedelta(days=terms.compress_after_days)))
    gone = [*expired, *crowded]
    if gone or packed:
        # The file shrinks by what was freed; what an open reader holds on to is freed by a later round.
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` takes one step of it, and it has one for each page
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    size = _size(connection)
    more = len(expired) == _AT_ONCE or packed == _AT_ONCE or size > terms.most_bytes
    return Kept(packed, len(gone), moment(max(gone)) if gone else None, size, more and bool(gone or packed))


def _delete_before(connection: sqlite3.Connection, cutoff: int) -> list[int]:
    with transaction(connection):
        gone = _deleted(connection, "last_us < ?", cutoff)
        if len(gone) < _AT_ONCE:
            _uncount(connection, cutoff)
            connection.execute("DELETE FROM watches WHERE until_us < ?", (cutoff,))
            connection.execute("DELETE FROM positions WHERE ended = 1 AND read_us < ?", (cutoff,))
            connection.execute(_STREAMS_OF_NOTHING)
    return gone


def _uncount(connection: sqlite3.Connection, cutoff: int) -> None:
    """Forget the counts of minutes before. By service, as they are ordered."""
    connection.execute("DELETE FROM counts WHERE service IN (SELECT id FROM services) AND minute < ?", (cutoff // MINUTE,))


def _delete_oldest(connection: sqlite3.Connection, bytes: int) -> list[int]:
    """As many as come to that; never what still grows. What was counted of their time goes with them."""
    with transaction(connection):
        gone = _deleted(connection, "level > ?", 0, bytes=bytes)
        if gone:
            _uncount(connection, max(gone))
    return gone


def _deleted(connection: sqlite3.Connection, where: str, param: int, *, bytes: int | None = None) -> list[int]:
    """The last moment of each chunk that was deleted, of the oldest ones."""
    asked = f"SELECT id, last_us, bytes FROM chunks WHERE {where} ORDER BY last_us LIMIT {_AT_ONCE}"
    gone: list[int] = []
    for id, last, size in connection.execute(asked, (param,)).fetchall():
        connection.execute("DELETE FROM chunks WHERE id = ?", (id,))
        gone.append(last)
        if bytes is not None and (bytes := bytes - size) <= 0:
            break
    return gone


def _pack_before(connection: sqlite3.Connection, cutoff: int) -> int:
    rows = connection.execute(
        f"SELECT id, marks, body FROM chunks WHERE packed = 0 AND last_us < ? AND level > 0 ORDER BY last_us LIMIT {_AT_ONCE}",
        (cutoff,),
    ).fetchall()
    packed = [(chunks.pack(marks), chunks.pack(body), id) for id, marks, body in rows]
    with transaction(connection):
        connection.executemany(
            "UPDATE chunks SET packed = 1, level = 2, marks = ?, body = ?, bytes = ? WHERE id = ? AND packed = 0",
            [(marks, body, len(marks) + len(body), id) for marks, body, id in packed],
        )
    return len(packed)


def _size(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    (pages,), (free,), (each,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * each
