"""Whether a Redis answers PING, by its own protocol over a plain connection. Nothing but the first line of an answer is read."""

from dataclasses import dataclass
from enum import StrEnum

import anyio
from anyio.abc import ByteStream

from ops_mcp.domain.inventory import Found, HealthState, RedisAsked
from ops_mcp.operations.probes.reaching import Means, Seen, judged_by_latency, reach, unanswered

PINGS = 3
"""The fastest counts: a delay of our own is none of the server's."""

_LONGEST_LINE = 512


class Reply(StrEnum):
    """What a line of an answer comes to."""

    pong = "pong"
    ok = "ok"
    wants_login = "it runs and wants a login: NOAUTH"
    refuses_login = "it runs and refuses the login"
    loading = "it is starting: its data is being loaded"
    protected = "it refuses connections from other hosts: protected mode"
    error = "it answers with an error"
    foreign = "what answers is no Redis"


@dataclass(slots=True)
class RedisSeen(Seen):
    """`login` and `ping` are the answers to AUTH and PING."""

    login: Reply | None = None
    ping: Reply | None = None


async def ask(probe: RedisAsked, means: Means, seen: RedisSeen) -> None:
    password = means.secret(probe.secret).get_secret_value() if probe.secret else None
    async with await reach(probe.host, probe.port, seen) as stream:
        if password is not None:
            names = [probe.username] if probe.username else []
            seen.login = await _answer(stream, ["AUTH", *names, password], seen)
            if seen.login is not Reply.ok:
                return
        for _ in range(PINGS):
            began = anyio.current_time()
            reply = await _answer(stream, ["PING"], seen)
            took = anyio.current_time() - began
            seen.ping = reply
            seen.seconds = min(seen.seconds or took, took)
            if reply is not Reply.pong:
                return


def verdict(probe: RedisAsked, seen: RedisSeen) -> Found:
    answer = seen.ping or seen.login
    if seen.ping is not Reply.pong or seen.timed_out:
        missing = unanswered(seen, probe.timeout_seconds)
        if missing is not None:
            return missing
    match answer:
        case Reply.pong:
            return judged_by_latency(seen, probe.latency_ms, "PONG")
        case Reply.wants_login | Reply.refuses_login:
            return Found(HealthState.degraded, answer.value)
        case Reply.ok | None:
            return Found(HealthState.unhealthy, Reply.foreign.value)
        case _:
            return Found(HealthState.unhealthy, answer.value)


def read(line: bytes) -> Reply:
    """What the first line of an answer says."""
    kind, text = line[:1], line[1:]
    if kind == b"+":
        return {b"PONG": Reply.pong, b"OK": Reply.ok}.get(text, Reply.foreign)
    if kind != b"-":
        return Reply.foreign
    return next((reply for word, reply in _ERRORS.items() if text.startswith(word)), Reply.error)


_ERRORS = {
    b"NOAUTH": Reply.wants_login,
    b"WRONGPASS": Reply.refuses_login,
    b"NOPERM": Reply.refuses_login,
    b"ERR AUTH": Reply.refuses_login,
    b"ERR Client sent AUTH": Reply.refuses_login,
    b"LOADING": Reply.loading,
    b"DENIED": Reply.protected,
}


async def _answer(stream: ByteStream, words: list[str], seen: RedisSeen) -> Reply:
    """Say it as an array of bulk strings, which can hold anything, and read one line."""
    encoded = [word.encode() for word in words]
    await stream.send(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    line = b""
    while b"\r\n" not in line and len(line) <= _LONGEST_LINE:
        line += await stream.receive(_LONGEST_LINE)
        seen.heard = True
    return read(line.split(b"\r\n", 1)[0]) if b"\r\n" in line else Reply.foreign
