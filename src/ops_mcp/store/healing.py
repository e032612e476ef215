"""Incidents and attempts at healing them, in rows; and what the deployments say of attempts that somebody else made."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.alerting.healing import Attempt, Incident, Outcome, Remediate
from ops_mcp.alerting.lives import Life
from ops_mcp.alerting.rules import Remedy
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentState, HealthVerdict
from ops_mcp.store import idempotency
from ops_mcp.store.alerts import lives
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.values import text_digest

MOST_ALERTS = 500
"""Most alerts that one round looks at, the worst first."""

_INCIDENT = "SELECT fingerprint, environment, service, began_at, fired_at, resolved_at, escalated_at, rule FROM incidents"
_TRY = (
    "SELECT key, incident, number, remedy, environment, service, agent, at, outcome, finished_at, deployment, approval, detail"
    " FROM healing_attempts"
)
_FIRING = (
    "SELECT a.id FROM alerts a JOIN alert_rules r ON r.environment = a.environment AND r.name = a.rule"
    " WHERE a.state = 'firing' AND r.deleted_at IS NULL AND r.body LIKE '%\"remediation\":{%'"
)


class Try(NamedTuple):
    """An attempt of the worker's as it is stored. Open without a deployment, it is to be submitted, or waits for `approval`."""

    key: str
    incident: str
    number: int
    remedy: Remedy
    environment: EnvironmentName
    service: ServiceName
    agent: AgentName
    at: datetime
    outcome: Outcome = Outcome.open
    finished_at: datetime | None = None
    deployment: str | None = None
    approval: str | None = None
    detail: str = ""


class Trouble(NamedTuple):
    """An incident with the name of the rule that it belongs to."""

    incident: Incident
    rule: str

    @property
    def id(self) -> str:
        return incident_id(self.incident)


def incident_id(incident: Incident) -> str:
    """The same for the same incident, whoever asks."""
    return "inc_" + text_digest(f"{incident.fingerprint} {incident.fired_at.isoformat()}")[-20:]


async def anything(database: Database) -> bool:
    """Whether a round would find something to look at."""
    rows = await database.fetch(
        f"SELECT 1 WHERE EXISTS ({_FIRING}) OR EXISTS (SELECT 1 FROM incidents WHERE resolved_at IS NULL)"
        " OR EXISTS (SELECT 1 FROM healing_attempts WHERE outcome = 'open')"
    )
    return bool(rows)


def firing(tx: Transaction) -> Sequence[Life]:
    """Alerts that fire and whose rule names a remedy, the worst first."""
    rows = tx.fetch(f"{_FIRING} ORDER BY a.severity, a.pending_at, a.id LIMIT ?", MOST_ALERTS)
    return [life for (id,) in rows if (life := lives.life_in(tx, id)) is not None]


def newest(tx: Transaction, fingerprint: str) -> Trouble | None:
    """The incident that an alert had last."""
    rows = tx.fetch(f"{_INCIDENT} WHERE fingerprint = ? ORDER BY fired_at DESC LIMIT 1", fingerprint)
    return _trouble(rows[0]) if rows else None


def with_id(tx: Transaction, id: str) -> Trouble | None:
    rows = tx.fetch(f"{_INCIDENT} WHERE id = ?", id)
    return _trouble(rows[0]) if rows else None


def incidents_over(tx: Transaction) -> Sequence[Trouble]:
    """Open incidents whose alert neither waits nor fires any more. One that is pending again, because its rule was changed, has
    not ended."""
    rows = tx.fetch(
        f"{_INCIDENT} WHERE resolved_at IS NULL AND NOT EXISTS (SELECT 1 FROM alerts a"
        " WHERE a.fingerprint = incidents.fingerprint AND a.state <> 'resolved') ORDER BY fired_at LIMIT ?",
        MOST_ALERTS,
    )
    return [_trouble(row) for row in rows]


def last_life(tx: Transaction, fingerprint: str) -> Life | None:
    """The alert of this fingerprint that began last, open or ended."""
    id = lives.newest_id(tx, fingerprint)
    return lives.life_in(tx, id) if id is not None else None


def keep(tx: Transaction, trouble: Trouble) -> None:
    incident = trouble.incident
    tx.execute(
        "INSERT INTO incidents (id, fingerprint, environment, service, rule, began_at, fired_at, resolved_at, escalated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET resolved_at = excluded.resolved_at,"
        " escalated_at = excluded.escalated_at",
        trouble.id, incident.fingerprint, incident.environment, incident.service, trouble.rule,
        incident.began_at.isoformat(), incident.fired_at.isoformat(), _text(incident.resolved_at), _text(incident.escalated_at),
    )  # fmt: skip


def begin(tx: Transaction, incident: str, step: Remediate, *, at: datetime) -> Try:
    """Store an attempt before it is made."""
    made = Try(step.key, incident, step.number, step.remedy, step.environment, step.service, step.agent, at)
    tx.execute(
        "INSERT INTO healing_attempts (key, incident, number, remedy, environment, service, agent, at, outcome)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        made.key, made.incident, made.number, made.remedy.value, made.environment, made.service, made.agent, at.isoformat(),
        made.outcome.value,
    )  # fmt: skip
    return made


def save(tx: Transaction, one: Try) -> None:
    """Store what is known of an attempt by now."""
    tx.execute(
        "UPDATE healing_attempts SET outcome = ?, finished_at = ?, deployment = ?, approval = ?, detail = ? WHERE key = ?",
        one.outcome.value, _text(one.finished_at), one.deployment, one.approval, one.detail, one.key,
    )  # fmt: skip


def open_tries(tx: Transaction) -> Sequence[Try]:
    """Attempts that have not ended, each with the deployment that its key was bound to meanwhile."""
    return [_bound(tx, _try(row)) for row in tx.fetch(f"{_TRY} WHERE outcome = 'open' ORDER BY at, key")]


def last_try(tx: Transaction, incident: str) -> Try | None:
    rows = tx.fetch(f"{_TRY} WHERE incident = ? ORDER BY number DESC LIMIT 1", incident)
    return _try(rows[0]) if rows else None


def attempts(tx: Transaction, environment: str, service: str, since: datetime) -> Sequence[Attempt]:
    """Every attempt on a service since then, the worker's and everybody else's, oldest first."""
    rows = tx.fetch(f"{_TRY} WHERE environment = ? AND service = ? AND at >= ?", environment, service, since.isoformat())
    own = [_bound(tx, _try(row)) for row in rows]
    ours = {one.deployment for one in own if one.deployment is not None}
    made = [Attempt(one.remedy, one.at, one.outcome, one.finished_at) for one in own]
    for row in tx.fetch(
        "SELECT body FROM deployments WHERE environment = ? AND service = ? AND created_at >= ? ORDER BY id",
        environment, service, since.isoformat(),
    ):  # fmt: skip
        deployment = Deployment.model_validate_json(row[0])
        if deployment.kind.value in _REMEDIES and deployment.id not in ours:
            made.append(_by_hand(deployment))
    return sorted(made, key=lambda attempt: attempt.at)


def outcome_of(deployment: Deployment) -> Outcome:
    """What a deployment's stored state says of the attempt that it is. Only what was verified and stayed so has succeeded."""
    if not is_final(deployment.state):
        return Outcome.open
    match deployment.state:
        case DeploymentState.unknown:
            return Outcome.unknown
        case DeploymentState.healthy | DeploymentState.superseded if deployment.health is HealthVerdict.healthy:
            return Outcome.succeeded
        case _:
            return Outcome.failed


def approval_state(tx: Transaction, approval: str) -> str:
    """The state of an approval as stored; `expired` for one that is gone."""
    rows = tx.fetch("SELECT state FROM approvals WHERE id = ?", approval)
    return str(rows[0][0]) if rows else "expired"


def forget_before(tx: Transaction, at: datetime) -> None:
    """Drop incidents that ended before, with their attempts."""
    ended = "SELECT id FROM incidents WHERE resolved_at < ?"
    tx.execute(f"DELETE FROM healing_attempts WHERE incident IN ({ended})", at.isoformat())
    tx.execute("DELETE FROM incidents WHERE resolved_at < ?", at.isoformat())


def _bound(tx: Transaction, one: Try) -> Try:
    if one.deployment is not None or one.outcome is not Outcome.open:
        return one
    bound = idempotency.find(tx, one.agent, one.key, one.at)
    return one._replace(deployment=bound.deployment) if bound is not None and bound.deployment is not None else one


def _by_hand(deployment: Deployment) -> Attempt:
    outcome = outcome_of(deployment)
    ended = None if outcome is Outcome.open else deployment.verified_at or deployment.finished_at
    return Attempt(Remedy(deployment.kind.value), deployment.created_at, outcome, ended, automatic=False)


def _trouble(row: Row) -> Trouble:
    fingerprint, environment, service, began_at, fired_at, resolved_at, escalated_at, rule = row
    return Trouble(
        Incident(
            fingerprint,
            EnvironmentName(environment),
            service,
            datetime.fromisoformat(began_at),
            datetime.fromisoformat(fired_at),
            _time(resolved_at),
            _time(escalated_at),
        ),
        rule,
    )


def _try(row: Row) -> Try:
    key, incident, number, remedy, environment, service, agent, at, outcome, finished_at, deployment, approval, detail = row
    return Try(
        key,
        incident,
        number,
        Remedy(remedy),
        EnvironmentName(environment),
        ServiceName(service),
        AgentName(agent),
        datetime.fromisoformat(at),
        Outcome(outcome),
        _time(finished_at),
        deployment,
        approval,
        detail,
    )


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


_REMEDIES = {remedy.value for remedy in Remedy}
