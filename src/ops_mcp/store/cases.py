"""The stored facts about incidents, as the figures want them: from alerts, attempts, deployments, and what people noted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.figures import Case
from ops_mcp.alerting.healing import Incident, incident_after
from ops_mcp.store.database import Database
from ops_mcp.store.healing import incident_id

_BEFORE = timedelta(days=1)
"""An incident that goes on from before the stretch of time is one that began before it."""

Place: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class _Found:
    """One incident while its alerts are gathered."""

    incident: Incident
    acknowledged: bool = False
    false_positive: bool = False


class _Healed(NamedTuple):
    """What is stored of the healing of incidents: those whose rule named a remedy, and among them those told to a person."""

    remediable: frozenset[str]
    escalated: frozenset[str]
    attempts: Mapping[str, int]


async def cases(database: Database, *, since: datetime, at: datetime, environment: str | None = None) -> Sequence[Case]:
    """One case for each incident that fired since then."""
    found = await _incidents(database, since - _BEFORE, at, environment)
    healed, by_hand = await _healed(database), await _by_hand(database, since - _BEFORE)
    return [_case(one, healed, by_hand, at) for one in found if one.incident.fired_at >= since]


async def _incidents(database: Database, since: datetime, at: datetime, environment: str | None) -> Sequence[_Found]:
    """Alerts that came back soon belong to the incident that they had before."""
    where, params = ("AND environment = ?", (environment,)) if environment is not None else ("", ())
    rows = await database.fetch(
        "SELECT body, fired_at, resolved_at, acknowledgement, false_positive FROM alerts"
        f" WHERE fired_at IS NOT NULL AND fired_at >= ? {where} ORDER BY fired_at",
        since.isoformat(), *params,
    )  # fmt: skip
    newest: dict[str, _Found] = {}
    found: list[_Found] = []
    for body, fired_at, resolved_at, acknowledgement, false_positive in rows:
        ends_at = datetime.fromisoformat(resolved_at) if resolved_at else None
        alert = Alert.model_validate_json(body).evolve(starts_at=datetime.fromisoformat(fired_at), ends_at=ends_at)
        known = newest.get(alert.fingerprint)
        incident = incident_after(known.incident if known else None, alert, at)
        if known is None or known.incident.fired_at != incident.fired_at:
            known = newest[alert.fingerprint] = _Found(incident)
            found.append(known)
        known.incident = incident
        known.acknowledged |= acknowledgement is not None
        known.false_positive |= bool(false_positive)
    return found


async def _healed(database: Database) -> _Healed:
    incidents = await database.fetch("SELECT id, escalated_at FROM incidents")
    attempts = await database.fetch(
        "SELECT incident, COUNT(*) FROM healing_attempts WHERE outcome <> 'refused' GROUP BY incident"
    )
    return _Healed(
        remediable=frozenset(id for id, _ in incidents),
        escalated=frozenset(id for id, escalated_at in incidents if escalated_at),
        attempts=dict(attempts),
    )


async def _by_hand(database: Database, since: datetime) -> Mapping[Place, Sequence[datetime]]:
    """When somebody restarted or rolled back, by place: all that no attempt of ours is the reason of."""
    rows = await database.fetch(
        "SELECT environment, service, created_at FROM deployments WHERE created_at >= ?"
        ' AND (body LIKE \'%"kind":"restart"%\' OR body LIKE \'%"kind":"rollback"%\')'
        " AND id NOT IN (SELECT deployment FROM healing_attempts WHERE deployment IS NOT NULL)",
        since.isoformat(),
    )
    found: dict[Place, list[datetime]] = defaultdict(list)
    for environment, service, created_at in rows:
        found[environment, service].append(datetime.fromisoformat(created_at))
    return found


def _case(one: _Found, healed: _Healed, by_hand: Mapping[Place, Iterable[datetime]], at: datetime) -> Case:
    incident, id = one.incident, incident_id(one.incident)
    until = incident.resolved_at or at
    hands = by_hand.get((incident.environment, incident.service or ""), ())
    return Case(
        began_at=incident.began_at,
        fired_at=incident.fired_at,
        resolved_at=incident.resolved_at,
        remediable=id in healed.remediable,
        automatic_attempts=healed.attempts.get(id, 0),
        manual_attempts=sum(incident.fired_at <= moment <= until for moment in hands),
        acknowledged=one.acknowledged,
        escalated=id in healed.escalated,
        false_positive=one.false_positive,
    )
