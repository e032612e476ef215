"""A run of records of one stream as SQLite keeps it: marks (where each begins, when it was written, how bad it is) and a body.

The body is the records' own lines, cleaned, redacted and set apart by NUL. Message and fields are parsed out of them again when a
record is shown, so they cost nothing to keep. Where a line writes its words in escapes (`caf\\u00e9`), the words follow it.
"""

import sys
import zlib
from array import array
from collections.abc import Sequence
from datetime import UTC
from typing import NamedTuple

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.records import LogRecord, Source, parse
from ops_mcp.store.logs.schema import microseconds, moment

SEVERITIES = tuple(Severity)
RANKS = {severity: rank for rank, severity in enumerate(SEVERITIES)}
BETWEEN, WORDS = b"\0", "\x1f"
_PACK_LEVEL = 6


class Stream(NamedTuple):
    """Whose records they are, by the store's own number too. `origin`: what wrote them."""

    id: int
    environment: str
    service: str
    deployment: str
    origin: str

    @property
    def source(self) -> Source:
        return Source(self.service, self.environment, self.deployment, self.origin)


class Chunk(NamedTuple):
    """Records in the order in which they came. `starts` are offsets in the body, `severities` one rank a byte."""

    starts: "array[int]"
    times: "array[int]"
    severities: bytes
    body: bytes

    @property
    def records(self) -> int:
        return len(self.starts)

    def line(self, number: int) -> bytes:
        """The record's line as it was kept, with the words behind it if there are any."""
        end = self.starts[number + 1] - 1 if number + 1 < len(self.starts) else len(self.body)
        return self.body[self.starts[number] : end]

    def text(self, number: int) -> str:
        return self.line(number).decode(errors="replace")

    def part(self, begin: int, end: int) -> "Chunk":
        """The records from one number to before another, which are at least one."""
        if not begin and end == len(self.starts):
            return self
        at = self.starts[begin]
        stop = self.starts[end] - 1 if end < len(self.starts) else len(self.body)
        starts = array("I", [start - at for start in self.starts[begin:end]])
        return Chunk(starts, self.times[begin:end], self.severities[begin:end], self.body[at:stop])

    def marks(self) -> bytes:
        return _little(self.starts).tobytes() + _little(self.times).tobytes() + self.severities


def chunk_of(records: Sequence[LogRecord]) -> Chunk:
    lines = [_line(record) for record in records]
    starts, at = array("I"), 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    times = array("q", [microseconds(record.time) for record in records])
    return Chunk(starts, times, bytes([RANKS[record.severity] for record in records]), BETWEEN.join(lines))


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Neighbours as one."""
    starts, times, at = array("I"), array("q"), 0
    for chunk in chunks:
        starts.extend(start + at for start in chunk.starts)
        times.extend(chunk.times)
        at += len(chunk.body) + 1
    return Chunk(starts, times, b"".join(c.severities for c in chunks), BETWEEN.join(c.body for c in chunks))


def chunk_from(records: int, marks: bytes, body: bytes, *, packed: bool) -> Chunk:
    """Out of its columns."""
    if packed:
        marks, body = zlib.decompress(marks), zlib.decompress(body)
    starts, times = array("I"), array("q")
    starts.frombytes(marks[: 4 * records])
    times.frombytes(marks[4 * records : 12 * records])
    return Chunk(_little(starts), _little(times), marks[12 * records :], body)


def pack(column: bytes) -> bytes:
    return zlib.compress(column, _PACK_LEVEL)


def record_of(text: str, time_us: int, rank: int, stream: Stream) -> LogRecord:
    """The record as it was when it was kept, but parsed by what is known of formats today."""
    time, severity = moment(time_us), SEVERITIES[rank]
    parsed = parse(text.partition(WORDS)[0], stream.source, arrived=time)
    return parsed._replace(time=time.astimezone(UTC), severity=severity)


def _line(record: LogRecord) -> bytes:
    raw = record.raw
    if "\\" in raw:
        words = (record.message, *(value for value in record.fields.values() if isinstance(value, str)))
        raw = WORDS.join((raw, *(word for word in words if word not in raw)))
    return raw.encode(errors="replace")


def _little(numbers: "array[int]") -> "array[int]":
    """Kept in one order of bytes, so that the file may move to another machine."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
