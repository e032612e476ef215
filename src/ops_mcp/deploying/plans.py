"""Builders of plans that deploy, go back, restart and cancel. They decide and refuse; they do nothing."""

from datetime import datetime

from ops_mcp.deploying.states import is_final
from ops_mcp.deploying.steps import (
    NOTHING,
    Asked,
    Place,
    Told,
    called,
    changed_binding,
    check_expected,
    current_of,
    deploy_warnings,
    describe,
    healthy_now,
    runtime_plan,
    target_state,
)
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import Binding
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
    Work,
)
from ops_mcp.errors import Conflict, NotFound

__all__ = [
    "NOTHING",
    "Asked",
    "Place",
    "cancel_plan",
    "committed",
    "current_of",
    "deploy_plan",
    "is_recovery",
    "replicas_kept",
    "restart_plan",
    "rollback_plan",
    "target_state",
]


def deploy_plan(asked: Asked, *, content: Content, binding: Binding, place: Place) -> Plan:
    """Put `content` in place of what serves, as often as that runs. Raises `Conflict` when the caller expected something else
    to be current."""
    check_expected(asked, place.serving)
    release = Release(content=content, binding=binding, replicas=replicas_kept(place, binding))
    work = Work(
        kind=DeploymentKind.deploy,
        release=release,
        back_to=back.id if (back := healthy_now(place)) else None,
        replaces=place.serving.id if place.serving else None,
    )
    summary = f"Deploy {binding.service} {called(content)} to {binding.environment}, replacing {describe(place.serving)}."
    does = f"Build and start {called(content)}, ending {work.replaces or NOTHING}."
    return runtime_plan(asked, work, place, Told(summary, does, deploy_warnings(release, place)))


def replicas_kept(place: Place, binding: Binding) -> int | None:
    """What `scale` asked for outlives the release that it was asked of, at the same provider."""
    serving = place.serving
    return serving.release.replicas if serving and serving.release.binding.provider == binding.provider else None


def rollback_plan(asked: Asked, *, binding: Binding, place: Place, to: Deployment | None = None) -> Plan:
    """Put an earlier release back: `to` when the caller named one, else the last healthy one.

    While a deployment is on its way, that is what is rolled back: it is cancelled and undone first.
    Raises `Conflict` when there is nothing to go back to, or the one named never proved healthy here.
    """
    current = place.current
    check_expected(asked, current)
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
    told = Told(
        f"Roll {binding.service} in {binding.environment} back from {describe(current)} to {describe(target)}.",
        f"Start {called(target.release.content)} again as {work.restores} had it, ending {work.replaces or NOTHING}.",
        _rollback_warnings(target, place),
    )
    plan = runtime_plan(asked, work, place, told)
    return plan.model_copy(update={"recovery": is_recovery(target=target, place=place)})


def restart_plan(asked: Asked, *, place: Place, binding: Binding) -> Plan:
    """Start what serves once more, from what was kept. Raises `Conflict` when nothing serves."""
    check_expected(asked, place.serving)
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
    told = Told(
        f"Restart {binding.service} in {binding.environment}: {describe(place.serving)}.",
        f"End {work.replaces} and start the same release again.",
        changed_binding(place.serving.release, binding, kept_by="a restart"),
    )
    return runtime_plan(asked, work, place, told)


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
    current = place.current
    if current is None or place.last_healthy is None or current.recovery_used:
        return False
    return target.id == place.last_healthy.id and current.health is not HealthVerdict.healthy


def committed(
    plan: Plan, *, operation: OperationId, deployment: DeploymentId, call: str, reason: str, at: datetime
) -> tuple[Operation, Deployment]:
    """The rows that a plan with work becomes at its commit. Raises `NotFound` for a plan without work."""
    if plan.work is None or plan.service is None:
        raise NotFound(f"The plan of {plan.tool} carries no work.", hint="Only plans that change what runs become operations.")
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


def _rollback_warnings(target: Deployment, place: Place) -> tuple[str, ...]:
    warnings: list[str] = []
    if place.running:
        then = "cancelled and undone first" if place.running.releases else "cancelled, and what it did until then stands"
        warnings.append(f"{place.running.id} is on its way; it is {then}.")
    if place.serving and place.serving.release.digest == target.release.digest and not place.running:
        warnings.append(f"{place.serving.id} already serves exactly this content and configuration.")
    return tuple(warnings)
