"""What people are told of alerts: a notification of the board as a message for a channel."""

import re
from collections import Counter

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.labels import ENVIRONMENT, value_of
from ops_mcp.alerting.routing import Notification
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.notices import Button
from ops_mcp.observing import Notice
from ops_mcp.values import Json, JsonObject

_LISTED = 10
_SAFE = re.compile(r"[A-Za-z0-9_]{1,100}", re.ASCII)
"""Names that can be neither a link nor a mention."""


def notice_of(notification: Notification) -> Notice:
    """The message. Names, labels and annotations were written by others: they are in `untrusted`, and in `body` for machines."""
    alerts = (*notification.firing, *notification.resolved)
    severity = min((alert.severity for alert in alerts), key=lambda one: one.rank, default=Severity.medium)
    environment = value_of(notification.key.labels, ENVIRONMENT)
    return Notice(
        id=notification.id,
        channel=notification.key.channel,
        thread="alerts " + " ".join(f"{name}={value}" for name, value in notification.key.labels),
        severity=severity.value,
        title=_title(notification, severity, environment),
        text=_text(notification),
        untrusted="\n".join(_said(alert) for alert in alerts[:_LISTED]),
        body=_body(notification),
        at=notification.at,
        buttons=_buttons(notification) if notification.firing_count else (),
    )


def _buttons(notification: Notification) -> tuple[Button, ...]:
    """For who may act in the channel; what they are about is looked up by the message's id."""
    return (
        Button(action="acknowledge", value=notification.id, label="Acknowledge"),
        Button(action="silence", value=notification.id, label="Silence 1 h", confirm="Tell nobody of this for an hour?"),
    )


def _title(notification: Notification, severity: Severity, environment: str) -> str:
    firing, resolved = notification.firing_count, notification.resolved_count
    counts = [f"{firing} firing"] if firing else []
    counts += [f"{resolved} resolved"] if resolved else []
    names = {alert.name for alert in (*notification.firing, *notification.resolved)}
    name = next(iter(names)) if len(names) == 1 else ""
    what = f": {name}" if _SAFE.fullmatch(name) else ""
    return f"[{severity.value}] {', '.join(counts)} in {environment}{what}"


def _text(notification: Notification) -> str:
    """In our own words: who is concerned, how badly, and since when. Names of services are of letters, digits and dashes."""
    lines = [f"Reason: {notification.reason.value}."]
    for what, alerts, total in (
        ("Firing", notification.firing, notification.firing_count),
        ("Resolved", notification.resolved, notification.resolved_count),
    ):
        counted = Counter((alert.severity.value, alert.service or "no service") for alert in alerts)
        said = [
            f"{severity} on {service}" + (f" ({count})" if count > 1 else "") for (severity, service), count in counted.items()
        ]
        if said:
            more = f", and {total - len(alerts)} more alerts" if total > len(alerts) else ""
            lines.append(f"{what}: {', '.join(said[:_LISTED])}{more}.")
    oldest = min((alert.starts_at for alert in notification.firing), default=None)
    if oldest is not None:
        lines.append(f"Firing since {oldest:%Y-%m-%d %H:%M:%S} UTC.")
    return "\n".join(lines)


def _said(alert: Alert) -> str:
    annotations = dict(alert.annotations)
    summary = annotations.get("summary") or annotations.get("description") or ""
    return f"{alert.name}: {summary}" if summary else alert.name


def _body(notification: Notification) -> JsonObject:
    """As Alertmanager's webhook has it, version 4, where a field means the same."""
    common: dict[str, Json] = dict(notification.key.labels)
    alerts: list[Json] = [_alert(alert, "firing") for alert in notification.firing]
    alerts += [_alert(alert, "resolved") for alert in notification.resolved]
    listed = len(notification.firing) + len(notification.resolved)
    return {
        "version": "4",
        "groupKey": " ".join(f"{name}={value}" for name, value in notification.key.labels),
        "status": "firing" if notification.firing_count else "resolved",
        "receiver": notification.key.channel,
        "reason": notification.reason.value,
        "groupLabels": common,
        "alerts": alerts,
        "truncatedAlerts": notification.firing_count + notification.resolved_count - listed,
    }


def _alert(alert: Alert, status: str) -> JsonObject:
    ends_at = alert.ends_at.isoformat() if alert.ends_at is not None and status == "resolved" else "0001-01-01T00:00:00Z"
    return {
        "status": status,
        "labels": dict[str, Json](alert.labels),
        "annotations": dict[str, Json](alert.annotations),
        "startsAt": alert.starts_at.isoformat(),
        "endsAt": ends_at,
        "fingerprint": alert.fingerprint,
        "value": alert.value,
    }
