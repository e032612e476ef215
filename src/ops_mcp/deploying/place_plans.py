"""Builders of plans for what a place may be able to do besides: promote, scale, set a variable, provision. They do nothing."""

import json
from typing import NamedTuple

from ops_mcp.deploying.plans import replicas_kept
from ops_mcp.deploying.steps import (
    NOTHING,
    Asked,
    Place,
    Told,
    act_plan,
    called,
    changed_binding,
    check_expected,
    deploy_warnings,
    describe,
    healthy_now,
    runtime_plan,
)
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentKind,
    HealthVerdict,
    Plan,
    Provision,
    Release,
    SetVariable,
    Work,
)
from ops_mcp.errors import Conflict


class Source(NamedTuple):
    """Where a promoted release comes from: what serves there, its content as the target names it, and whether the place takes it
    over `as_built`, without building it again."""

    environment: str
    serving: Deployment | None
    content: Content | None = None
    as_built: bool = False


def promote_plan(asked: Asked, *, source: Source, binding: Binding, place: Place) -> Plan:
    """Put what serves healthy elsewhere in place of what serves here. Raises `Conflict` when nothing healthy serves there."""
    check_expected(asked, place.serving)
    origin = healthy_origin(source, binding.service)
    content = source.content or origin.release.content
    release = Release(content=content, binding=binding, replicas=replicas_kept(place, binding))
    work = Work(
        kind=DeploymentKind.promote,
        release=release,
        back_to=back.id if (back := healthy_now(place)) else None,
        replaces=place.serving.id if place.serving else None,
        origin=origin.id if source.as_built else None,
    )
    how = "Put in place, as it was built," if source.as_built else "Build and start"
    told = Told(
        f"Promote {binding.service} from {source.environment}, {describe(origin)}, to {binding.environment},"
        f" replacing {describe(place.serving)}.",
        f"{how} {called(content)}, which {origin.id} runs in {source.environment}, ending {work.replaces or NOTHING}.",
        _promote_warnings(release, origin, place),
    )
    return runtime_plan(asked, work, place, told)


def healthy_origin(source: Source, service: str) -> Deployment:
    """What is promoted. Raises `Conflict` where nothing healthy serves."""
    if source.serving is None:
        raise Conflict(
            f"Nothing serves {service} in {source.environment}, so there is nothing to promote.",
            hint=f"Deploy it to {source.environment} first; `deployments` lists what ran where.",
        )
    if source.serving.health is not HealthVerdict.healthy:
        raise Conflict(
            f"{source.serving.id}, which serves {service} in {source.environment}, is {source.serving.health.value}.",
            hint="Promote once `deployment` shows it healthy.",
        )
    return source.serving


def scale_plan(asked: Asked, *, replicas: int, binding: Binding, place: Place) -> Plan:
    """Run what serves `replicas` times. Raises `Conflict` when nothing serves, or it serves at another provider."""
    check_expected(asked, place.serving)
    serving = _serving(place, binding, hint="Use `deploy` to start it.")
    work = Work(
        kind=DeploymentKind.scale,
        release=serving.release.evolve(replicas=replicas),
        back_to=serving.id,
        restores=serving.id,
        replaces=serving.id,
    )
    told = Told(
        f"Scale {binding.service} in {binding.environment} to {_times(replicas)}: {describe(serving)}.",
        f"Bring {serving.id} from {_times(serving.release.replicas)} to {_times(replicas)}; content and configuration stay.",
        _scale_warnings(serving, replicas) + changed_binding(serving.release, binding, kept_by="scaling"),
    )
    return runtime_plan(asked, work, place, told)


def variable_plan(asked: Asked, *, wanted: SetVariable, binding: Binding, place: Place) -> Plan:
    """Set one variable; with `redeploy` release what serves once more, so that it takes effect now.

    Raises `Conflict` when it is to be redeployed and nothing serves, or it serves at another provider.
    """
    if wanted.redeploy:
        return _variable_at_once(asked, wanted, binding, place)
    serving = place.serving
    content = serving.release.content if serving else Content(identity="variables")
    work = Work(kind=DeploymentKind.variable, release=Release(content=content, binding=binding), act=wanted)
    told = Told(
        f"Set the variable {wanted.name} of {binding.service} in {binding.environment}, for its next release.",
        f"Set {_set(wanted)}. What runs now is not touched.",
        undo=_VARIABLE_UNDO,
    )
    return act_plan(asked, work, place, told)


def provision_plan(asked: Asked, *, wanted: Provision, binding: Binding, place: Place) -> Plan:
    """Make something beside a bound service, in its project and environment."""
    content = Content(identity=f"provision {wanted.template} {wanted.name}")
    work = Work(kind=DeploymentKind.provision, release=Release(content=content, binding=binding), act=wanted)
    what = "an empty service" if wanted.template == "empty" else f"a {wanted.template} database"
    told = Told(
        f"Provision {what} named {wanted.name} beside {binding.service} in {binding.environment}.",
        f"Make {what} named {wanted.name} at {binding.provider}, unless one of that name is there. What runs now is not touched.",
        (f"What is made costs money at {binding.provider} until a person removes it there.",),
        undo="Nothing is removed by itself: what was made stays until a person removes it.",
    )
    return act_plan(asked, work, place, told)


def _variable_at_once(asked: Asked, wanted: SetVariable, binding: Binding, place: Place) -> Plan:
    serving = _serving(place, binding, hint="Leave redeploy out: the next release takes the variable up.")
    work = Work(
        kind=DeploymentKind.variable,
        release=serving.release,
        back_to=back.id if (back := healthy_now(place)) else None,
        replaces=serving.id,
        act=wanted,
    )
    told = Told(
        f"Set the variable {wanted.name} of {binding.service} in {binding.environment}, releasing {describe(serving)} anew.",
        f"Set {_set(wanted)}, then build and start {called(serving.release.content)} again, ending {serving.id}.",
        _unhealthy(serving) + changed_binding(serving.release, binding, kept_by="this"),
        undo=_VARIABLE_UNDO,
    )
    return runtime_plan(asked, work, place, told)


_VARIABLE_UNDO = (
    "The variable keeps its new value: the place may not tell the old one, so it cannot be put back. Set it again if it is known."
)


def _serving(place: Place, binding: Binding, *, hint: str) -> Deployment:
    serving = place.serving
    if serving is None:
        raise Conflict(f"Nothing serves {binding.service} in {binding.environment}.", hint=hint)
    at = serving.release.binding.provider
    if at != binding.provider:
        raise Conflict(
            f"{serving.id} runs at {at}, and {binding.service} in {binding.environment} is now bound to {binding.provider}.",
            hint="Use `deploy` first; then what serves is where the binding says.",
        )
    return serving


def _promote_warnings(release: Release, origin: Deployment, place: Place) -> tuple[str, ...]:
    warnings = deploy_warnings(release, place)
    here = place.serving.release if place.serving else None
    if place.serving and here and here.content.identity == release.content.identity and here.digest != release.digest:
        warnings += (f"{place.serving.id} already serves this content, with another configuration.",)
    if release.content.identity != origin.release.content.identity:
        warnings += (f"{origin.id} runs it as {called(origin.release.content)}; here it is built anew.",)
    return warnings


def _scale_warnings(serving: Deployment, replicas: int) -> tuple[str, ...]:
    same = (f"{serving.id} was asked to run that often already.",) if serving.release.replicas == replicas else ()
    return _unhealthy(serving) + same


def _unhealthy(serving: Deployment) -> tuple[str, ...]:
    healthy = serving.health is HealthVerdict.healthy
    return () if healthy else (f"What serves now, {serving.id}, is {serving.health.value}.",)


def _set(wanted: SetVariable) -> str:
    """A secret by its name; a value as JSON, whose escapes leave nothing for a reader to be misled by."""
    return f"{wanted.name} to " + (f"the secret {wanted.secret}" if wanted.value is None else json.dumps(wanted.value))


def _times(replicas: int | None) -> str:
    match replicas:
        case None:
            return "as many replicas as its binding says"
        case 1:
            return "1 replica"
        case _:
            return f"{replicas} replicas"
