"""An alert as it is told, stored and acted on, whoever noticed it: one of our rules, or somebody outside."""

import re
from datetime import datetime

from ops_mcp.alerting.labels import SERVICE, Labels, fingerprint, value_of
from ops_mcp.alerting.lifecycle import Active, Change, Transition
from ops_mcp.alerting.numbers import go_float
from ops_mcp.alerting.plain import plain
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.alerting.templates import expanded, parse_template
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.values import Value


class Alert(Value):
    """`fingerprint` stands for the label set as it came; `labels` and `annotations` are cleaned for showing.

    `value` is the number as text, so that NaN and infinities have a place. `began_at` is when the condition was first seen true,
    `starts_at` when it fired, `ends_at` when it ended or will be taken as ended. `service` is None where the label names none of
    the names that services have. `source` is empty for our own rules.
    """

    fingerprint: str
    name: str
    environment: EnvironmentName
    service: str | None = None
    severity: Severity
    labels: Labels
    annotations: Labels = ()
    value: str = ""
    began_at: datetime
    starts_at: datetime
    ends_at: datetime | None = None
    source: str = ""
    channels: tuple[str, ...] = ()

    def is_firing(self, at: datetime) -> bool:
        return self.ends_at is None or self.ends_at > at


def alert_of(rule: Rule, transition: Transition) -> Alert | None:
    """What a transition of a rule's alert has to tell; None for what nobody is told: pending, kept, dropped."""
    change, active = transition
    if change not in (Change.fired, Change.resolved, Change.withdrawn) or active.fired_at is None:
        return None
    return alert_as(rule, active, starts_at=active.fired_at, ends_at=active.resolved_at)


def alert_as(rule: Rule, active: Active, *, starts_at: datetime, ends_at: datetime | None = None) -> Alert:
    """A rule's alert as it is told and stored."""
    return Alert(
        fingerprint=fingerprint(active.labels),
        name=rule.name,
        environment=rule.environment,
        service=service_in(active.labels),
        severity=rule.severity,
        labels=shown(active.labels),
        annotations=annotations_of(rule, active.series, active.value),
        value=go_float(active.value),
        began_at=active.active_at,
        starts_at=starts_at,
        ends_at=ends_at,
        channels=rule.channels,
    )


def annotations_of(rule: Rule, series: Labels, value: float) -> Labels:
    """The rule's annotations for one result."""
    filled = ((name, expanded(parse_template(text), series, value)) for name, text in rule.annotations.items())
    return tuple(sorted(pair for pair in filled if pair[1]))


def shown(labels: Labels) -> Labels:
    """Labels with their values cleaned and cut."""
    return tuple((name, plain(value)) for name, value in labels)


def service_in(labels: Labels) -> str | None:
    """The service that the labels name, if it can be one of ours."""
    name = value_of(labels, SERVICE)
    return name if _SERVICE.fullmatch(name) else None


_SERVICE = re.compile(NAME_PATTERN.removeprefix("^").removesuffix("$"), re.ASCII)
