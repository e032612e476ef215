"""The steps before anything is touched: check what may stop the operation, take the place, and note what serves there."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ops_mcp.deploying.states import Event
from ops_mcp.domain.releases import Deployment, DeploymentId, StepName, StepRecord
from ops_mcp.errors import Code, InProgress
from ops_mcp.operations.course import Course, end, moved
from ops_mcp.store import deployments, leases, operations
from ops_mcp.store.database import Transaction
from ops_mcp.store.operations import Entry, Halted


class Refusal(NamedTuple):
    code: Code
    why: str


class Clearance(NamedTuple):
    """Either a refusal, or who keeps the place, or neither: then the place is ours and `serving` is what runs there."""

    refusal: Refusal | None = None
    held_by: str | None = None
    serving: DeploymentId | None = None


async def begin(course: Course, deployment: Deployment) -> Deployment:
    """Check and snapshot. Ends with the release begun and its undo recorded, or with the deployment withdrawn unharmed."""
    await course.write(Entry(StepName.check, "begun", data={"undo": course.undo_of(StepName.check)}))
    clearance = await _cleared(course)
    if clearance.refusal is not None:
        return await _withdraw(course, clearance.refusal)
    if clearance.held_by is not None:
        return deployment
    try:
        return await _begun(course, clearance)
    except InProgress:
        # A rollback was committed since the check and has taken the place; the next check sees its cancel request.
        return deployment


async def _begun(course: Course, clearance: Clearance) -> Deployment:
    return await course.write(
        Entry(StepName.check, "done"),
        Entry(StepName.snapshot, "begun", data={"undo": course.undo_of(StepName.snapshot)}),
        Entry(StepName.snapshot, "done", data={"serving": clearance.serving, "back_to": _back_to(course)}),
        Entry(StepName.release, "begun", data={"undo": course.undo_of(StepName.release)}),
        change=moved(Event.begun),
        beside=partial(_take_over, course),
    )


def snapshot_in(journal: Sequence[StepRecord]) -> DeploymentId | None:
    """What served when the operation took its place."""
    for record in reversed(journal):
        if (record.step, record.event) == (StepName.snapshot, "done"):
            serving = record.data.get("serving")
            return DeploymentId(str(serving)) if serving else None
    return None


async def _cleared(course: Course) -> Clearance:
    """Wait for the place while another deployment is being cancelled or undone there; every look checks everything again."""
    parts = course.parts
    began = parts.clock()
    while True:
        clearance = await parts.database.write(lambda tx: _clearance(tx, course), vital=True)
        if clearance.held_by is None:
            return clearance
        if (parts.clock() - began).total_seconds() > parts.patience.place_seconds:
            return Clearance(Refusal(Code.in_progress, f"{clearance.held_by} still holds the place."))
        if parts.reins.pulled:
            return clearance
        await parts.sleep(parts.patience.tick_seconds)


def _clearance(tx: Transaction, course: Course) -> Clearance:
    leases.require(tx, course.parts.fence)
    refusal = _refusal(operations.halted_in(tx, course.operation), recovery=course.operation.plan.recovery)
    if refusal is not None:
        return Clearance(refusal)
    deployment = deployments.deployment_by_id(tx, course.operation.deployment)
    held_by = operations.lock(tx, deployment, at=course.parts.clock())
    if held_by is not None:
        return Clearance(held_by=held_by)
    if (deployment.service, deployment.environment) in course.parts.restarting:
        return Clearance(held_by="a restart by supervision")
    serving = deployments.serving_in(tx, deployment.service, deployment.environment)
    return Clearance(serving=serving.id if serving else None)


def _refusal(halted: Halted, *, recovery: bool) -> Refusal | None:
    if halted.killed:
        return Refusal(Code.not_permitted, "The agent was killed before anything was done.")
    if halted.cancel_requested:
        return Refusal(Code.conflict, "It was cancelled before anything was done.")
    if halted.freeze_reason is not None and not recovery:
        return Refusal(Code.frozen, f"The environment is frozen: {halted.freeze_reason}")
    return None


async def _withdraw(course: Course, refusal: Refusal) -> Deployment:
    return await course.write(
        Entry(StepName.check, "failed", refusal.why, {"code": refusal.code}),
        change=moved(Event.withdrawn, detail=f"{refusal.code}: {refusal.why}"),
    )


def _back_to(course: Course) -> str | None:
    work = course.operation.plan.work
    return work.back_to if work else None


def _take_over(course: Course, tx: Transaction, deployment: Deployment) -> None:
    """The place must still be ours; then the watch of what this release replaces ends, in the transaction in which it begins."""
    at = course.parts.clock()
    held_by = operations.lock(tx, deployment, at=at)
    if held_by is not None:
        raise InProgress(f"{held_by} holds the place.", hint="It is checked again.")
    if course.operation.plan.work is not None and not course.operation.plan.work.releases:
        return
    for older in operations.watched_elsewhere(tx, deployment):
        operations.append(tx, older, Entry(StepName.watch, "note", f"Superseded by {deployment.id}."), at=at)
        superseded = deployments.change(
            tx, older.deployment, moved(Event.newer_release, finished_at=at, detail=f"Superseded by {deployment.id}.")
        )
        end(tx, older, superseded, course.parts)
