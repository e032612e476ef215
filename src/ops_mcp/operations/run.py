"""Running one operation from where its journal stands: each state has one step, and each step moves the state once."""

from datetime import datetime
from typing import assert_never

from ops_mcp.deploying.health import Judgement, Standing, verify, watch
from ops_mcp.deploying.states import Event, is_final
from ops_mcp.domain.releases import (
    Deployment,
    DeploymentState,
    HealthVerdict,
    Observed,
    Operation,
    Presence,
    StepName,
)
from ops_mcp.errors import Conflict, OpsError, Unavailable
from ops_mcp.operations.acting import act, put_in_place
from ops_mcp.operations.asking import ask_unless
from ops_mcp.operations.beginning import begin
from ops_mcp.operations.course import Break, Cause, Course, moved
from ops_mcp.operations.looking import Judge, judged, observe
from ops_mcp.operations.parts import Parts
from ops_mcp.operations.undoing import lose_sight, start_undo, undo
from ops_mcp.store import deployments, operations
from ops_mcp.store.database import Transaction
from ops_mcp.store.operations import Entry


async def run(operation: Operation, parts: Parts) -> Deployment:
    """Carry an operation to its end, or to the step boundary at which the worker lets go of it.

    Raises `LeaseLost` when another worker has taken over, `Unavailable` when the journal cannot be written; both leave the
    journal as it was, and whoever runs the operation next goes on from there.
    """
    deployment = await Course(operation, parts).present()
    resumed = deployment.state is not DeploymentState.queued
    while not is_final(deployment.state) and not parts.reins.pulled:
        before = deployment.state
        course = Course(operation, parts, resumed=resumed)
        try:
            deployment = await _step(course, deployment)
        except Conflict:
            # A newer release has ended this one's watch in the meantime; anything else is a mistake that must be seen.
            deployment = await course.present()
            if deployment.state is before:
                raise
        resumed = False
    return deployment


async def _step(course: Course, deployment: Deployment) -> Deployment:
    match deployment.state:
        case DeploymentState.queued:
            return await begin(course, deployment)
        case DeploymentState.releasing:
            return await _release(course, deployment)
        case DeploymentState.verifying:
            return await _verify(course, deployment)
        case DeploymentState.watching:
            return await _watch(course, deployment)
        case DeploymentState.undoing:
            return await undo(course, deployment)
        case (
            DeploymentState.healthy
            | DeploymentState.superseded
            | DeploymentState.rolled_back
            | DeploymentState.down
            | DeploymentState.failed
            | DeploymentState.cancelled
            | DeploymentState.unknown
            | DeploymentState.applied
        ):
            return deployment
        case _:
            assert_never(deployment.state)


async def _release(course: Course, deployment: Deployment) -> Deployment:
    """Start the release once. After an interruption the provider is asked first what is really there.

    What a place does besides comes first, and may be all there is; it is idempotent and simply done again.
    """
    work = course.operation.plan.work
    if work is not None and work.act is not None and (ended := await act(course, deployment, work.act)) is not None:
        return ended
    if course.resumed and (ended := await _taken_up(course, deployment)) is not None:
        return ended
    try:
        observed = await ask_unless(
            lambda: put_in_place(course, deployment),
            course.stopped_by,
            course.parts,
            seconds=course.parts.patience.release_seconds,
            what="The release",
        )
    except Unavailable:
        raise
    except OpsError as error:
        return await start_undo(course, StepName.release, error.message, cause=Cause.release)
    if isinstance(observed, Cause):
        return await start_undo(course, StepName.release, _told(observed), cause=observed)
    return await _released(course, observed)


async def _taken_up(course: Course, deployment: Deployment) -> Deployment | None:
    """What became of a release that another run began; None when it is to be finished."""
    found = await observe(deployment.placement, course.parts, waits_out=True)
    if found.presence is Presence.unknown:
        return await lose_sight(course, StepName.release, f"The provider cannot say what became of it: {found.detail}")
    if found.presence is Presence.exited:
        return await start_undo(course, StepName.release, "It was started, and its process has ended.", cause=Cause.release)
    await course.write(Entry(StepName.release, "note", f"Taken up again; the provider reports: {found.presence}."))
    return None


async def _released(course: Course, observed: Observed) -> Deployment:
    at = course.parts.clock()
    return await course.write(
        Entry(StepName.release, "done", observed.detail, {"presence": observed.presence}),
        Entry(StepName.verify, "begun", data={"undo": course.undo_of(StepName.verify)}),
        change=lambda d: moved(
            Event.released,
            released_at=at,
            url=observed.url,
            handle=observed.handle or d.handle,
            usage=d.usage + observed.usage,
        )(d),
        beside=_now_serving,
    )


async def _verify(course: Course, deployment: Deployment) -> Deployment:
    """The first verdict. After an interruption the release gets the whole time again: nobody has looked at it meanwhile."""
    patience = course.parts.patience
    every = min(deployment.release.binding.health.interval_seconds, patience.verify_every_seconds)
    since = course.parts.clock() if course.resumed else deployment.released_at or course.parts.clock()
    verdict = await _judged(course, deployment, verify, since=since, every=every)
    match verdict:
        case Break():
            return await course.present()
        case Cause():
            return await start_undo(course, StepName.verify, _told(verdict), cause=verdict)
        case Judgement(standing=Standing.passed):
            at = course.parts.clock()
            return await course.write(
                Entry(StepName.verify, "done", verdict.why),
                Entry(StepName.watch, "begun", data={"undo": course.undo_of(StepName.watch)}),
                change=moved(Event.verified, health=HealthVerdict.healthy, verified_at=at),
                beside=_unlocked,
            )
        case Judgement():
            return await start_undo(course, StepName.verify, verdict.why, cause=Cause.health)


async def _watch(course: Course, deployment: Deployment) -> Deployment:
    every = deployment.release.binding.health.interval_seconds
    since = deployment.verified_at or course.parts.clock()
    verdict = await _judged(course, deployment, watch, since=since, every=every)
    match verdict:
        case Break():
            return await course.present()
        case Cause():
            return await start_undo(course, StepName.watch, _told(verdict), cause=verdict)
        case Judgement(standing=Standing.passed):
            return await course.write(
                Entry(StepName.watch, "done", verdict.why),
                Entry(StepName.done, "done"),
                change=moved(Event.watched, detail=verdict.why),
            )
        case Judgement():
            await course.write(Entry(StepName.watch, "note", f"Failing: {verdict.why}"), change=_failing)
            return await start_undo(course, StepName.watch, verdict.why, cause=Cause.health)


async def _judged(
    course: Course, deployment: Deployment, judge: Judge, *, since: datetime, every: float
) -> Judgement | Cause | Break:
    return await judged(deployment.placement, course.parts, judge, since=since, every=every, stop=course.interrupted_by)


def _told(cause: Cause) -> str:
    match cause:
        case Cause.kill:
            return "The agent was killed before the deployment was done."
        case Cause.cancel:
            return "It was cancelled."
        case Cause.health | Cause.release:
            return "It failed."


def _failing(deployment: Deployment) -> Deployment:
    """The stored verdict of the watch. A watch that was superseded meanwhile has no verdict any more."""
    if deployment.state is not DeploymentState.watching:
        raise Conflict(f"{deployment.id} is {deployment.state}.", hint="Its watch is over.")
    return deployment.evolve(health=HealthVerdict.failing)


def _now_serving(tx: Transaction, deployment: Deployment) -> None:
    deployments.serve(tx, deployment)


def _unlocked(tx: Transaction, deployment: Deployment) -> None:
    operations.unlock(tx, deployment.id)
