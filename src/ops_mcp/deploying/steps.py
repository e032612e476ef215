"""The steps of a plan with their undo, the words for them, and what every plan checks first."""

from typing import NamedTuple

from ops_mcp.domain.calls import Cost
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import Content, Deployment, HealthVerdict, Plan, Release, Step, StepName, Work
from ops_mcp.errors import Conflict
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
    that of `current`.
    """

    serving: Deployment | None
    last_healthy: Deployment | None
    running: Deployment | None = None

    @property
    def current(self) -> Deployment | None:
        """What going back goes back from."""
        return current_of(self.running, self.serving)


def current_of(running: Deployment | None, serving: Deployment | None) -> Deployment | None:
    """A release on its way, else what serves: an act that leaves alone what runs says nothing about it."""
    return running if running is not None and running.releases else serving


class Told(NamedTuple):
    """What a plan says in prose. `undo` is what the undo of the release does besides going back."""

    summary: str
    does: str
    warnings: tuple[str, ...] = ()
    undo: str = ""


def runtime_plan(asked: Asked, work: Work, place: Place, told: Told) -> Plan:
    """A plan that puts a release in place: checked, verified, watched, and undone by going back."""
    return _plan(asked, work, place, told, steps=_steps(work, place, told))


def act_plan(asked: Asked, work: Work, place: Place, told: Told) -> Plan:
    """A plan that leaves what runs alone: nothing to verify, and no way back."""
    steps = (_CHECK, Step(name=StepName.release, does=told.does, undo=told.undo))
    return _plan(asked, work, place, told, steps=steps)


def target_state(serving: Deployment | None) -> str:
    """What a plan expects to find: the serving deployment and its release, or nothing."""
    return f"{serving.id} {serving.release.digest}" if serving else NOTHING


def check_expected(asked: Asked, current: Deployment | None) -> None:
    """Raises `Conflict` where the caller expected something else to be current."""
    expected = asked.expected_current
    if expected is None:
        return
    names = {current.id, current.release.content.identity, current.release.digest} if current else {NOTHING}
    if expected in names:
        return
    actual = current.id if current else NOTHING
    raise Conflict(
        f"expected_current does not hold: {describe(current)} is current.",
        hint="Look at `deployments`, decide again, and pass the present deployment id (or `nothing`) as expected_current.",
        details={"actual": actual, "identity": current.release.content.identity if current else None},
    )


def healthy_now(place: Place) -> Deployment | None:
    """The last healthy release of all: what serves, if it is healthy, else the one before."""
    serving = place.serving
    return serving if serving is not None and serving.health is HealthVerdict.healthy else place.last_healthy


def deploy_warnings(release: Release, place: Place) -> tuple[str, ...]:
    warnings: list[str] = []
    if place.serving and place.serving.release.digest == release.digest:
        warnings.append(f"{place.serving.id} already serves exactly this content and configuration.")
    if place.serving and place.serving.health is not HealthVerdict.healthy:
        warnings.append(f"What serves now, {place.serving.id}, is {place.serving.health.value}.")
    if healthy_now(place) is None:
        warnings.append("There is no healthy release to go back to: if this one fails it is stopped and the service is down.")
    return tuple(warnings)


def changed_binding(release: Release, binding: Binding, *, kept_by: str) -> tuple[str, ...]:
    if release.binding.digest == binding.digest:
        return ()
    return (
        f"The binding has changed since; {kept_by} keeps the configuration it was deployed with. Use `deploy` for the new one.",
    )


def describe(deployment: Deployment | None) -> str:
    return f"{deployment.id} ({called(deployment.release.content)})" if deployment else NOTHING


def called(content: Content) -> str:
    """Our own short name for content; the commit's subject is text from strangers and stays out."""
    short = content.identity[:19]
    return f"{content.ref} at {short}" if content.ref and content.ref != content.identity else short


def _plan(asked: Asked, work: Work, place: Place, told: Told, *, steps: tuple[Step, ...]) -> Plan:
    binding = work.release.binding
    return Plan(
        tool=asked.tool,
        agent=asked.agent,
        environment=EnvironmentName(binding.environment),
        service=ServiceName(binding.service),
        arguments=asked.arguments,
        summary=told.summary,
        content=work.release.content.identity,
        configuration=binding.digest,
        target_state=target_state(place.current),
        steps=steps,
        warnings=told.warnings,
        work=work,
        ceiling=asked.ceiling,
    )


_CHECK = Step(name=StepName.check, does="Check kill switch, freeze and lock once more.", undo="Nothing to undo.")


def _steps(work: Work, place: Place, told: Told) -> tuple[Step, ...]:
    health = work.release.binding.health
    undo = f"{_undo(work, place)} {told.undo}".strip()
    return (
        _CHECK,
        Step(name=StepName.snapshot, does="Note what serves now, and the way back.", undo="Nothing to undo."),
        Step(name=StepName.release, does=told.does, undo=undo),
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


def _undo(work: Work, place: Place) -> str:
    if work.back_to is None:
        return "Stop what was started; the service is then down."
    known = next((d for d in (place.last_healthy, place.serving, place.running) if d is not None and d.id == work.back_to), None)
    back = describe(known) if known else work.back_to
    if work.back_to == work.restores:
        return f"Put {back} back as it is now; verify it."
    return f"Stop what was started and put {back} back; verify it."
