"""Alerts that others noticed: Alertmanager's webhook (version 4), and a plain JSON form. Everything in them comes from strangers.

What a body says of itself is believed only inside the bounds of its source: the environment is the source's, the fingerprint
holds the source's name (so that nobody outside can end or replace an alert of ours, or of another source), times are kept to the
past, and numbers, names and texts are bounded. An alert that breaks a bound is left out with a note; the others are taken.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, cast

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import from_json

from ops_mcp.alerting.alerts import Alert, service_in, shown
from ops_mcp.alerting.labels import ALERTNAME, ENVIRONMENT, SERVICE, SEVERITY, fingerprint, is_label_name, labels_of
from ops_mcp.alerting.numbers import go_float
from ops_mcp.alerting.plain import plain
from ops_mcp.alerting.rules import Rule, refused
from ops_mcp.alerting.settings import Source
from ops_mcp.alerting.severity import Severity, severity_of
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Value

MOST_BYTES = 1_048_576
MOST_ALERTS = 1_000
MOST_LABELS = 64
LONGEST_TEXT = 2_000
MOST_NOTES = 5

ENDED = frozenset({"ok", "resolved", "recovered", "healthy", "up", "normal", "inactive"})
OPEN = frozenset({"firing", "alerting", "alert", "active", "problem", "down", "unhealthy", "degraded", "failing", "failed"})
"""Words that the plain form's `status` may be, besides every word for a severity, which means open too."""


class Inbound(NamedTuple):
    """What a body held. `notes` say of the first few that were left out why."""

    alerts: tuple[Alert, ...]
    left_out: int
    notes: tuple[str, ...]


class Claimed(NamedTuple):
    """An alert and the rule that names its source, if any. Only such a rule's remediation may follow from it."""

    alert: Alert
    rule: Rule | None


def read_alerts(body: bytes, source: Source, at: datetime) -> Inbound:
    """The alerts of either form. Raises `InvalidArguments` for a body that is neither, naming the field."""
    if len(body) > MOST_BYTES:
        raise InvalidArguments(f"The body is larger than {MOST_BYTES:,} bytes.")
    try:
        found: object = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidArguments("The body is not JSON.", hint=_HINT) from error
    if not isinstance(found, dict):
        raise InvalidArguments("The body is not a JSON object.", hint=_HINT)
    if "alerts" in found:
        return _from_webhook(cast("dict[str, object]", found), source, at)
    return Inbound((_from_plain(cast("dict[str, object]", found), source, at),), 0, ())


def claimed(alert: Alert, rules: Iterable[Rule]) -> Claimed:
    """`alert` as the rule of its name, environment and source would have told it; unchanged where there is none."""
    for rule in rules:
        if (
            alert.source in rule.sources
            and rule.environment == alert.environment
            and rule.name == alert.name
            and rule.service in (None, alert.service)
        ):
            channels = rule.channels or alert.channels
            return Claimed(_as_bad(alert, rule.severity).evolve(channels=channels), rule)
    return Claimed(alert, None)


class _Foreign(Value):
    """What others write may have more fields tomorrow."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Posted(_Foreign):
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts: str = Field(default="", alias="startsAt")
    ends: str = Field(default="", alias="endsAt")


class _Webhook(_Foreign):
    version: Literal["4"]
    alerts: list[object]
    truncated: int = Field(default=0, ge=0, le=10**9, alias="truncatedAlerts")


class _Plain(Value):
    """The six fields, all needed, and no other."""

    service: str = Field(min_length=1, max_length=200)
    status: str = Field(min_length=1, max_length=40)
    metric: str = Field(min_length=1, max_length=200)
    threshold: float = Field(strict=True)
    current_value: float = Field(strict=True)
    timestamp: str = Field(max_length=40)


def _from_webhook(found: Mapping[str, object], source: Source, at: datetime) -> Inbound:
    try:
        webhook = _Webhook.model_validate(found)
    except ValidationError as error:
        raise refused(error, "The webhook", ("version", "alerts")) from error
    beyond = max(0, len(webhook.alerts) - MOST_ALERTS)
    notes = [f"{beyond:,} alerts beyond the first {MOST_ALERTS:,}"] if beyond else []
    if webhook.truncated:
        notes.append(f"{webhook.truncated:,} alerts that the sender itself left out")
    taken: dict[str, Alert] = {}
    left_out = beyond + webhook.truncated
    for number, row in enumerate(webhook.alerts[:MOST_ALERTS], start=1):
        try:
            alert = _posted(row, source, at)
        except InvalidArguments as error:
            left_out += 1
            notes.append(f"alert {number}: {error.message}")
            continue
        taken[alert.fingerprint] = alert
    return Inbound(tuple(taken.values()), left_out, tuple(notes[:MOST_NOTES]))


def _posted(row: object, source: Source, at: datetime) -> Alert:
    try:
        posted = _Posted.model_validate(row)
    except ValidationError as error:
        raise refused(error, "it", ("status", "labels", "annotations", "startsAt", "endsAt")) from error
    _refuse_beyond_bounds(posted.labels)
    starts_at = min(_moment(posted.starts) or at, at)
    ends_at = _ends(source, at)
    if posted.status == "resolved":
        ends_at = max(starts_at, min(_moment(posted.ends) or at, at))
    name = plain(posted.labels.get(ALERTNAME, ""), 100) or "Alert"
    annotations = {plain(key, 100): plain(text, LONGEST_TEXT) for key, text in list(posted.annotations.items())[:MOST_LABELS]}
    return _alert(posted.labels, name, source, starts_at, ends_at).evolve(annotations=labels_of(annotations))


def _from_plain(found: Mapping[str, object], source: Source, at: datetime) -> Alert:
    fields = tuple(_Plain.model_fields)
    try:
        row = _Plain.model_validate(found)
    except ValidationError as error:
        raise refused(error, "The alert", fields) from error
    status = row.status.strip().lower()
    severity = severity_of(status)
    if severity is None and status not in OPEN | ENDED:
        raise InvalidArguments(
            "The alert: status is not understood.",
            hint=f"Open: {', '.join(sorted(OPEN))}, or a severity. Ended: {', '.join(sorted(ENDED))}.",
        )
    moment = _moment(row.timestamp)
    if moment is None:
        raise InvalidArguments("The alert: timestamp is no moment with a time zone.", hint="Write it as 2026-11-20T12:00:00Z.")
    starts_at = min(moment, at)
    metric = plain(row.metric, 100) or "Alert"
    labels = {ALERTNAME: metric, SERVICE: row.service}
    alert = _alert(labels, metric, source, starts_at, starts_at if status in ENDED else _ends(source, at))
    summary = f"{metric} is {go_float(row.current_value)}, threshold {go_float(row.threshold)}"
    told = alert.evolve(value=go_float(row.current_value), annotations=(("summary", summary),))
    return _as_bad(told, severity or source.severity)


def _as_bad(alert: Alert, severity: Severity) -> Alert:
    """The alert at that severity, by its label too, which is what silences and inhibitions look at."""
    return alert.evolve(severity=severity, labels=labels_of({**dict(alert.labels), SEVERITY: severity.value}))


def _alert(labels: Mapping[str, str], name: str, source: Source, starts_at: datetime, ends_at: datetime | None) -> Alert:
    """An alert of `source`, with what the body says of environment and severity put under other names where it is not so."""
    severity = severity_of(labels.get(SEVERITY, ""))
    kept = dict(labels)
    for key, ours in ((ENVIRONMENT, str(source.environment)), (SEVERITY, (severity or source.severity).value)):
        said = kept.get(key, "")
        if said not in ("", ours) and not (key == SEVERITY and severity is not None):
            kept[f"exported_{key}"] = said
        kept[key] = ours
    found = labels_of(kept)
    return Alert(
        fingerprint=fingerprint((("", source.name), *labels_of(labels))),
        name=name,
        environment=source.environment,
        service=service_in(found),
        severity=severity or source.severity,
        labels=shown(found),
        began_at=starts_at,
        starts_at=starts_at,
        ends_at=ends_at,
        source=source.name,
        channels=source.channels,
    )


def _refuse_beyond_bounds(labels: Mapping[str, str]) -> None:
    if not labels or len(labels) > MOST_LABELS:
        raise InvalidArguments(f"it has no labels, or more than {MOST_LABELS}")
    if not all(map(is_label_name, labels)):
        raise InvalidArguments("a label has no label's name")
    if any(len(value) > LONGEST_TEXT for value in labels.values()):
        raise InvalidArguments(f"a label is longer than {LONGEST_TEXT:,} characters")


def _ends(source: Source, at: datetime) -> datetime | None:
    return None if source.ends_after_seconds is None else at + timedelta(seconds=source.ends_after_seconds)


def _moment(text: str) -> datetime | None:
    """An RFC 3339 moment in UTC; None for anything else, and for the year 1, with which Go writes that there is none."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    fraction = (found["fraction"] or "")[:7]
    zone = "+00:00" if found["zone"] in ("Z", "z") else found["zone"]
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{found['time']}{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


_RFC3339 = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}:\d{2})(?P<fraction>\.\d{1,12})?(?P<zone>[Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_HINT = (
    "Send an Alertmanager webhook (version 4), or an object of service, status, metric, threshold, current_value and timestamp."
)
