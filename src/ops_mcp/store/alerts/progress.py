"""Where each rule stands, so that whoever goes on evaluating knows what was pending and firing, and since when.

A row is there only for a rule with alerts, or whose evaluation failed, and is written only when that changes: values change with
every evaluation and are known again after the next one. When the others were last evaluated is one mark for all.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from ops_mcp.alerting.labels import Labels
from ops_mcp.alerting.lifecycle import NOTHING_YET, Active, AlertState, Progress
from ops_mcp.store.database import Database, Row, Transaction

ROUND = "round"

Key: TypeAlias = tuple[str, str]
"""Environment and name of a rule."""


def keep(tx: Transaction, key: Key, progress: Progress) -> None:
    """Store where a rule stands."""
    if not progress.alerts and not progress.error:
        forget(tx, key)
        return
    tx.execute(
        "INSERT INTO alert_progress (environment, name, error, evaluated_at, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (environment, name) DO UPDATE SET error = excluded.error, evaluated_at = excluded.evaluated_at,"
        " body = excluded.body",
        *key, progress.error, _failing_since(progress), written(progress),
    )  # fmt: skip


def forget(tx: Transaction, key: Key) -> None:
    tx.execute("DELETE FROM alert_progress WHERE environment = ? AND name = ?", *key)


def of_rule(tx: Transaction, key: Key) -> Progress:
    """Where one rule stands."""
    rows = tx.fetch("SELECT body, error, evaluated_at FROM alert_progress WHERE environment = ? AND name = ?", *key)
    return _stored(rows[0], last_round(tx)) if rows else NOTHING_YET


def mark_round(tx: Transaction, at: datetime) -> None:
    """Everything that is not said to have failed was evaluated at `at`."""
    tx.execute(
        "INSERT INTO alert_marks (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        ROUND, at.isoformat(),
    )  # fmt: skip


def last_round(tx: Transaction) -> datetime | None:
    rows = tx.fetch("SELECT value FROM alert_marks WHERE name = ?", ROUND)
    return datetime.fromisoformat(rows[0][0]) if rows else None


async def last_round_of(database: Database) -> datetime | None:
    rows = await database.fetch("SELECT value FROM alert_marks WHERE name = ?", ROUND)
    return datetime.fromisoformat(rows[0][0]) if rows else None


async def all_of(database: Database) -> Mapping[Key, Progress]:
    """Where every rule stands that has alerts, or failed."""
    round_at = await last_round_of(database)
    rows = await database.fetch("SELECT body, error, evaluated_at, environment, name FROM alert_progress")
    return {(row[3], row[4]): _stored(row, round_at) for row in rows}


def differs(before: Progress, after: Progress) -> bool:
    """Whether more than values and the moment of the evaluation changed."""
    if before.error != after.error or before.alerts.keys() != after.alerts.keys():
        return True
    return any(_lasting(alert) != _lasting(after.alerts[labels]) for labels, alert in before.alerts.items())


def written(progress: Progress) -> str:
    """As JSON. Values are text, so that NaN and the infinities have a place."""
    alerts = [
        [
            list(alert.labels),
            list(alert.series),
            repr(alert.value),
            alert.state.value,
            *(at.isoformat() if at is not None else None for at in alert[4:]),
        ]
        for alert in progress.alerts.values()
    ]
    return json.dumps(alerts, separators=(",", ":"))


def read(body: str, error: str, evaluated_at: datetime | None) -> Progress:
    """What `written` wrote."""
    rows: list[list[Any]] = json.loads(body)
    alerts = [_active(row) for row in rows]
    return Progress(evaluated_at, {alert.labels: alert for alert in alerts}, error)


def _failing_since(progress: Progress) -> str | None:
    return progress.evaluated_at.isoformat() if progress.error and progress.evaluated_at is not None else None


def _stored(row: Row, round_at: datetime | None) -> Progress:
    """The last round holds for what did not fail."""
    body, error, evaluated_at = row[:3]
    return read(body, error, _moment(evaluated_at) if error else round_at)


def _lasting(alert: Active) -> tuple[object, ...]:
    return alert.state, *alert[4:]


def _active(row: list[Any]) -> Active:
    labels, series, value, state, active_at, fired_at, keep_firing_since, resolved_at = row
    return Active(
        _labels(labels),
        _labels(series),
        float(value),
        AlertState(state),
        datetime.fromisoformat(active_at),
        _moment(fired_at),
        _moment(keep_firing_since),
        _moment(resolved_at),
    )


def _labels(pairs: list[list[str]]) -> Labels:
    return tuple((name, value) for name, value in pairs)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
