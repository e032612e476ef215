"""Rows of deployments: what serves, what was healthy, and the history that agents page through."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime

from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentId, OperationId, StepRecord
from ops_mcp.errors import NotFound
from ops_mcp.ports import DeploymentQuery, Page
from ops_mcp.store.database import Database, Row, SqlValue, Transaction

_BODY = "SELECT body FROM deployments"
_SERVING = f"{_BODY} WHERE service = ? AND environment = ? AND serving = 1 ORDER BY id DESC LIMIT 1"
_LAST_HEALTHY = (
    f"{_BODY} WHERE service = ? AND environment = ? AND verified = 1 AND health = 'healthy'"
    " AND state IN ('watching', 'healthy', 'superseded') AND release_digest <> ? ORDER BY id DESC LIMIT 1"
)
_RUNNING = (
    f"{_BODY} WHERE service = ? AND environment = ? AND state IN ('queued', 'releasing', 'verifying', 'undoing')"
    " ORDER BY id DESC LIMIT 1"
)
_RELEASES = "(json_extract(e.body, '$.kind') NOT IN ('variable', 'provision') OR json_extract(e.body, '$.previous') IS NOT NULL)"
"""`Deployment.releases`, of the table `e`."""

_JOURNAL = "SELECT operation, sequence, step, event, at, detail, data FROM steps WHERE operation = ? ORDER BY sequence"


class StoredDeployments:
    """The stored history of deployments, read-only; satisfies `ports.Deployments` and `ports.Journal`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, deployment: DeploymentId) -> Deployment | None:
        return _first(await self._database.fetch(f"{_BODY} WHERE id = ?", deployment))

    async def serving(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        return _first(await self._database.fetch(_SERVING, service, environment))

    async def running(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        """The newest deployment that is on its way and has not passed verify."""
        return _first(await self._database.fetch(_RUNNING, service, environment))

    async def last_healthy(
        self, service: ServiceName, environment: EnvironmentName, *, other_than: DeploymentId | None
    ) -> Deployment | None:
        excluded = await self.get(other_than) if other_than else None
        digest = excluded.release.digest if excluded else ""
        return _first(await self._database.fetch(_LAST_HEALTHY, service, environment, digest))

    async def page(self, query: DeploymentQuery) -> Page[Deployment]:
        where, params = _conditions(query)
        rows = await self._database.fetch_recent(f"{_BODY} WHERE {where} ORDER BY id DESC LIMIT ?", *params, query.limit + 1)
        items = tuple(_deployment(row) for row in rows[: query.limit])
        return Page(items, items[-1].id if len(rows) > query.limit else None)

    async def steps(self, deployment: DeploymentId) -> Sequence[StepRecord]:
        rows = await self._database.fetch("SELECT id FROM operations WHERE deployment = ?", deployment)
        return tuple(step_of(row) for row in await self._database.fetch(_JOURNAL, rows[0][0])) if rows else ()


async def supervised(database: Database) -> tuple[Deployment, ...]:
    """What serves at places where no release is on its way: it is looked after by its own operation. What leaves alone what runs
    looks after nothing."""
    rows = await database.fetch(
        "SELECT d.body FROM deployments d WHERE d.serving = 1"
        " AND NOT EXISTS (SELECT 1 FROM operations o JOIN deployments e ON e.id = o.deployment WHERE o.final = 0"
        f" AND e.service = d.service AND e.environment = d.environment AND {_RELEASES}) ORDER BY d.id"
    )
    return tuple(_deployment(row) for row in rows)


async def collected(database: Database, since: datetime, also: Sequence[DeploymentId]) -> tuple[Deployment, ...]:
    """Deployments that may have written lines: what serves, is on its way, was committed since then, or is named."""
    rows = await database.fetch(
        f"{_BODY} WHERE serving = 1 OR created_at >= ? OR id IN (SELECT deployment FROM operations WHERE final = 0)",
        since.isoformat(),
    )
    found = {d.id: d for d in map(_deployment, rows)}
    for id in also:
        if id not in found and (named := _first(await database.fetch(f"{_BODY} WHERE id = ?", id))) is not None:
            found[id] = named
    return tuple(d for d in found.values() if d.releases)


async def all_serving(database: Database) -> tuple[Deployment, ...]:
    """What serves anywhere, also while its release is watched or another is on its way."""
    return tuple(_deployment(row) for row in await database.fetch(f"{_BODY} WHERE serving = 1 ORDER BY id"))


def place_is_busy(tx: Transaction, deployment: Deployment) -> bool:
    """Whether a release is on its way at this deployment's place."""
    return bool(
        tx.fetch(
            "SELECT 1 FROM operations o JOIN deployments e ON e.id = o.deployment WHERE o.final = 0 AND e.service = ?"
            f" AND e.environment = ? AND {_RELEASES} LIMIT 1",
            deployment.service,
            deployment.environment,
        )
    )


def any_serving(tx: Transaction) -> bool:
    return bool(tx.fetch("SELECT 1 FROM deployments WHERE serving = 1 LIMIT 1"))


def deployment_by_id(tx: Transaction, deployment: str) -> Deployment:
    """Raises `NotFound` for an id that was never committed."""
    rows = tx.fetch(f"{_BODY} WHERE id = ?", deployment)
    if not rows:
        raise NotFound(f"There is no deployment {deployment}.", hint="`deployments` lists them.")
    return _deployment(rows[0])


def serving_in(tx: Transaction, service: str, environment: str) -> Deployment | None:
    return _first(tx.fetch(_SERVING, service, environment))


def running_in(tx: Transaction, service: str, environment: str) -> Deployment | None:
    return _first(tx.fetch(_RUNNING, service, environment))


def last_healthy_in(tx: Transaction, service: str, environment: str, *, other_digest: str) -> Deployment | None:
    """The newest healthy deployment whose release is not `other_digest`."""
    return _first(tx.fetch(_LAST_HEALTHY, service, environment, other_digest))


def insert(tx: Transaction, deployment: Deployment) -> None:
    tx.execute(
        "INSERT INTO deployments (id, service, environment, agent, state, health, serving, verified, release_digest, body,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        deployment.id,
        deployment.service,
        deployment.environment,
        deployment.agent,
        deployment.state,
        deployment.health,
        int(deployment.serving),
        int(deployment.verified_at is not None),
        deployment.release.digest,
        deployment.model_dump_json(),
        deployment.created_at.isoformat(),
    )


def change(tx: Transaction, deployment: str, changed: Callable[[Deployment], Deployment]) -> Deployment:
    """Read, change and write one row inside the transaction; what others wrote meanwhile is kept."""
    before = deployment_by_id(tx, deployment)
    after = changed(before)
    if after != before:
        tx.execute(
            "UPDATE deployments SET state = ?, health = ?, serving = ?, verified = ?, body = ? WHERE id = ?",
            after.state,
            after.health,
            int(after.serving),
            int(after.verified_at is not None),
            after.model_dump_json(),
            after.id,
        )
    return after


def serve(tx: Transaction, deployment: Deployment) -> Deployment:
    """Record that this deployment is what runs at its place now, and nothing else there."""
    stop_serving(tx, deployment)
    return change(tx, deployment.id, lambda d: d.evolve(serving=True))


def stop_serving(tx: Transaction, deployment: Deployment) -> None:
    """Record that nothing runs at this deployment's place."""
    rows = tx.fetch(
        "SELECT id FROM deployments WHERE service = ? AND environment = ? AND serving = 1",
        deployment.service,
        deployment.environment,
    )
    for row in rows:
        change(tx, row[0], lambda d: d.evolve(serving=False))


def mark_recovery_used(tx: Transaction, deployment: str) -> Deployment:
    """Spend the one exempt rollback of this deployment."""
    return change(tx, deployment, lambda d: d.evolve(recovery_used=True))


def step_of(row: Row) -> StepRecord:
    operation, sequence, step, event, at, detail, data = row
    return StepRecord(
        operation=OperationId(operation),
        sequence=sequence,
        step=step,
        event=event,
        at=datetime.fromisoformat(at),
        detail=detail,
        data=json.loads(data),
    )


def _conditions(query: DeploymentQuery) -> tuple[str, list[SqlValue]]:
    where = [f"environment IN ({', '.join('?' * len(query.visible))})"] if query.visible else ["1 = 0"]
    params: list[SqlValue] = list(query.visible)
    for column, value in (("service", query.service), ("environment", query.environment), ("state", query.state)):
        if value is not None:
            where.append(f"{column} = ?")
            params.append(value)
    if query.serving:
        where.append("serving = 1")
    if query.since is not None:
        where.append("created_at >= ?")
        params.append(query.since.isoformat())
    if query.cursor is not None:
        where.append("id < ?")
        params.append(query.cursor)
    return " AND ".join(where), params


def _first(rows: Sequence[Row]) -> Deployment | None:
    return _deployment(rows[0]) if rows else None


def _deployment(row: Row) -> Deployment:
    return Deployment.model_validate_json(row[0])
