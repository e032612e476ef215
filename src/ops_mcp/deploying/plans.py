"""Builders of plans: from what was looked up to the exact steps, each with its undo. They decide and refuse; they do nothing."""

from datetime import datetime
from typing import NamedTuple

from ops_mcp.deploying.states import is_final
from ops_mcp.domain.calls import Cost
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentId,
    DeploymentKind,
    HealthVerdict,
    Operation,
    OperationId,
    Plan,
    Release,
    RequestCancel,
    Step,
    StepName,
    Work,
)
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.values import JsonObject

NOTHING = "nothing"


class Asked(NamedTuple):
    """The call a plan is for. `arguments` are canonical, without dry_run, idempotency_key and reason."""

    tool: str
    agent: str
    arguments: JsonObject
    expected_current: str | None = None
    ceiling: Cost = Cost()


class Place(NamedTuple):
    """What was found at a service and environment: what serves, the last healthy one, and a deployment on its way.

    `running` is a deployment that is not final and has not yet passed verify. `last_healthy` is one whose release differs from
    that of `running`, or else of `serving`.
    """

    serving: Deployment | None
    last_healthy: Deployment | None
    running: Deployment | None = None


def deploy_plan(asked: Asked, *, content: Content, binding: Binding, place: Place) -> Plan:
    """Put `content` in place of what serves. Raises `Conflict` when the caller expected something else to be current."""
    _check_expected(asked, place.serving)
    release = Release(content=content, binding=binding)
    work = Work(
        kind=DeploymentKind.deploy,
        release=release,
        back_to=back.id if (back := _healthy_now(place)) else None,
        replaces=place.serving.id if place.serving else None,
    )
    summary = f"Deploy {binding.service} {_called(content)} to {binding.environment}, replacing {_describe(place.serving)}."
    return _runtime_plan(asked, work, place, summary=summary, warnings=_deploy_warnings(release, place))


def rollback_plan(asked: Asked, *, binding: Binding, place: Place, to: Deployment | None = None) -> Plan:
    """Put an earlier release back: `to` when the caller named one, else the last healthy one.

    While a deployment is on its way, that is what is rolled back: it is cancelled and undone first.
    Raises `Conflict` when there is nothing to go back to, or the one named never proved healthy here.
    """
    current = place.running or place.serving
    _check_expected(asked, current)
    target = to or place.last_healthy
    if target is None:
        raise Conflict(
            f"{binding.service} in {binding.environment} has no earlier healthy release to go back to.",
            hint="Deploy a known good ref with `deploy` instead; `deployments` lists what ran here.",
        )
    _check_target(target, binding, current)
    healthy_now = current is not None and current.health is HealthVerdict.healthy
    work = Work(
        kind=DeploymentKind.rollback,
        release=target.release,
        back_to=current.id if current is not None and healthy_now else None,
        restores=target.id,
        replaces=current.id if current else None,
    )
    plan = _runtime_plan(
        asked,
        work,
        place,
        summary=f"Roll {binding.service} in {binding.environment} back from {_describe(current)} to {_describe(target)}.",
        warnings=_rollback_warnings(target, place),
    )
    return plan.model_copy(update={"recovery": is_recovery(target=target, place=place)})


def restart_plan(asked: Asked, *, place: Place, binding: Binding) -> Plan:
    """Start what serves once more, from what was kept. Raises `Conflict` when nothing serves."""
    _check_expected(asked, place.serving)
    if place.serving is None:
        raise Conflict(
            f"Nothing serves {binding.service} in {binding.environment}, so there is nothing to restart.",
            hint="Use `deploy` to start it.",
        )
    other = place.last_healthy
    work = Work(
        kind=DeploymentKind.restart,
        release=place.serving.release,
        back_to=other.id if other else None,
        restores=place.serving.id,
        replaces=place.serving.id,
    )
    summary = f"Restart {binding.service} in {binding.environment}: {_describe(place.serving)}."
    return _runtime_plan(asked, work, place, summary=summary, warnings=_changed_binding(place.serving.release, binding))


def cancel_plan(asked: Asked, *, deployment: Deployment) -> Plan:
    """Ask for a running deployment to be cancelled and undone. Raises `Conflict` when it has ended."""
    if is_final(deployment.state):
        raise Conflict(
            f"{deployment.id} has ended: it is {deployment.state.value}.",
            hint="Use `rollback` to replace what serves now.",
        )
    return Plan(
        tool=asked.tool,
        agent=asked.agent,
        environment=deployment.environment,
        service=deployment.service,
        target=deployment.id,
        arguments=asked.arguments,
        summary=f"Cancel {deployment.id} of {deployment.service} in {deployment.environment} and undo what it has done.",
        content=deployment.release.content.identity,
        configuration=deployment.release.binding.digest,
        writes=(RequestCancel(deployment=deployment.id),),
        ceiling=asked.ceiling,
    )


def is_recovery(*, target: Deployment, place: Place) -> bool:
    """Whether going back to `target` is the one exempt rollback of what is there now.

    It is when the target is the last healthy release, what is there is failing or unverified, and no rollback of it has been
    exempt before.
    """
    current = place.running or place.serving
    if current is None or place.last_healthy is None or current.recovery_used:
        return False
    return target.id == place.last_healthy.id and current.health is not HealthVerdict.healthy


def target_state(serving: Deployment | None) -> str:
    """What a plan expects to find: the serving deployment and its release, or nothing."""
    return f"{serving.id} {serving.release.digest}" if serving else NOTHING


def committed(
    plan: Plan, *, operation: OperationId, deployment: DeploymentId, call: str, reason: str, at: datetime
) -> tuple[Operation, Deployment]:
    """The rows that a plan with work becomes at its commit. Raises `NotFound` for a plan without work."""
    if plan.work is None or plan.service is None:
        raise NotFound(f"The plan of {plan.tool} carries no work.", hint="Only deploy, rollback and restart become operations.")
    return (
        Operation(id=operation, deployment=deployment, call=call, agent=AgentName(plan.agent), plan=plan),
        Deployment(
            id=deployment,
            operation=operation,
            kind=plan.work.kind,
            service=plan.service,
            environment=plan.environment,
            agent=plan.agent,
            release=plan.work.release,
            previous=plan.work.replaces,
            created_at=at,
            reason=reason,
        ),
    )


def _runtime_plan(asked: Asked, work: Work, place: Place, *, summary: str, warnings: tuple[str, ...]) -> Plan:
    binding = work.release.binding
    return Plan(
        tool=asked.tool,
        agent=asked.agent,
        environment=EnvironmentName(binding.environment),
        service=ServiceName(binding.service),
        arguments=asked.arguments,
        summary=summary,
        content=work.release.content.identity,
        configuration=binding.digest,
        target_state=target_state(place.running or place.serving),
        steps=_steps(work, place),
        warnings=warnings,
        work=work,
        ceiling=asked.ceiling,
    )


def _steps(work: Work, place: Place) -> tuple[Step, ...]:
    health = work.release.binding.health
    undo = _undo(work, place)
    return (
        Step(name=StepName.check, does="Check kill switch, freeze and lock once more.", undo="Nothing to undo."),
        Step(name=StepName.snapshot, does="Note what serves now, and the way back.", undo="Nothing to undo."),
        Step(name=StepName.release, does=_releases(work), undo=undo),
        Step(
            name=StepName.verify,
            does=f"Within {health.verify_seconds:g} s: {health.successes} healthy {health.probe.kind} probes in a row,"
            " answered by this release.",
            undo=undo,
        ),
        Step(
            name=StepName.watch,
            does=f"For {health.watch_seconds:g} s: undo on {health.failures} failed probes in a row, an exit or a restart.",
            undo=undo,
        ),
        Step(name=StepName.done, does="Report the release healthy.", undo="Use `rollback`."),
    )


def _releases(work: Work) -> str:
    content = _called(work.release.content)
    match work.kind:
        case DeploymentKind.deploy:
            return f"Build and start {content}, ending {work.replaces or NOTHING}."
        case DeploymentKind.rollback:
            return f"Start {content} again as {work.restores} had it, ending {work.replaces or NOTHING}."
        case DeploymentKind.restart:
            return f"End {work.replaces} and start the same release again."


def _undo(work: Work, place: Place) -> str:
    if work.back_to is None:
        return "Stop what was started; the service is then down."
    known = next((d for d in (place.last_healthy, place.serving, place.running) if d is not None and d.id == work.back_to), None)
    return f"Stop what was started and put {_describe(known) if known else work.back_to} back; verify it."


def _healthy_now(place: Place) -> Deployment | None:
    """The last healthy release of all: what serves, if it is healthy, else the one before."""
    serving = place.serving
    return serving if serving is not None and serving.health is HealthVerdict.healthy else place.last_healthy


def _check_expected(asked: Asked, current: Deployment | None) -> None:
    expected = asked.expected_current
    if expected is None:
        return
    names = {current.id, current.release.content.identity, current.release.digest} if current else {NOTHING}
    if expected in names:
        return
    actual = current.id if current else NOTHING
    raise Conflict(
        f"expected_current does not hold: {_describe(current)} is current.",
        hint="Look at `deployments`, decide again, and pass the present deployment id (or `nothing`) as expected_current.",
        details={"actual": actual, "identity": current.release.content.identity if current else None},
    )


def _check_target(target: Deployment, binding: Binding, current: Deployment | None) -> None:
    if (target.service, target.environment) != (binding.service, binding.environment):
        raise Conflict(
            f"{target.id} is no deployment of {binding.service} in {binding.environment}.",
            hint=f"Name a deployment of {binding.service} in {binding.environment}; `deployments` lists them.",
        )
    if current is not None and target.id == current.id:
        raise Conflict(f"{target.id} is what is there now.", hint="Use `restart` to start it again.")
    if target.verified_at is None or target.health is HealthVerdict.failing:
        raise Conflict(
            f"{target.id} cannot be gone back to: its release has not proved healthy.",
            hint="Name a deployment that `deployments` shows as healthy, or leave `to` out for the last healthy one.",
        )


def _deploy_warnings(release: Release, place: Place) -> tuple[str, ...]:
    warnings: list[str] = []
    if place.serving and place.serving.release.digest == release.digest:
        warnings.append(f"{place.serving.id} already serves exactly this content and configuration.")
    if place.serving and place.serving.health is not HealthVerdict.healthy:
        warnings.append(f"What serves now, {place.serving.id}, is {place.serving.health.value}.")
    if _healthy_now(place) is None:
        warnings.append("There is no healthy release to go back to: if this one fails it is stopped and the service is down.")
    return tuple(warnings)


def _rollback_warnings(target: Deployment, place: Place) -> tuple[str, ...]:
    warnings: list[str] = []
    if place.running:
        warnings.append(f"{place.running.id} is on its way; it is cancelled and undone first.")
    if place.serving and place.serving.release.digest == target.release.digest and not place.running:
        warnings.append(f"{place.serving.id} already serves exactly this content and configuration.")
    return tuple(warnings)


def _changed_binding(release: Release, binding: Binding) -> tuple[str, ...]:
    if release.binding.digest == binding.digest:
        return ()
    return (
        "The binding has changed since; a restart keeps the configuration it was deployed with. Use `deploy` for the new one.",
    )


def _describe(deployment: Deployment | None) -> str:
    return f"{deployment.id} ({_called(deployment.release.content)})" if deployment else NOTHING


def _called(content: Content) -> str:
    """Our own short name for content; the commit's subject is text from strangers and stays out."""
    short = content.identity[:19]
    return f"{content.ref} at {short}" if content.ref and content.ref != content.identity else short
