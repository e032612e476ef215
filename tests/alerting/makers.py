"""Values that several tests of alerts begin with."""

import re
from datetime import UTC, datetime, timedelta

from ops_mcp.alerting.alerts import Alert, service_in
from ops_mcp.alerting.labels import fingerprint, labels_of
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.places import EnvironmentName

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def after(**by: float) -> datetime:
    return NOON + timedelta(**by)


def matches(pattern: str, value: str) -> bool:
    """Stands for the patterns of the room next door. Only for patterns that these tests wrote."""
    return re.fullmatch(pattern, value) is not None


def any_expression(expression: str) -> None:
    """A language in which everything is a query."""


def a_rule(**fields: object) -> Rule:
    return Rule.model_validate({"name": "HighErrors", "environment": "production", "expression": "errors > 5", **fields})


def an_alert(
    name: str = "HighErrors",
    *,
    environment: str = "production",
    service: str = "web",
    starts_at: datetime = NOON,
    ends_at: datetime | None = None,
    channels: tuple[str, ...] = ("pager",),
    source: str = "",
    **labels: str,
) -> Alert:
    found = labels_of({"alertname": name, "environment": environment, "service": service, **labels})
    return Alert(
        fingerprint=fingerprint(found),
        name=name,
        environment=EnvironmentName(environment),
        service=service_in(found),
        severity=Severity.high,
        labels=found,
        began_at=starts_at,
        starts_at=starts_at,
        ends_at=ends_at,
        channels=channels,
        source=source,
    )
