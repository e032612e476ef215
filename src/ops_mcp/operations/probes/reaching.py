"""Reaching what is probed: connections, what keeps them from being made, and what was seen before the time was over."""

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import SocketStream

from ops_mcp.domain.inventory import Found, HealthState
from ops_mcp.errors import NotConfigured
from ops_mcp.ports import Clock, ReadSecret


class Trouble(StrEnum):
    """What keeps an answer from coming, in the words that are told."""

    refused = "it refuses connections"
    nameless = "its name has no address"
    unreachable = "its host cannot be reached"
    closed = "it closed the connection without an answer"
    broken = "it broke off the connection"
    unsaid = "it does not speak the protocol"
    expired = "TLS: its certificate has expired"
    not_yet = "TLS: its certificate is not valid yet"
    misnamed = "TLS: its certificate is for another name"
    untrusted = "TLS: its certificate is issued by nobody who is trusted"
    no_tls = "TLS: the handshake fails"


class Means(NamedTuple):
    """What asking needs from whoever asks."""

    secret: ReadSecret
    clock: Clock


@dataclass(slots=True)
class Seen:
    """What one asking has seen so far: where the time ends it, this tells how far it came."""

    connected: bool = False
    heard: bool = False
    timed_out: bool = False
    trouble: Trouble | None = None
    seconds: float = 0.0

    @property
    def milliseconds(self) -> float:
        return round(self.seconds * 1000, 1)


async def looked(ask: Callable[[], Awaitable[None]], seen: Seen, seconds: float) -> None:
    """Ask within that time; what goes wrong at the other end is seen and not raised."""
    began = anyio.current_time()
    with anyio.move_on_after(seconds) as scope:
        try:
            await ask()
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            seen.trouble = trouble_of(error)
    seen.timed_out = scope.cancelled_caught
    if not seen.seconds:
        seen.seconds = anyio.current_time() - began


async def reach(host: str, port: int, seen: Seen) -> SocketStream:
    """A connection, to be used as a context. Raises `OSError`."""
    stream = await anyio.connect_tcp(host, port)
    seen.connected = True
    return stream


def unanswered(seen: Seen, timeout_seconds: float) -> Found | None:
    """The verdict where no whole answer came, the same for every kind."""
    if seen.trouble is not None:
        return Found(HealthState.unhealthy, seen.trouble.value)
    if not seen.timed_out:
        return None
    within = f"within {timeout_seconds:g} s"
    if not seen.connected:
        return Found(HealthState.unhealthy, f"no connection came about {within}")
    if seen.heard:
        return Found(HealthState.unhealthy, f"its answer had no end {within}")
    return Found(HealthState.unhealthy, f"it accepts connections and is silent: no answer {within}")


def judged_by_latency(seen: Seen, most_ms: float | None, said: str, found: Found | None = None) -> Found:
    """Healthy, or degraded where it took longer than it may."""
    took = seen.milliseconds
    base = found or Found(HealthState.healthy, said)
    if most_ms is None or took <= most_ms or base.state is not HealthState.healthy:
        return base._replace(latency_ms=took)
    return base._replace(
        state=HealthState.degraded, evidence=f"{said}, slow: {took:g} ms, more than {most_ms:g} ms", latency_ms=took
    )


def judged_by_certificate(found: Found, expires: datetime | None, now: datetime, days: int) -> Found:
    """The finding with the end of the certificate in it: degraded in its last days, unhealthy on the last of all."""
    if expires is None:
        return found
    found = found._replace(certificate_expires=expires)
    left = expires - now
    if left > timedelta(days=days) or found.state is HealthState.unhealthy:
        return found
    if left <= timedelta(0):
        return found._replace(state=HealthState.unhealthy, evidence=Trouble.expired.value)
    state = HealthState.unhealthy if left <= LAST_DAY else HealthState.degraded
    said = f"its certificate ends in {left / timedelta(days=1):.1f} days ({_threshold(left)})"
    worse = found.evidence if found.state is HealthState.degraded else ""
    return found._replace(state=state, evidence=f"{said}; {worse}" if worse else said)


def trouble_of(error: BaseException) -> Trouble:
    """Why there was no answer, from whatever was raised and what caused it."""
    for one in _causes(error):
        found = _told(one)
        if found is not None:
            return found
    return Trouble.unreachable if isinstance(error, OSError) else Trouble.broken


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """One that trusts the system's authorities, or only those of a file. Raises `NotConfigured` for one that cannot be used."""
    try:
        return _context(ca_file, Path(ca_file).stat().st_mtime_ns if ca_file else 0)
    except OSError as error:
        raise NotConfigured("The file named by ca_file holds no certificates that can be read.") from error


@lru_cache(maxsize=64)
def _context(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    """Loading the system's authorities takes tens of milliseconds, in which nothing else is asked."""
    return ssl.create_default_context(cafile=ca_file)


def ends_at(not_after: str) -> datetime:
    """The moment behind what OpenSSL prints of a certificate's end."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC)


LAST_DAY = timedelta(days=1)
_THRESHOLDS = ((LAST_DAY, "1 day or less"), (timedelta(days=7), "7 days or less"), (timedelta(days=14), "14 days or less"))
_BY_VERIFY_CODE = {9: Trouble.not_yet, 10: Trouble.expired, 62: Trouble.misnamed, 64: Trouble.misnamed}
_BY_ERRNO = {
    errno.ECONNREFUSED: Trouble.refused,
    errno.ECONNRESET: Trouble.broken,
    errno.EPIPE: Trouble.broken,
    errno.ENETUNREACH: Trouble.unreachable,
    errno.EHOSTUNREACH: Trouble.unreachable,
}


def _threshold(left: timedelta) -> str:
    return next((said for bound, said in _THRESHOLDS if left <= bound), "less than is wanted")


def _told(error: BaseException) -> Trouble | None:
    match error:
        case ssl.SSLCertVerificationError():
            return _BY_VERIFY_CODE.get(error.verify_code, Trouble.untrusted)
        case ssl.SSLError():
            return Trouble.no_tls
        case socket.gaierror():
            return Trouble.nameless
        case anyio.EndOfStream():
            return Trouble.closed
        case OSError() if error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno]
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and the members of groups, each once."""
    waiting, known = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in known:
            continue
        known.add(id(one))
        yield one
        together: tuple[BaseException, ...] = getattr(one, "exceptions", ())
        waiting += [e for e in (*together, one.__cause__, one.__context__) if e is not None]
