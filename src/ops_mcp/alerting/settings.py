"""How alert rules are evaluated and told, as the operator writes it. Every process reads it at its start: it imports little."""

from typing import Annotated, TypeAlias, cast

from pydantic import Field, field_validator

from ops_mcp.alerting.labels import ALERTNAME, SERVICE, is_label_name
from ops_mcp.alerting.matchers import Matcher
from ops_mcp.alerting.severity import AnySeverity, Severity
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.values import Value

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


class Source(Value):
    """Somebody outside who may report alerts, known by a token of its own.

    `severity` and `channels` are for alerts that no rule claims and that do not say. A firing alert that is not sent again within
    `ends_after_seconds` counts as ended; without it, only the source ends its alerts.
    """

    name: Name
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    severity: AnySeverity = Severity.medium
    channels: tuple[Name, ...] = Field(default=(), max_length=16)
    ends_after_seconds: float | None = Field(default=None, ge=60, le=30 * 86_400)


class SourceTerms(Source):
    """A source as the operator writes it: `token` names the secret that it authenticates with; requests beyond `burst` are taken
    at `per_minute`. The name is the table's own."""

    token: str = Field(min_length=1, max_length=63)
    per_minute: float = Field(default=60.0, gt=0, le=60_000)
    burst: int = Field(default=30, ge=1, le=10_000)


class Route(Value):
    """How alerts reach one channel. Times are in seconds; with `send_resolved` off, ends are noted and not told."""

    group_by: tuple[str, ...] = Field(default=(ALERTNAME, SERVICE), max_length=16)
    group_wait_seconds: float = Field(default=30, ge=0, le=3_600)
    group_interval_seconds: float = Field(default=300, ge=1, le=86_400)
    repeat_interval_seconds: float = Field(default=4 * 3_600, ge=60, le=30 * 86_400)
    send_resolved: bool = True

    @field_validator("group_by")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_label_name, names)):
            raise ValueError("must be label names")
        return names


class Routes(Value):
    """The route of each channel that has one of its own, and that of all others."""

    default: Route = Route()
    channels: dict[str, Route] = {}

    def of(self, channel: str) -> Route:
        return self.channels.get(channel, self.default)


class Inhibition(Value):
    """While an alert that `source` matches fires, nobody is told of those that `target` matches and whose `equal` labels agree.

    The environment always has to agree. A missing label is an empty one. An alert that both sides match is inhibited by none that
    both sides match, so that no two of them silence each other.
    """

    source: tuple[Matcher, ...] = Field(min_length=1, max_length=20)
    target: tuple[Matcher, ...] = Field(min_length=1, max_length=20)
    equal: tuple[str, ...] = Field(default=(), max_length=20)


class AlertTerms(Value):
    """Seconds between evaluations, and who outside may report alerts: each source's name, and the secret its token is in.

    `routes` say how alerts reach each channel, `inhibitions` which alerts explain others; what ended is kept for `keep_days`.
    `operators` are the channels that are told of ops-mcp itself: refusals, budgets, scores, load, services left to a person.
    """

    every_seconds: float = Field(default=15.0, ge=1, le=3600)
    sources: dict[Name, SourceTerms] = {}
    routes: Routes = Routes()
    inhibitions: tuple[Inhibition, ...] = ()
    keep_days: int = Field(default=90, ge=1, le=3650)
    operators: tuple[Name, ...] = Field(default=(), max_length=16)

    @field_validator("sources", mode="before")
    @classmethod
    def _are_named(cls, sources: object) -> object:
        if not isinstance(sources, dict):
            return sources
        tables = cast("dict[object, object]", sources)
        return {name: _named(name, table) for name, table in tables.items()}


def _named(name: object, table: object) -> object:
    return {"name": name, **cast("dict[str, object]", table)} if isinstance(table, dict) else table
