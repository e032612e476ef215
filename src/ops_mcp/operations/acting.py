"""What a deployment asks of its place: to put a release there, or to do what a place does besides."""

from typing import assert_never

from ops_mcp.deploying.states import Event
from ops_mcp.domain.releases import (
    Act,
    Deployment,
    DeploymentKind,
    Observed,
    Placement,
    Presence,
    Provision,
    SetVariable,
    StepName,
)
from ops_mcp.errors import DeadlineExceeded, OpsError, Unavailable, Unsupported
from ops_mcp.operations.asking import ask_unless
from ops_mcp.operations.beginning import snapshot_in
from ops_mcp.operations.course import Course, moved
from ops_mcp.operations.telling import Telling
from ops_mcp.operations.undoing import lose_sight
from ops_mcp.ports import Promotes, Provider, Provisions, Scales, Tell, Variables
from ops_mcp.store.operations import Entry


async def put_in_place(course: Course, deployment: Deployment) -> Observed:
    """Have the release put in place. A restart starts the kept release anew under its own id, so that it, too, is done once."""
    provider = course.parts.provider(deployment.release)
    await course.still_ours()
    tell = Telling(course, StepName.release, deployment.id)
    present = (await course.present()).placement
    ends = await course.placement_of(snapshot_in(await course.journal()))
    match deployment.kind:
        case DeploymentKind.deploy | DeploymentKind.variable | DeploymentKind.provision:
            return await provider.deploy(present, replaces=ends, tell=tell)
        case DeploymentKind.promote:
            return await _promote(course, provider, present, ends, tell)
        case DeploymentKind.rollback | DeploymentKind.restart:
            return await provider.rollback(present, restores=await _kept(course, present), ends=ends, tell=tell)
        case DeploymentKind.scale:
            if not isinstance(provider, Scales):
                raise Unsupported(f"{provider.kind} cannot scale.", hint="Change the binding and deploy.")
            return await provider.scale(present, restores=await _kept(course, present), tell=tell)
        case _:
            assert_never(deployment.kind)


async def act(course: Course, deployment: Deployment, wanted: Act) -> Deployment | None:
    """Do what the place does besides. The ended deployment; None when a release is to follow."""
    try:
        done = await ask_unless(
            lambda: _act(course, deployment, wanted),
            course.stopped_by,
            course.parts,
            seconds=course.parts.patience.release_seconds,
            what="The place's own act",
        )
    except Unavailable:
        raise
    except DeadlineExceeded as error:
        return await lose_sight(course, StepName.release, error.message)
    except OpsError as error:
        return await _ended(course, Event.act_failed, error.message)
    if not isinstance(done, Observed):
        return await _ended(course, Event.act_stopped, f"It was stopped ({done.value}); what it did until then stands.")
    if isinstance(wanted, SetVariable) and wanted.redeploy:
        await course.write(Entry(StepName.release, "note", done.detail), change=lambda d: d.evolve(usage=d.usage + done.usage))
        return None
    return await course.write(
        Entry(StepName.release, "done", done.detail),
        change=lambda d: moved(Event.applied, detail=done.detail, usage=d.usage + done.usage, url=done.url)(d),
    )


async def _promote(course: Course, provider: Provider, placement: Placement, replaces: Placement | None, tell: Tell) -> Observed:
    work = course.operation.plan.work
    origin = await course.placement_of(work.origin) if work else None
    if origin is None or not isinstance(provider, Promotes):
        return await provider.deploy(placement, replaces=replaces, tell=tell)
    return await provider.promote(placement, origin=origin, replaces=replaces, tell=tell)


async def _kept(course: Course, placement: Placement) -> Placement:
    """The deployment whose release is put back, with the place's own name for it."""
    work = course.operation.plan.work
    return await course.placement_of(work.restores if work else None) or placement


async def _act(course: Course, deployment: Deployment, wanted: Act) -> Observed:
    provider = course.parts.provider(deployment.release)
    await course.still_ours()
    match wanted:
        case SetVariable():
            if not isinstance(provider, Variables):
                raise Unsupported(
                    f"{provider.kind} keeps no variables of its own.", hint="An operator changes the binding's env."
                )
            usage = await provider.set_variable(deployment.release.binding, wanted)
            said = f"{wanted.name} is set; it is taken up by the next release."
            return Observed(deployment=deployment.id, presence=Presence.unknown, usage=usage, detail=said)
        case Provision():
            if not isinstance(provider, Provisions):
                raise Unsupported(f"{provider.kind} provisions nothing.", hint="An operator makes it by hand.")
            tell = Telling(course, StepName.release, deployment.id)
            known = (await course.present()).handle
            return await provider.provision(deployment.release.binding, wanted, handle=known, tell=tell)
        case _:
            assert_never(wanted)


async def _ended(course: Course, event: Event, why: str) -> Deployment:
    """Nothing serves because of it, so there is nothing to undo."""
    return await course.write(Entry(StepName.release, "failed", why, {"cause": "act"}), change=moved(event, detail=why))
