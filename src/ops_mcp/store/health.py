"""Rows of health: where each probe stands, its changes, and its good findings by the hour."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from ops_mcp.deploying.standing import Standing
from ops_mcp.domain.inventory import RELEASE, Found, HealthState
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentState, HealthVerdict
from ops_mcp.store.database import Database, SqlValue, Transaction

MOST_CHANGES = 100
"""How many changes are kept of one service in one environment."""

HOURS_KEPT = 25
"""The last day, and the hour that has begun."""


class ProbeKey(NamedTuple):
    environment: EnvironmentName
    service: ServiceName
    probe: str


class Stored(NamedTuple):
    """One probe's row. `digest` is that of the question that was asked."""

    key: ProbeKey
    kind: str
    digest: str
    standing: Standing


class Asking(NamedTuple):
    """One more finding of a probe, and where the probe stands with it."""

    stored: Stored
    before: Standing
    found: Found
    at: datetime


class Change(NamedTuple):
    service: ServiceName
    environment: EnvironmentName
    probe: str
    before: HealthState
    state: HealthState
    at: datetime


class Deployed(NamedTuple):
    """What is recorded of one deployment, as far as health is concerned."""

    service: ServiceName
    environment: EnvironmentName
    id: str
    kind: str
    state: DeploymentState
    verdict: HealthVerdict
    serving: bool
    created_at: datetime
    verified_at: datetime | None
    detail: str


class Availability(NamedTuple):
    """Good findings of all, in the last 24 hours."""

    good: int
    asked: int


async def stored_probes(database: Database, environments: Sequence[str] | None = None) -> tuple[Stored, ...]:
    """Where every probe stands, or those of some environments."""
    where, params = _within(environments)
    rows = await database.fetch_recent(
        f"SELECT environment, service, probe, kind, digest, body FROM health_probes{where} ORDER BY environment, service, probe",
        *params,
    )
    return tuple(
        Stored(ProbeKey(EnvironmentName(environment), ServiceName(service), probe), kind, digest, _standing(body))
        for environment, service, probe, kind, digest, body in rows
    )


async def newest_changes(database: Database, environments: Sequence[str]) -> tuple[Change, ...]:
    """The newest change of each service."""
    where, params = _within(environments)
    rows = await database.fetch_recent(
        "SELECT service, environment, probe, before, state, at FROM health_changes WHERE id IN"
        f" (SELECT MAX(id) FROM health_changes{where} GROUP BY environment, service)",
        *params,
    )
    return tuple(
        Change(ServiceName(s), EnvironmentName(e), probe, HealthState(before), HealthState(state), datetime.fromisoformat(at))
        for s, e, probe, before, state, at in rows
    )


async def released(database: Database, environments: Sequence[str]) -> tuple[Deployed, ...]:
    """Of every service the deployment that serves, and the newest one, which may be the same."""
    where, params = _within(environments)
    rows = await database.fetch_recent(
        "SELECT id, service, environment, state, health, serving, created_at, json_extract(body, '$.kind'),"
        " json_extract(body, '$.verified_at'), json_extract(body, '$.detail') FROM deployments WHERE serving = 1 OR id IN"
        f" (SELECT MAX(id) FROM deployments{where} GROUP BY service, environment) ORDER BY id",
        *params,
    )
    return tuple(
        Deployed(
            *(ServiceName(service), EnvironmentName(environment), id, kind, DeploymentState(state), HealthVerdict(verdict)),
            serving=bool(serving),
            created_at=datetime.fromisoformat(created_at),
            verified_at=datetime.fromisoformat(verified_at) if verified_at else None,
            detail=detail or "",
        )
        for id, service, environment, state, verdict, serving, created_at, kind, verified_at, detail in rows
    )


async def availabilities(
    database: Database, environments: Sequence[str], *, until: datetime
) -> dict[tuple[str, str], Availability]:
    """Of each service, by service and environment, over all of its probes."""
    where, params = _within(environments)
    rows = await database.fetch_recent(
        f"SELECT service, environment, SUM(good), SUM(asked) FROM health_hours{where} AND hour > ? GROUP BY service, environment",
        *params,
        _hour(until - timedelta(hours=24)),
    )
    return {(service, environment): Availability(good, asked) for service, environment, good, asked in rows}


def put(tx: Transaction, asking: Asking) -> None:
    """Write one finding: the standing, the hour's counts, and the change where there is one."""
    stored, (environment, service, probe) = asking.stored, asking.stored.key
    write_standing(tx, stored)
    if asking.found.state is not HealthState.unknown:
        good = int(asking.found.state is not HealthState.unhealthy)
        tx.execute(
            "INSERT INTO health_hours (environment, service, probe, hour, good, asked) VALUES (?, ?, ?, ?, ?, 1)"
            " ON CONFLICT (environment, service, probe, hour)"
            " DO UPDATE SET good = health_hours.good + excluded.good, asked = health_hours.asked + 1",
            *(environment, service, probe, _hour(asking.at), good),
        )
    if stored.standing.state is not asking.before.state:
        tx.execute(
            "INSERT INTO health_changes (environment, service, probe, before, state, at, evidence) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(environment, service, probe, asking.before.state, stored.standing.state),
            *(asking.at.isoformat(), stored.standing.evidence),
        )
        _forget_changes(tx, environment, service)


def write_standing(tx: Transaction, stored: Stored) -> None:
    environment, service, probe = stored.key
    tx.execute(
        "INSERT INTO health_probes (environment, service, probe, kind, digest, state, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (environment, service, probe) DO UPDATE SET kind = excluded.kind, digest = excluded.digest,"
        " state = excluded.state, body = excluded.body",
        *(environment, service, probe, stored.kind, stored.digest),
        *(stored.standing.state, stored.standing.model_dump_json()),
    )


def forget_probes(tx: Transaction, gone: Collection[ProbeKey]) -> None:
    """Probes that are in the inventory no more. Their changes stay, bounded as they are."""
    for key in gone:
        for table in ("health_probes", "health_hours"):
            tx.execute(f"DELETE FROM {table} WHERE environment = ? AND service = ? AND probe = ?", *key)


def forget_before(tx: Transaction, at: datetime) -> None:
    """Counts of hours that no day reaches back to."""
    tx.execute("DELETE FROM health_hours WHERE hour <= ?", _hour(at - timedelta(hours=HOURS_KEPT)))


def any_watched(tx: Transaction) -> bool:
    """Whether something is probed that no deployment keeps a worker alive for."""
    return bool(tx.fetch("SELECT 1 FROM health_probes WHERE kind <> ? LIMIT 1", RELEASE))


def _forget_changes(tx: Transaction, environment: str, service: str) -> None:
    tx.execute(
        "DELETE FROM health_changes WHERE environment = ? AND service = ? AND id <= (SELECT MAX(id) FROM health_changes) - ?"
        " AND id NOT IN (SELECT id FROM health_changes WHERE environment = ? AND service = ? ORDER BY id DESC LIMIT ?)",
        *(environment, service, MOST_CHANGES, environment, service, MOST_CHANGES),
    )


_standing = lru_cache(maxsize=8192)(Standing.model_validate_json)
"""Standings change far less often than they are read."""


def _within(environments: Sequence[str] | None) -> tuple[str, list[SqlValue]]:
    if environments is None:
        return "", []
    return f" WHERE environment IN ({', '.join('?' * len(environments)) or 'NULL'})", list(environments)


def _hour(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H")
