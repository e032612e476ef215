"""The inventory: what should run, how it is asked whether it does, and on what it depends. Deployed by us or not."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ops_mcp.domain.places import NAME_PATTERN, Binding, EnvironmentName, ServiceName
from ops_mcp.values import JsonObject, Value, digest

RELEASE = "release"
"""The probe of what we deployed: its binding's own, asked by the worker's supervision."""

MOST_PROBES = 20
MOST_DEPENDENCIES = 20

Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Host: TypeAlias = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[\x21-\x7e]+$")]


def _usable(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("the url names no host")
    if "@" in parts.netloc:
        raise ValueError("the url holds a password; keep it as a secret")
    return url


Url: TypeAlias = Annotated[str, Field(max_length=2000, pattern=r"^https?://[\x21-\x7e]+$"), AfterValidator(_usable)]
Reference: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""The name of a secret."""


class HealthState(StrEnum):
    """`unknown` is what nobody can tell: unconfigured, never probed, or not probed for too long."""

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"
    unknown = "unknown"


class Found(NamedTuple):
    """What one asking came to. `evidence` is short, in our own words, and never quotes what was answered."""

    state: HealthState
    evidence: str
    latency_ms: float | None = None
    http_status: int | None = None
    certificate_expires: datetime | None = None


class _Asking(Value):
    """What every probe has. `name` tells probes of one kind apart."""

    name: str = Field(default="", max_length=63, pattern=r"^([a-z0-9][a-z0-9-]*)?$")
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)


class _Tls(_Asking):
    """`ca_file` is trusted instead of the system's authorities. `certificate_days` before the end it counts as degraded."""

    ca_file: str | None = None
    certificate_days: int = Field(default=14, ge=0, le=397)


class JsonClaim(Value):
    """What must be at a JSON pointer (RFC 6901) of the answer: this value, so many entries, or at least so many."""

    pointer: str = Field(max_length=200, pattern=r"^(/.*)?$")
    equals: str | int | float | bool | None = None
    length: int | None = Field(default=None, ge=0)
    at_least: int | None = Field(default=None, ge=0)


class HttpAsked(_Tls):
    """Healthy when a GET of `url` answers with a `status`, within `latency_ms`, with `contains` in its body and each claim true.

    `alternative` is asked where `url` answers 404 or 410.
    """

    kind: Literal["http"] = "http"
    url: Url
    alternative: Url | None = None
    status: tuple[int, ...] = Field(default=(200,), min_length=1)
    contains: str | None = Field(default=None, min_length=1, max_length=500)
    claims: tuple[JsonClaim, ...] = Field(default=(), max_length=10)
    latency_ms: float | None = Field(default=None, gt=0)


class TcpAsked(_Asking):
    """Healthy when the port accepts a connection."""

    kind: Literal["tcp"] = "tcp"
    host: Host
    port: Port
    latency_ms: float | None = Field(default=None, gt=0)


class RedisAsked(_Asking):
    """Healthy when PING is answered within `latency_ms`. `secret` names the password."""

    kind: Literal["redis"] = "redis"
    host: Host = "127.0.0.1"
    port: Port = 6379
    username: str | None = Field(default=None, max_length=100, pattern=r"^[\x21-\x7e]+$")
    secret: Reference | None = None
    latency_ms: float = Field(default=10.0, gt=0)


class PostgresAsked(_Asking):
    """Healthy when the server takes up a session, as `pg_isready` sees it. It does not log in."""

    kind: Literal["postgres"] = "postgres"
    host: Host = "127.0.0.1"
    port: Port = 5432
    user: str = Field(default="postgres", min_length=1, max_length=63, pattern=r"^[\x20-\x7e]+$")
    database: str = Field(default="postgres", min_length=1, max_length=63, pattern=r"^[\x20-\x7e]+$")
    latency_ms: float = Field(default=1000.0, gt=0)


class CertificateAsked(_Tls):
    """Healthy when the certificate shown for `server_name` (else `host`) is trusted and good for long enough."""

    kind: Literal["certificate"] = "certificate"
    host: Host
    port: Port = 443
    server_name: Host | None = None


class CommandAsked(_Asking):
    """Healthy when `argv`, run as the worker's user without a shell and with nothing of its environment, exits with 0."""

    kind: Literal["command"] = "command"
    argv: tuple[str, ...] = Field(min_length=1, max_length=50)


class LoginAsked(_Tls):
    """Healthy when an account made for this can log in, and out again: nothing is created.

    `fields` and, under the name `password_field`, the password behind `secret` are POSTed to `url`. `token` is the JSON pointer
    of the bearer token in the answer, for `logout_url`; cookies go along.
    """

    kind: Literal["login"] = "login"
    url: Url
    fields: dict[str, str] = Field(default={}, max_length=20)
    password_field: str = Field(default="password", min_length=1, max_length=100)
    secret: Reference
    form: bool = False
    status: tuple[int, ...] = Field(default=(200,), min_length=1)
    token: str | None = Field(default=None, max_length=200, pattern=r"^/.*$")
    logout_url: Url | None = None
    latency_ms: float | None = Field(default=None, gt=0)


Asked: TypeAlias = Annotated[
    HttpAsked | TcpAsked | RedisAsked | PostgresAsked | CertificateAsked | CommandAsked | LoginAsked, Field(discriminator="kind")
]
"""A probe of the inventory."""


class Pace(Value):
    """How often is asked, and how many answers in a row change the state. Times are in seconds."""

    interval_seconds: float = Field(default=30.0, ge=1, le=3600)
    recheck_seconds: float = Field(default=10.0, ge=1, le=3600)
    failures: int = Field(default=2, ge=1, le=10)
    successes: int = Field(default=2, ge=1, le=10)


class Thing(Pace):
    """One thing of the inventory in one environment: what an operator wrote, or a service that is bound there.

    `depends_on` names others in the same environment.
    """

    service: ServiceName = Field(pattern=NAME_PATTERN)
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    expected: Literal["running", "stopped"] = "running"
    depends_on: tuple[str, ...] = Field(default=(), max_length=MOST_DEPENDENCIES)
    probes: tuple[Asked, ...] = Field(default=(), max_length=MOST_PROBES)
    bound: bool = False

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [name_of(probe) for probe in self.probes]
        if twice := sorted({name for name in names if names.count(name) > 1 or name == RELEASE}):
            raise ValueError(f"two probes are named {twice[0]!r}, or it is taken; give each its own name")
        return self

    @property
    def pace(self) -> Pace:
        return Pace(**{name: getattr(self, name) for name in Pace.model_fields})


def name_of(probe: Asked) -> str:
    return probe.name or probe.kind


def digest_of(probe: Asked) -> str:
    """Names what exactly is asked: what was found by another question says nothing."""
    asked: JsonObject = probe.json_value()
    return digest(asked)


def things(declared: Sequence[Thing], bindings: Sequence[Binding]) -> tuple[Thing, ...]:
    """Everything that should run: each binding, with what is declared under its name, and what else is declared."""
    written = {(thing.service, thing.environment): thing for thing in declared}
    bound: list[Thing] = []
    for binding in bindings:
        said = written.pop((binding.service, binding.environment), None)
        bound.append(
            said.evolve(bound=True) if said else Thing(service=binding.service, environment=binding.environment, bound=True)
        )
    return (*bound, *written.values())
