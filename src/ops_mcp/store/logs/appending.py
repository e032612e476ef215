"""What a collector stores at once: records, how far their streams are read, and what was counted; all of it or nothing."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.errors import Conflict
from ops_mcp.logs.records import LogRecord
from ops_mcp.store.logs import chunks
from ops_mcp.store.logs.chunks import Chunk, Stream
from ops_mcp.store.logs.mining import Miners
from ops_mcp.store.logs.schema import microseconds

FULL_BYTES, SMALL_BYTES = 256 * 1024, 16 * 1024
MOST_RECORDS = 8192
OPEN, SMALL, FULL = 0, 1, 2
"""An open chunk grows with every batch; small ones become a full one once they come to its size."""

WATCH_GAP = timedelta(seconds=30)
"""A collector that says nothing for longer did not watch meanwhile."""


class Position(NamedTuple):
    """How far a deployment's lines are read. `open` is the collector's own: lines of a text that may go on.

    `revision` counts what was stored for it; 0 is a deployment that nothing was stored for.
    """

    position: str = ""
    open: str = ""
    ended: bool = False
    revision: int = 0
    read_at: datetime | None = None


class Read(NamedTuple):
    """What was read of one deployment: the position that it goes on from, the one after it, and the records in between."""

    environment: str
    service: str
    deployment: str
    was: Position
    now: Position
    records: Sequence[LogRecord] = ()


class Batch(NamedTuple):
    """What is stored in one transaction. `at`: up to when the services of these deployments were watched."""

    at: datetime
    reads: Sequence[Read]


def append(connection: sqlite3.Connection, miners: Miners, batch: Batch) -> list[Position]:
    """Within a transaction. Raises `Conflict` where somebody else has read on meanwhile. The positions as stored."""
    stored = [_advance(connection, read, batch.at) for read in batch.reads]
    for read in batch.reads:
        number = miners.service(connection, read.environment, read.service)
        _watch(connection, number, batch.at)
        for origin, records in _by_origin(read.records):
            stream = _stream(connection, Stream(0, read.environment, read.service, read.deployment, origin))
            _add(connection, stream, records)
        miners.count(connection, number, read.records)
    miners.remember(connection)
    return stored


def _advance(connection: sqlite3.Connection, read: Read, at: datetime) -> Position:
    now = read.now._replace(revision=read.was.revision + 1, read_at=at)
    key = (read.environment, read.service, read.deployment)
    values = (now.revision, now.position, now.open, now.ended, microseconds(at))
    if read.was.revision:
        changed = connection.execute(
            "UPDATE positions SET revision = ?, position = ?, open = ?, ended = ?, read_us = ?"
            " WHERE environment = ? AND service = ? AND deployment = ? AND revision = ?",
            (*values, *key, read.was.revision),
        ).rowcount
    else:
        changed = connection.execute("INSERT OR IGNORE INTO positions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*key, *values)).rowcount
    if not changed:
        raise Conflict(
            "Another collector has read on in these logs.", hint="Only one worker may collect; go on from its position."
        )
    return now


def _watch(connection: sqlite3.Connection, service: int, at: datetime) -> None:
    """Prolong the stretch of time in which the service was watched, or begin another."""
    now = microseconds(at)
    gap = WATCH_GAP // timedelta(microseconds=1)
    prolonged = connection.execute(
        "UPDATE watches SET until_us = max(until_us, ?) WHERE service = ? AND since_us = "
        "(SELECT max(since_us) FROM watches WHERE service = ?) AND until_us >= ? AND since_us <= ?",
        (now, service, service, now - gap, now),
    ).rowcount
    if not prolonged:
        connection.execute("INSERT OR IGNORE INTO watches VALUES (?, ?, ?)", (service, now, now))


def _by_origin(records: Sequence[LogRecord]) -> Sequence[tuple[str, Sequence[LogRecord]]]:
    found: dict[str, list[LogRecord]] = {}
    for record in records:
        found.setdefault(record.origin, []).append(record)
    return list(found.items())


def _stream(connection: sqlite3.Connection, stream: Stream) -> Stream:
    key = stream[1:]
    asked = "SELECT id FROM streams WHERE environment = ? AND service = ? AND deployment = ? AND origin = ?"
    if (row := connection.execute(asked, key).fetchone()) is None:
        connection.execute("INSERT INTO streams (environment, service, deployment, origin) VALUES (?, ?, ?, ?)", key)
        row = connection.execute(asked, key).fetchone()
    return stream._replace(id=row[0])


def _add(connection: sqlite3.Connection, stream: Stream, records: Sequence[LogRecord]) -> None:
    """Numbers count a stream's records from 0 and stay, whatever chunk a record is in."""
    (numbered,) = connection.execute("SELECT numbered FROM streams WHERE id = ?", (stream.id,)).fetchone()
    connection.execute("UPDATE streams SET numbered = ? WHERE id = ?", (numbered + len(records), stream.id))
    fresh = chunks.chunk_of(records)
    open_row = connection.execute(f"{_COLUMNS} WHERE stream = ? AND level = {OPEN}", (stream.id,)).fetchone()
    if open_row is not None:
        connection.execute("DELETE FROM chunks WHERE id = ?", (open_row[0],))
        numbered = open_row[1]
        fresh = chunks.joined([_of_row(open_row), fresh])
    for piece in _pieces(fresh):
        level = FULL if len(piece.body) >= FULL_BYTES // 2 else SMALL if len(piece.body) >= SMALL_BYTES else OPEN
        _insert(connection, stream.id, numbered, piece, level)
        numbered += piece.records
    _merge(connection, stream.id)


def _pieces(chunk: Chunk) -> Sequence[Chunk]:
    """Cut to the size of full chunks, so that a search reads little that it does not want."""
    found: list[Chunk] = []
    begin = 0
    for number in range(1, chunk.records + 1):
        end = chunk.starts[number] if number < chunk.records else len(chunk.body) + 1
        if number == chunk.records or end - chunk.starts[begin] >= FULL_BYTES or number - begin >= MOST_RECORDS:
            found.append(chunk.part(begin, number))
            begin = number
    return found


def _merge(connection: sqlite3.Connection, stream: int) -> None:
    """Make one full chunk of the small ones, once there are enough of them: each record is written anew twice at most."""
    small = connection.execute(
        f"SELECT id, bytes, records FROM chunks WHERE stream = ? AND level = {SMALL} ORDER BY first_number", (stream,)
    ).fetchall()
    if sum(size for _, size, _ in small) < FULL_BYTES and sum(records for *_, records in small) < MOST_RECORDS:
        return
    rows = [connection.execute(f"{_COLUMNS} WHERE id = ?", (id,)).fetchone() for id, *_ in small]
    connection.executemany("DELETE FROM chunks WHERE id = ?", [(id,) for id, *_ in small])
    _insert(connection, stream, rows[0][1], chunks.joined([_of_row(row) for row in rows]), FULL)


def _insert(connection: sqlite3.Connection, stream: int, first_number: int, chunk: Chunk, level: int) -> None:
    marks = chunk.marks()
    connection.execute(
        "INSERT INTO chunks (stream, level, first_number, records, first_us, last_us, worst, ascii, packed, bytes, marks, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
        (
            *(stream, level, first_number, chunk.records, min(chunk.times), max(chunk.times), max(chunk.severities)),
            *(chunk.body.isascii(), len(marks) + len(chunk.body), marks, chunk.body),
        ),
    )


_COLUMNS = "SELECT id, first_number, records, marks, body FROM chunks"


def _of_row(row: tuple[int, int, int, bytes, bytes]) -> Chunk:
    _, _, records, marks, body = row
    return chunks.chunk_from(records, marks, body, packed=False)
