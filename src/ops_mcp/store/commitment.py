"""What a commit writes when a plan becomes real: its operation, its deployment, the lock on its place, or its own rows."""

from datetime import datetime

from ops_mcp.deploying.plans import committed, target_state
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentId, DeploymentKind, OperationId, Plan, RequestCancel
from ops_mcp.errors import Conflict, InProgress
from ops_mcp.store.database import Transaction


def recheck(tx: Transaction, plan: Plan) -> None:
    """Refuse a plan whose target is no longer what was planned for. Raises `Conflict` for drift, `InProgress` for a held place."""
    if plan.work is None or plan.service is None:
        return
    running = _running(tx, plan.service, plan.environment)
    if running is not None and plan.work.kind is not DeploymentKind.rollback:
        raise InProgress(
            f"{running.id} is {running.state.value} in {plan.environment}.",
            hint=f"Wait for it with `deployment`, or stop it with `deployment_cancel`, both with id {running.id}.",
            retry_after_seconds=10.0,
            details={"deployment": running.id},
        )
    found = target_state(running or _serving(tx, plan.service, plan.environment))
    if found != plan.target_state:
        raise Conflict(
            f"{plan.service} in {plan.environment} has changed since this plan was made.",
            hint="Call again: a new plan is made for what is there now. An approval of the old plan does not cover it.",
            details={"planned_for": plan.target_state, "found": found},
        )


def begin(
    tx: Transaction, plan: Plan, *, operation: OperationId, deployment: DeploymentId, call: str, reason: str, at: datetime
) -> None:
    """Insert a plan's operation and deployment and take the place's lock; a rollback takes it over from what it cancels."""
    planned, row = committed(plan, operation=operation, deployment=deployment, call=call, reason=reason, at=at)
    tx.execute(
        "INSERT INTO operations (id, deployment, call, agent, plan, fence, final, created_at) VALUES (?, ?, ?, ?, ?, 0, 0, ?)",
        planned.id, planned.deployment, planned.call, planned.agent, plan.model_dump_json(), at.isoformat(),
    )  # fmt: skip
    tx.execute(
        "INSERT INTO deployments (id, service, environment, agent, state, health, serving, verified, release_digest, body, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?)",
        row.id, row.service, row.environment, row.agent, row.state.value, row.health.value, row.release.digest,
        row.model_dump_json(), at.isoformat(),
    )  # fmt: skip
    if (running := _running(tx, row.service, row.environment)) is not None:
        request_cancel(tx, running.id)
        tx.execute("DELETE FROM locks WHERE service = ? AND environment = ?", row.service, row.environment)
    if plan.recovery and plan.work is not None and plan.work.replaces is not None:
        _update(tx, plan.work.replaces, recovery_used=True)
    tx.execute(
        "INSERT INTO locks (service, environment, deployment, since) VALUES (?, ?, ?, ?)",
        row.service, row.environment, row.id, at.isoformat(),
    )  # fmt: skip


def apply_writes(tx: Transaction, plan: Plan) -> None:
    """Do what a plan without work does: change our own rows."""
    for write in plan.writes:
        match write:
            case RequestCancel(deployment=deployment):
                request_cancel(tx, deployment)


def request_cancel(tx: Transaction, deployment: DeploymentId) -> None:
    """Ask the worker to cancel and undo; it looks at each step and while it waits."""
    _update(tx, deployment, cancel_requested=True)


def _update(tx: Transaction, deployment: DeploymentId, **changes: object) -> None:
    rows = tx.fetch("SELECT body FROM deployments WHERE id = ?", deployment)
    if rows:
        changed = Deployment.model_validate_json(rows[0][0]).evolve(**changes)
        tx.execute("UPDATE deployments SET body = ? WHERE id = ?", changed.model_dump_json(), deployment)


def _running(tx: Transaction, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
    rows = tx.fetch(
        "SELECT d.body FROM locks l JOIN deployments d ON d.id = l.deployment WHERE l.service = ? AND l.environment = ?",
        service, environment,
    )  # fmt: skip
    return Deployment.model_validate_json(rows[0][0]) if rows else None


def _serving(tx: Transaction, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
    rows = tx.fetch(
        "SELECT body FROM deployments WHERE service = ? AND environment = ? AND serving = 1 ORDER BY id DESC LIMIT 1",
        service, environment,
    )  # fmt: skip
    return Deployment.model_validate_json(rows[0][0]) if rows else None
