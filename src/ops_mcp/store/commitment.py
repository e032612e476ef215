"""What a commit rechecks and writes when a plan becomes real: its operation, deployment and lock, or its own rows."""

from datetime import datetime

from ops_mcp.deploying.plans import committed, current_of, target_state
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.releases import (
    Applied,
    Deployment,
    DeploymentId,
    DeploymentKind,
    HealthVerdict,
    OperationId,
    Plan,
    PostNotice,
    RequestCancel,
    Written,
)
from ops_mcp.errors import Conflict, InProgress
from ops_mcp.store import deployments, operations
from ops_mcp.store.database import Transaction
from ops_mcp.values import JsonObject


def recheck(tx: Transaction, plan: Plan) -> None:
    """Refuse a plan whose target has changed. Raises `Conflict` for drift, `InProgress` for a place that is held."""
    for write in plan.writes:
        if isinstance(write, RequestCancel):
            _refuse_ended(deployments.deployment_by_id(tx, write.deployment))
        elif not isinstance(write, PostNotice):
            from ops_mcp.store.alerts import writes  # start-up has a bar, and few processes change alerts

            writes.recheck(tx, plan, write)
    if plan.work is None or plan.service is None:
        return
    running = deployments.running_in(tx, plan.service, plan.environment)
    if running is not None and plan.work.kind is not DeploymentKind.rollback:
        raise InProgress(
            f"{running.id} is {running.state.value} in {plan.environment}.",
            hint="Wait for it with `deployment`, or stop it with `deployment_cancel`; both take this id.",
            retry_after_seconds=10.0,
            details={"deployment": running.id},
        )
    current = current_of(running, deployments.serving_in(tx, plan.service, plan.environment))
    found = target_state(current)
    # An exemption lasts as long as its reason: a release that proved healthy meanwhile is rolled back like any other.
    exempt_no_more = plan.recovery and (current is None or current.recovery_used or current.health is HealthVerdict.healthy)
    if found != plan.target_state or exempt_no_more:
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
    running = deployments.running_in(tx, row.service, row.environment)
    if running is not None:
        operations.request_cancel(tx, running.id, by=planned.agent, at=at)
        operations.unlock(tx, running.id)
    operations.insert(tx, planned, at=at)
    deployments.insert(tx, row)
    operations.lock(tx, row, at=at)
    if plan.recovery and plan.work is not None and plan.work.replaces is not None:
        deployments.mark_recovery_used(tx, plan.work.replaces)


def _refuse_ended(deployment: Deployment) -> None:
    if is_final(deployment.state):
        raise Conflict(
            f"{deployment.id} has ended meanwhile: it is {deployment.state.value}.",
            hint="Use `rollback` to replace what serves now.",
        )


def apply_writes(tx: Transaction, plan: Plan, *, call: str, at: datetime) -> Applied | None:
    """Do what a plan without work does: change our own rows. What came of it, where that is the whole result of the call."""
    written: list[Written] = []
    for write in plan.writes:
        if isinstance(write, RequestCancel):
            operations.request_cancel(tx, write.deployment, by=plan.agent, at=at)
        elif isinstance(write, PostNotice):
            written.append(_post(tx, plan, write, call=call, at=at))
        else:
            from ops_mcp.store.alerts import writes  # start-up has a bar, and few processes change alerts

            written.append(writes.apply(tx, plan, write, at=at))
    return Applied(done=plan.summary, written=tuple(written), warnings=plan.warnings) if written else None


def _post(tx: Transaction, plan: Plan, write: PostNotice, *, call: str, at: datetime) -> Written:
    """Put the message into the outbox, once for each channel."""
    from ops_mcp.observing import Notice  # start-up has a bar
    from ops_mcp.store import outbox

    id = f"ntf_{call.partition('_')[2]}"
    body: JsonObject = {"kind": "notify", "agent": plan.agent, "environment": plan.environment, "severity": write.severity}
    for channel in write.channels:
        outbox.enqueue(
            tx,
            Notice(
                id=id,
                channel=channel,
                thread=write.thread or id,
                severity=write.severity,
                title=write.title,
                text=write.text,
                untrusted=write.untrusted,
                body=body,
                at=at,
            ),
            at=at,
        )
    return Written(what="message", id=id)
