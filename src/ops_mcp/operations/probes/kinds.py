"""Every kind of probe by what it asks. A kind is added here, in `domain.inventory`, and in a file of its own."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, assert_never

from ops_mcp.domain.inventory import (
    Asked,
    CertificateAsked,
    CommandAsked,
    Found,
    HealthState,
    HttpAsked,
    LoginAsked,
    PostgresAsked,
    RedisAsked,
    TcpAsked,
)
from ops_mcp.errors import OpsError
from ops_mcp.operations.probes import certificate, command, http, login, postgres, redis, tcp
from ops_mcp.operations.probes.reaching import Means, Seen, looked

A = TypeVar("A", bound=Asked)
S = TypeVar("S", bound=Seen)


async def asked(probe: Asked, means: Means) -> Found:
    """Ask once, within the probe's own time. Never raises for what is found; what cannot be asked is unknown, with the reason."""
    try:
        return await _asked(probe, means)
    except OpsError as error:  # a secret that is not there, say
        return Found(HealthState.unknown, error.message)


async def _asked(probe: Asked, means: Means) -> Found:
    match probe:
        case HttpAsked():
            return await _timed(probe, means, http.HttpSeen(), http.ask, http.verdict)
        case TcpAsked():
            return await _timed(probe, means, tcp.TcpSeen(), tcp.ask, tcp.verdict)
        case RedisAsked():
            return await _timed(probe, means, redis.RedisSeen(), redis.ask, redis.verdict)
        case PostgresAsked():
            return await _timed(probe, means, postgres.PostgresSeen(), postgres.ask, postgres.verdict)
        case CertificateAsked():
            return await _timed(probe, means, certificate.CertificateSeen(), certificate.ask, certificate.verdict)
        case CommandAsked():
            return await _timed(probe, means, command.CommandSeen(), command.ask, command.verdict)
        case LoginAsked():
            return await _timed(probe, means, login.LoginSeen(), login.ask, login.verdict)
        case _:
            assert_never(probe)


async def _timed(
    probe: A, means: Means, seen: S, ask: Callable[[A, Means, S], Awaitable[None]], verdict: Callable[[A, S], Found]
) -> Found:
    await looked(lambda: ask(probe, means, seen), seen, probe.timeout_seconds)
    return verdict(probe, seen)
