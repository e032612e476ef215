"""Whether a PostgreSQL takes up sessions: its first answer to a start-up packet, which comes before any login."""

import struct
from dataclasses import dataclass
from enum import StrEnum

from anyio.abc import ByteStream

from ops_mcp.domain.inventory import Found, HealthState, PostgresAsked
from ops_mcp.operations.probes.reaching import Means, Seen, judged_by_latency, reach, unanswered

_VERSION_3 = 196608
_LONGEST_ERROR = 10_000
_SQLSTATE = b"C"


class Answer(StrEnum):
    """What the first message comes to."""

    accepts = "it accepts sessions"
    not_now = "it is starting, stopping or recovering, and takes up no sessions (57P03)"
    full = "it has no connection left (53300)"
    refuses = "it refuses sessions"
    foreign = "what answers is no PostgreSQL"


@dataclass(slots=True)
class PostgresSeen(Seen):
    answer: Answer | None = None


async def ask(probe: PostgresAsked, _means: Means, seen: PostgresSeen) -> None:
    async with await reach(probe.host, probe.port, seen) as stream:
        await stream.send(startup_packet(probe.user, probe.database))
        kind, body = await _message(stream, seen)
        if kind == b"v":  # it would rather speak an older minor version, and goes on
            kind, body = await _message(stream, seen)
        seen.answer = read(kind, body)
        if seen.answer is Answer.accepts:
            await stream.send(b"X\x00\x00\x00\x04")


def verdict(probe: PostgresAsked, seen: PostgresSeen) -> Found:
    match seen.answer:
        case None:
            return unanswered(seen, probe.timeout_seconds) or Found(HealthState.unhealthy, Answer.foreign.value)
        case Answer.accepts:
            return judged_by_latency(seen, probe.latency_ms, seen.answer.value)
        case _:
            return Found(HealthState.unhealthy, seen.answer.value)


def startup_packet(user: str, database: str) -> bytes:
    words = b"\x00".join(text.encode() for text in ("user", user, "database", database, "application_name", "ops-mcp"))
    body = struct.pack("!I", _VERSION_3) + words + b"\x00\x00"
    return struct.pack("!I", len(body) + 4) + body


def read(kind: bytes, body: bytes | None) -> Answer:
    """What the first message says. An error about the user or the database is the answer of a server that takes up sessions."""
    if kind == b"R" and body is not None:
        return Answer.accepts
    if kind != b"E" or body is None:
        return Answer.foreign
    fields = {field[:1]: field[1:] for field in body.split(b"\x00") if field}
    state = fields.get(_SQLSTATE, b"")
    if state[:2] in (b"28", b"3D", b"42"):
        return Answer.accepts
    if not state:
        return Answer.foreign
    return {b"57P03": Answer.not_now, b"53300": Answer.full}.get(state, Answer.refuses)


async def _message(stream: ByteStream, seen: PostgresSeen) -> tuple[bytes, bytes | None]:
    """Its kind, and its body unless that is longer than any such message is."""
    head = await _exactly(stream, 5, seen)
    length = int.from_bytes(head[1:], "big") - 4
    if not 0 <= length <= _LONGEST_ERROR:
        return head[:1], None
    return head[:1], await _exactly(stream, length, seen)


async def _exactly(stream: ByteStream, count: int, seen: PostgresSeen) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive(count - len(data))
        seen.heard = True
    return data
