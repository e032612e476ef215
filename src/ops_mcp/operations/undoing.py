"""The undo of a deployment: put the last healthy release back and verify it, or stop what was started. Nothing stops an undo."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from ops_mcp.deploying.health import Judgement, Standing, verify
from ops_mcp.deploying.states import Event
from ops_mcp.domain.releases import (
    Deployment,
    DeploymentKind,
    HealthVerdict,
    Observed,
    Presence,
    StepName,
    StepRecord,
    Usage,
)
from ops_mcp.errors import InProgress, OpsError, Unavailable
from ops_mcp.operations.asking import ask
from ops_mcp.operations.course import Beside, Cause, Course, moved
from ops_mcp.operations.looking import judged, observe
from ops_mcp.operations.telling import Telling
from ops_mcp.ports import Restarts
from ops_mcp.store import deployments, operations
from ops_mcp.store.database import Transaction
from ops_mcp.store.deployments import StoredDeployments
from ops_mcp.store.operations import Entry

UNDO = "undo"
BY_REQUEST = (Cause.cancel, Cause.kill)
"""Causes that say nothing against the release: the deployment ends `cancelled`, not `rolled_back` or `down`."""


async def start_undo(course: Course, step: StepName, why: str, *, cause: Cause) -> Deployment:
    """Record the verdict and that the undo begins, under the lock of the place, which a watch has given up.

    While a newer deployment holds the place this waits: either that one begins and supersedes the watch (then `Conflict`
    says so), or it withdraws and the undo goes ahead.
    """
    changes: dict[str, object] = {"detail": why}
    if cause in (Cause.health, Cause.release):
        changes["health"] = HealthVerdict.failing
    while True:
        try:
            return await course.write(
                Entry(step, "failed", why, {"cause": cause}),
                Entry(step, "undo_begun", course.undo_of(step), {"cause": cause}),
                change=moved(Event.undo_begun, **changes),
                beside=partial(_relock, course),
            )
        except InProgress:
            await course.parts.sleep(course.parts.patience.tick_seconds)


async def undo(course: Course, deployment: Deployment) -> Deployment:
    """Carry the undo out; repeating it after an interruption does nothing twice."""
    cause = cause_in(await course.journal())
    back = await _way_back(course, deployment)
    if back is None:
        return await _stop(course, deployment, cause)
    return await _restore(course, deployment, back, cause)


async def lose_sight(course: Course, step: str, why: str) -> Deployment:
    """What cannot be known is said to be unknown, and never repeated."""
    return await course.write(
        Entry(step, "failed", why, {"unknown": True}),
        change=moved(Event.lost_sight, detail=why),
        beside=_escalated(course, why),
    )


def cause_in(journal: Sequence[StepRecord]) -> Cause:
    """Why the undo began, as recorded when it did."""
    causes = [record.data.get("cause") for record in journal if record.event == "undo_begun"]
    return Cause(str(causes[-1])) if causes else Cause.health


async def _way_back(course: Course, deployment: Deployment) -> Deployment | None:
    """The release that the plan goes back to; if that has been found failing since, the newest healthy one.

    What was only scaled goes back to what it was, well or not: it was no better before, and nobody asked for another release.
    """
    stored = StoredDeployments(course.parts.database)
    work = course.operation.plan.work
    planned = await stored.get(work.back_to) if work is not None and work.back_to else None
    if planned is None or planned.health is HealthVerdict.healthy or deployment.kind is DeploymentKind.scale:
        return planned
    return await stored.last_healthy(deployment.service, deployment.environment, other_than=deployment.id)


async def _restore(course: Course, deployment: Deployment, back: Deployment, cause: Cause) -> Deployment:
    parts = course.parts
    await course.write(Entry(UNDO, "note", f"Putting {back.id} back.", {"target": back.id}))
    put: Observed | None = None
    try:
        await course.still_ours()
        put = await ask(
            lambda: _put_back(course, back),
            parts,
            seconds=parts.patience.undo_seconds,
            what="Putting the last healthy release back",
            waits_out=True,
        )
    except Unavailable:
        raise
    except OpsError as error:
        found = await observe((await _told(course, back)).placement, parts, waits_out=True)
        if found.presence is Presence.unknown:
            return await lose_sight(course, UNDO, f"{error.message} Whether {back.id} runs cannot be found out: {found.detail}")
        if found.presence is not Presence.running:
            return await _give_up(course, back, error.message)
    handle, usage = (put.handle, put.usage) if put is not None else ("", Usage())
    await course.write(
        Entry(UNDO, "note", f"{back.id} is back; verifying it."),
        change=lambda d: d.evolve(usage=d.usage + usage),
        beside=lambda tx, _: _serve(tx, back, handle),
    )
    verdict = await judged(
        (await _told(course, back)).placement,
        parts,
        verify,
        since=parts.clock(),
        every=min(back.release.binding.health.interval_seconds, parts.patience.verify_every_seconds),
        stop=course.yields,
    )
    if not isinstance(verdict, Judgement):
        return await course.present()
    if verdict.standing is Standing.failed:
        return await _give_up(course, back, verdict.why)
    return await _undone(course, deployment, cause, Event.restored, f"{back.id} serves again: {verdict.why}.")


async def _put_back(course: Course, back: Deployment) -> Observed:
    """A new start of the release under its old id, or nothing if it still runs. One that ended by itself is started again."""
    provider = course.parts.provider(back.release)
    tell = Telling(course, UNDO, back.id)
    ends, present = (await course.present()).placement, (await _told(course, back)).placement
    found = await provider.rollback(present, restores=present, ends=ends, tell=tell)
    if found.presence is Presence.exited and isinstance(provider, Restarts):
        return await provider.restart((await _told(course, back)).placement)
    return found


async def _told(course: Course, back: Deployment) -> Deployment:
    """What is put back, under the name that its place has told for it meanwhile."""
    return await StoredDeployments(course.parts.database).get(back.id) or back


async def _stop(course: Course, deployment: Deployment, cause: Cause) -> Deployment:
    """Stop what was started. Something else may still serve, when the release failed before it was ended."""
    parts = course.parts
    try:
        provider = parts.provider(deployment.release)
        await course.still_ours()
        ended = await ask(
            lambda: provider.stop(deployment.placement),
            parts,
            seconds=parts.patience.undo_seconds,
            what="Stopping the failed release",
            waits_out=True,
        )
    except Unavailable:
        raise
    except OpsError as error:
        return await _not_stopped(course, deployment, error.message)
    await course.write(change=lambda d: d.evolve(usage=d.usage + ended.usage))
    other = await StoredDeployments(parts.database).serving(deployment.service, deployment.environment)
    if other is not None and other.id != deployment.id and await _runs(course, other):
        return await _undone(course, deployment, cause, Event.restored, f"It was stopped; {other.id} still serves.")
    return await _undone(
        course,
        deployment,
        cause,
        Event.stopped,
        "It was stopped; there is nothing to go back to, so the service is down.",
        beside=deployments.stop_serving,
    )


async def _runs(course: Course, deployment: Deployment) -> bool:
    return (await observe(deployment.placement, course.parts)).presence is Presence.running


async def _not_stopped(course: Course, deployment: Deployment, why: str) -> Deployment:
    found = await observe(deployment.placement, course.parts, waits_out=True)
    if found.presence is Presence.unknown:
        return await lose_sight(course, UNDO, f"{why} Whether it still runs cannot be found out: {found.detail}")
    return await _give_up(course, None, f"It could not be stopped: {why}")


async def _undone(
    course: Course, deployment: Deployment, cause: Cause, event: Event, how: str, *, beside: Beside | None = None
) -> Deployment:
    final = Event.undone_on_request if cause in BY_REQUEST else event
    return await course.write(
        Entry(UNDO, "undone", how),
        change=moved(final, detail=f"{deployment.detail} {how}".strip()),
        beside=beside,
    )


async def _give_up(course: Course, back: Deployment | None, why: str) -> Deployment:
    """The undo itself failed: said so, escalated, and left to a person."""

    def mark(tx: Transaction, deployment: Deployment) -> None:
        if back is not None:
            deployments.change(tx, back.id, lambda d: d.evolve(health=HealthVerdict.failing, detail=why))
        _escalated(course, why)(tx, deployment)

    return await course.write(
        Entry(UNDO, "undo_failed", why),
        change=moved(Event.undo_failed, detail=f"The undo failed: {why}"),
        beside=mark,
    )


def _escalated(course: Course, why: str) -> Beside:
    at = course.parts.clock()
    told = course.parts.redact(why)
    return lambda tx, _: _record(tx, course, told, at=at)


def _record(tx: Transaction, course: Course, why: str, *, at: datetime) -> None:
    tx.record(operations.record_of(course.operation, kind="operation.escalated", at=at, data={"why": why}))


def _serve(tx: Transaction, back: Deployment, handle: str) -> None:
    deployments.change(tx, back.id, lambda d: d.evolve(handle=handle or d.handle))
    deployments.serve(tx, back)


def _relock(course: Course, tx: Transaction, deployment: Deployment) -> None:
    holder = operations.lock(tx, deployment, at=course.parts.clock(), undoes=True)
    if holder is not None:
        raise InProgress(f"{holder} holds the place.", hint="The undo goes ahead once it is free.")
