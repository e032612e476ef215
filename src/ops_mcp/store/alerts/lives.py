"""Rows of alerts, one for each time that one began, and the events of its life."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.lives import Life, LifeEvent, LifeState
from ops_mcp.alerting.muting import Acknowledgement
from ops_mcp.observing import AlertsFound, AlertsWanted
from ops_mcp.store.database import Database, Row, SqlValue, Transaction
from ops_mcp.values import text_digest

_LIFE = "SELECT id, rule, body, state, pending_at, fired_at, resolved_at, acknowledgement, false_positive FROM alerts"
_MOST_SHOWN = 1_000


def begin(tx: Transaction, alert: Alert, rule: str, state: LifeState, *, actor: str, at: datetime) -> str:
    """A row for an alert that began; its id, which is the same for the same beginning."""
    id = "alr_" + text_digest(f"{alert.fingerprint} {alert.began_at.isoformat()} {at.isoformat()}")[-20:]
    fired_at = alert.starts_at.isoformat() if state is LifeState.firing else None
    tx.execute(
        "INSERT INTO alerts (id, fingerprint, environment, rule, source, service, state, severity, pending_at, fired_at, ends_at,"
        " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
        " fired_at = excluded.fired_at, ends_at = excluded.ends_at, resolved_at = NULL, body = excluded.body",
        id, alert.fingerprint, alert.environment, rule, alert.source, alert.service, state.value, alert.severity.rank,
        alert.began_at.isoformat(), fired_at, _text(alert.ends_at), _body(alert),
    )  # fmt: skip
    append(tx, id, LifeEvent(at, "fired" if state is LifeState.firing else "pending", actor, _valued(alert)))
    return id


def fire(tx: Transaction, id: str, alert: Alert, rule: str, *, actor: str, at: datetime) -> None:
    """What waited fires."""
    tx.execute(
        "UPDATE alerts SET state = 'firing', fired_at = ?, ends_at = ?, severity = ?, rule = ?, body = ? WHERE id = ?",
        alert.starts_at.isoformat(), _text(alert.ends_at), alert.severity.rank, rule, _body(alert), id,
    )  # fmt: skip
    append(tx, id, LifeEvent(at, "fired", actor, _valued(alert)))


def renew(tx: Transaction, id: str, alert: Alert, rule: str) -> None:
    """News of an alert that fires already."""
    tx.execute(
        "UPDATE alerts SET ends_at = ?, severity = ?, rule = ?, body = ? WHERE id = ?",
        _text(alert.ends_at), alert.severity.rank, rule, _body(alert), id,
    )  # fmt: skip


def wait_again(tx: Transaction, id: str, *, actor: str, at: datetime, detail: str) -> None:
    """What fired waits again, because its rule's `for` was made longer."""
    tx.execute("UPDATE alerts SET state = 'pending', fired_at = NULL, acknowledgement = NULL WHERE id = ?", id)
    append(tx, id, LifeEvent(at, "withdrawn", actor, detail))


def resolve(tx: Transaction, id: str, *, ended_at: datetime, actor: str, at: datetime, detail: str = "") -> None:
    """The alert is over; its row stays."""
    tx.execute("UPDATE alerts SET state = 'resolved', resolved_at = ? WHERE id = ?", ended_at.isoformat(), id)
    append(tx, id, LifeEvent(at, "resolved", actor, detail))


def drop(tx: Transaction, id: str) -> None:
    """What waited and never fired leaves nothing behind."""
    tx.execute("DELETE FROM alerts WHERE id = ?", id)
    tx.execute("DELETE FROM alert_events WHERE alert = ?", id)


def acknowledge(tx: Transaction, id: str, acknowledgement: Acknowledgement, *, false_positive: bool) -> None:
    """Somebody has it in hand."""
    tx.execute(
        "UPDATE alerts SET acknowledgement = ?, false_positive = ? WHERE id = ?",
        acknowledgement.model_dump_json(exclude_none=True), int(false_positive), id,
    )  # fmt: skip


def append(tx: Transaction, id: str, event: LifeEvent) -> None:
    """One more line of an alert's history."""
    tx.execute(
        "INSERT INTO alert_events (alert, sequence, at, event, actor, detail)"
        " SELECT ?, COALESCE(MAX(sequence), 0) + 1, ?, ?, ?, ? FROM alert_events WHERE alert = ?",
        id, event.at.isoformat(), event.event, event.actor, event.detail, id,
    )  # fmt: skip


def open_life(tx: Transaction, fingerprint: str) -> Life | None:
    """The alert with this fingerprint that has not ended."""
    rows = tx.fetch(f"{_LIFE} WHERE fingerprint = ? AND state <> 'resolved'", fingerprint)
    return _life(rows[0]) if rows else None


def newest_id(tx: Transaction, fingerprint: str) -> str | None:
    """The id of the alert with this fingerprint that began last, open or not."""
    rows = tx.fetch("SELECT id FROM alerts WHERE fingerprint = ? ORDER BY pending_at DESC, id DESC LIMIT 1", fingerprint)
    return rows[0][0] if rows else None


def life_in(tx: Transaction, id: str) -> Life | None:
    rows = tx.fetch(f"{_LIFE} WHERE id = ?", id)
    return _life(rows[0]) if rows else None


def open_in(tx: Transaction) -> Sequence[Life]:
    """Every alert that waits or fires."""
    return [_life(row) for row in tx.fetch(f"{_LIFE} WHERE state <> 'resolved' ORDER BY severity, pending_at, id")]


def open_of_rule(tx: Transaction, environment: str, rule: str, *, outside: bool) -> Sequence[Life]:
    """The open alerts that a rule has, or that it claims from outside."""
    source = "source <> ''" if outside else "source = ''"
    rows = tx.fetch(
        f"{_LIFE} WHERE environment = ? AND rule = ? AND state <> 'resolved' AND {source} ORDER BY id", environment, rule
    )
    return [_life(row) for row in rows]


def in_hand(tx: Transaction) -> tuple[Acknowledgement, ...]:
    """The acknowledgements of alerts that fire."""
    rows = tx.fetch("SELECT acknowledgement FROM alerts WHERE state = 'firing' AND acknowledgement IS NOT NULL")
    return tuple(Acknowledgement.model_validate_json(row[0]) for row in rows)


def over(tx: Transaction, at: datetime) -> Sequence[Life]:
    """What fires still, although its source should have sent it again by now."""
    rows = tx.fetch(f"{_LIFE} WHERE state = 'firing' AND ends_at <= ? ORDER BY id LIMIT {_MOST_SHOWN}", at.isoformat())
    return [_life(row) for row in rows]


def any_to_expire(tx: Transaction) -> bool:
    """Whether something fires that ends by itself unless its source sends it again."""
    return bool(tx.fetch("SELECT 1 FROM alerts WHERE state = 'firing' AND ends_at IS NOT NULL LIMIT 1"))


def forget_before(tx: Transaction, at: datetime) -> None:
    """Alerts that ended before `at`, and their histories."""
    ended = "SELECT id FROM alerts WHERE state = 'resolved' AND resolved_at < ?"
    tx.execute(f"DELETE FROM alert_events WHERE alert IN ({ended})", at.isoformat())
    tx.execute("DELETE FROM alerts WHERE state = 'resolved' AND resolved_at < ?", at.isoformat())


def forget_beyond(tx: Transaction, most: int, environment: str, rule: str | None = None) -> None:
    """The alerts of an environment, or of one rule in it, that ended first, with their histories, where more than `most` are."""
    params = (environment,) if rule is None else (environment, rule)
    ended = f"alerts WHERE environment = ?{'' if rule is None else ' AND rule = ?'} AND state = 'resolved'"
    beyond = int(tx.fetch(f"SELECT COUNT(*) FROM {ended}", *params)[0][0]) - most
    if beyond <= 0:
        return
    oldest = f"SELECT id FROM {ended} ORDER BY resolved_at, id LIMIT ?"
    tx.execute(f"DELETE FROM alert_events WHERE alert IN ({oldest})", *params, beyond)
    tx.execute(f"DELETE FROM alerts WHERE id IN ({oldest})", *params, beyond)


async def open_alerts(database: Database, environment: str | None = None) -> Sequence[Life]:
    """Every alert that waits or fires, the worst first, of one environment or of all."""
    where, params = ("AND environment = ?", (environment,)) if environment is not None else ("", ())
    rows = await database.fetch(f"{_LIFE} WHERE state <> 'resolved' {where} ORDER BY severity, pending_at, id", *params)
    return [_life(row) for row in rows]


async def lives(database: Database, wanted: AlertsWanted) -> AlertsFound:
    """The alerts that are wanted, and how many there are in all."""
    where, params = _conditions(wanted)
    order = "resolved_at DESC, id DESC" if wanted.ended else "severity, state, pending_at, id"
    rows = await database.fetch(f"{_LIFE} WHERE {where} ORDER BY {order} LIMIT ?", *params, wanted.limit)
    counted = await database.fetch(f"SELECT COUNT(*) FROM alerts WHERE {where}", *params)
    return AlertsFound([_life(row) for row in rows], int(counted[0][0]))


async def life(database: Database, id: str) -> Life | None:
    rows = await database.fetch(f"{_LIFE} WHERE id = ?", id)
    return _life(rows[0]) if rows else None


async def history(database: Database, id: str, limit: int = _MOST_SHOWN) -> Sequence[LifeEvent]:
    """The newest events of an alert, oldest first."""
    rows = await database.fetch(
        "SELECT at, event, actor, detail FROM alert_events WHERE alert = ? ORDER BY sequence DESC LIMIT ?", id, limit
    )
    return [LifeEvent(datetime.fromisoformat(at), event, actor, detail) for at, event, actor, detail in reversed(rows)]


def _conditions(wanted: AlertsWanted) -> tuple[str, tuple[SqlValue, ...]]:
    state = "state = 'resolved' AND fired_at IS NOT NULL" if wanted.ended else "state <> 'resolved'"
    parts, params = [state, f"environment IN ({_marks(wanted.environments)})"], list[SqlValue](wanted.environments)
    if wanted.service is not None:
        parts.append("service = ?")
        params.append(wanted.service)
    if wanted.severity is not None:
        parts.append("severity <= ?")
        params.append(wanted.severity)
    return " AND ".join(parts), tuple(params)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values)) or "NULL"


def _life(row: Row) -> Life:
    id, rule, body, state, pending_at, fired_at, resolved_at, acknowledgement, false_positive = row
    return Life(
        id,
        rule,
        Alert.model_validate_json(body),
        LifeState(state),
        datetime.fromisoformat(pending_at),
        datetime.fromisoformat(fired_at) if fired_at else None,
        datetime.fromisoformat(resolved_at) if resolved_at else None,
        Acknowledgement.model_validate_json(acknowledgement) if acknowledgement else None,
        bool(false_positive),
    )


def _body(alert: Alert) -> str:
    return alert.model_dump_json(exclude_none=True)


def _valued(alert: Alert) -> str:
    return f"value {alert.value}" if alert.value else ""


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
