"""Railway's world in memory: projects, environments, services, and deployments that come and go by the clock.

What happens is put on an agenda and happens when its moment has come, in order, whoever looks first.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal

from sandbox.railway.clock import Clock

MAKING = frozenset({"INITIALIZING", "QUEUED", "WAITING", "NEEDS_APPROVAL", "BUILDING", "DEPLOYING"})
Fate = Literal["runs", "fails_build", "fails_health", "crashes", "completes", "sleeps", "waits_for_approval", "skipped", "stuck"]


class NotAuthorized(Exception):
    """Said of what is foreign, and of what is not there."""


class Refused(Exception):
    """An error in Railway's own words."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a commit or image behaves. Seconds; `after` is when it crashes, completes or falls asleep, counted from being up.

    `healthy` is whether the running service answers its health path with 200.
    """

    fate: Fate = "runs"
    initializing: float = 2.0
    queued: float = 0.0
    build: float = 40.0
    deploy: float = 5.0
    after: float = 30.0
    healthy: bool = True
    says: tuple[str, ...] = ()
    builds_saying: tuple[str, ...] = ("installing", "compiled")


@dataclass(slots=True)
class Happening:
    """One step of a deployment, as `deploymentEvents` tells it."""

    step: str
    began: datetime
    ended: datetime | None = None


@dataclass(slots=True)
class Printed:
    """One log line. `at` has microseconds; what is told has nanoseconds."""

    at: datetime
    text: str
    level: str = "info"
    instance: str | None = None


@dataclass(slots=True)
class Deployment:
    id: str
    project: str
    environment: str
    service: str
    created_at: datetime
    commit: str | None
    image: str | None
    variables: dict[str, str]
    reason: str
    status: str = "INITIALIZING"
    status_updated_at: datetime | None = None
    stopped: bool = False
    was_up: bool = False
    built_at: datetime | None = None
    instance_status: str = "CREATED"
    tells_content_at: datetime | None = None
    steps: list[Happening] = field(default_factory=list[Happening])
    lines: list[Printed] = field(default_factory=list[Printed])
    build_lines: list[Printed] = field(default_factory=list[Printed])
    life: int = 0

    @property
    def content(self) -> str:
        return self.commit or self.image or ""


@dataclass(slots=True)
class Instance:
    """A service in one environment."""

    service: str
    name: str
    environment: str
    project: str
    image: str | None = None
    repo: str | None = None
    variables: dict[str, str] = field(default_factory=dict[str, str])
    active: str | None = None
    domain: str | None = None


@dataclass(slots=True)
class Workflow:
    ends_at: datetime
    known_at: datetime
    services: tuple[str, ...]
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token opens: a project token one environment, a workspace token every project of the workspace."""

    workspace: str
    project: str | None = None
    environment: str | None = None


@dataclass
class World:
    """All of it. `retention` is how long an image is kept; `log_lag` how much later a line is told than it was printed.

    `lingers` is how long what was replaced still shows SUCCESS, `restart_shows_after` how long what is restarted does.
    """

    clock: Clock
    commits: dict[str, Behaviour] = field(default_factory=dict[str, Behaviour])
    any_commit: bool = False
    retention: timedelta = timedelta(hours=72)
    log_lag: float = 0.0
    overlap: float = 5.0
    rollback_seconds: float = 6.0
    restart_seconds: float = 4.0
    restart_shows_after: float = 0.0
    lingers: float = 0.0
    workflow_seconds: float = 8.0
    workflow_fails: bool = False
    shows_new_after: float = 0.0
    shows_id_after: float = 0.0
    tells_content_after: float = 0.0
    base_url: str | None = None
    tokens: dict[str, Scope] = field(default_factory=dict[str, Scope])
    projects: dict[str, str] = field(default_factory=dict[str, str])
    environments: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    instances: dict[tuple[str, str], Instance] = field(default_factory=dict[tuple[str, str], Instance])
    deployments: dict[str, Deployment] = field(default_factory=dict[str, Deployment])
    workflows: dict[str, Workflow] = field(default_factory=dict[str, Workflow])
    templates: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    deeds: list[str] = field(default_factory=list[str])
    """Everything that was really done, in order: what a client did twice stands here twice."""

    def __post_init__(self) -> None:
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._numbers = count(1)
        self._now: datetime | None = None

    # Making the world

    def new_id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers):04d}"

    def add_project(self, project: str, *, workspace: str = "ws-1", environments: tuple[str, ...] = ()) -> None:
        self.projects[project] = workspace
        for environment in environments:
            self.environments[environment] = (project, environment.removeprefix(f"{project}-"))

    def add_service(self, service: str, *, project: str, name: str, image: str | None = None) -> None:
        """In every environment of the project."""
        for environment, (owner, _) in self.environments.items():
            if owner == project:
                repo = None if image else f"acme/{name}"
                self.instances[service, environment] = Instance(
                    service, name, environment, project, image, repo, domain=f"{name}-{environment}.up.railway.app"
                )

    # Passing of time

    @property
    def now(self) -> datetime:
        """The moment of what is happening, or the present one."""
        return self._now or self.clock()

    def settle(self) -> None:
        """Let everything happen whose moment has come."""
        present = self.clock()
        while self._agenda and self._agenda[0][0] <= present:
            at, _, act = heapq.heappop(self._agenda)
            self._now = at
            try:
                act()
            finally:
                self._now = None

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + timedelta(seconds=seconds), next(self._numbers), act))

    # Deployments

    def deploy(self, instance: Instance, commit: str | None, *, reason: str = "deploy") -> Deployment:
        if instance.image is None:
            if commit is None:
                raise Refused("Commit not found")
            if commit not in self.commits and not self.any_commit:
                raise Refused("Commit not found")
        made = self._make(instance, commit if instance.image is None else None, instance.image, dict(instance.variables), reason)
        self.deeds.append(f"deploy {made.content[:12]} in {instance.environment}")
        behaviour = self.behaviour(made)
        life = made.life
        self._then(made, life, behaviour.initializing, lambda: self._queue(made, behaviour))
        return made

    def rollback(self, old: Deployment) -> Deployment:
        if not self.can_rollback(old):
            raise Refused("This deployment cannot be rolled back to")
        instance = self.instances[old.service, old.environment]
        instance.variables = dict(old.variables)
        made = self._make(instance, old.commit, old.image, dict(old.variables), "rollback")
        made.built_at = old.built_at
        self.deeds.append(f"rollback {made.content[:12]} in {instance.environment}")
        life = made.life
        self._then(made, life, 1.0, lambda: self._start(made, self.behaviour(made), self.rollback_seconds))
        return made

    def restart(self, found: Deployment) -> None:
        if found.status not in {"SUCCESS", "CRASHED", "SLEEPING"}:
            raise Refused("Deployment is not restartable")
        self.deeds.append(f"restart {found.id}")
        found.life += 1
        found.stopped = False
        self._then(found, found.life, self.restart_shows_after, lambda: self._begin_anew(found))

    def stop(self, found: Deployment) -> None:
        self.deeds.append(f"stop {found.id}")
        if found.status in {"SUCCESS", "SLEEPING", "CRASHED"}:
            found.life += 1
            found.stopped = True
            self._enter(found, "SUCCESS", instance="STOPPED")
            self._inactive(found)

    def cancel(self, found: Deployment) -> None:
        if found.status not in MAKING:
            raise Refused("Deployment is not in progress")
        self.deeds.append(f"cancel {found.id}")
        found.life += 1
        self._enter(found, "REMOVED", instance="REMOVED")

    def set_variable(self, instance: Instance, name: str, value: str, *, skip_deploys: bool) -> None:
        self.deeds.append(f"variable {name} in {instance.environment}")
        instance.variables[name] = value
        active = self.deployments.get(instance.active or "")
        if not skip_deploys and active is not None:
            self.deploy(instance, active.commit, reason="variable")
            self.deeds.append("redeploy because of a variable")

    def can_rollback(self, found: Deployment) -> bool:
        instance = self.instances.get((found.service, found.environment))
        active = instance is not None and instance.active == found.id and found.status == "SUCCESS" and not found.stopped
        kept = found.built_at is not None and self.now - found.built_at < self.retention
        return found.was_up and kept and not active and found.status not in MAKING | {"REMOVING"}

    def behaviour(self, found: Deployment) -> Behaviour:
        return self.commits.get(found.content, Behaviour())

    def of_service(self, service: str, environment: str) -> list[Deployment]:
        """Newest first, those that the list shows already."""
        shown = self.now - timedelta(seconds=self.shows_new_after)
        found = [d for d in self.deployments.values() if (d.service, d.environment) == (service, environment)]
        return sorted((d for d in found if d.created_at <= shown), key=lambda d: (d.created_at, d.id), reverse=True)

    # Templates

    def deploy_template(self, project: str, environment: str, config: dict[str, Any]) -> str:
        made = self.new_id("workflow")
        services = tuple(str(service["name"]) for service in config["services"].values())
        self.deeds.append(f"template {' '.join(services)} in {environment}")
        ends = self.now + timedelta(seconds=self.workflow_seconds)
        self.workflows[made] = Workflow(ends, self.now + timedelta(seconds=1), services, self.workflow_fails)
        if not self.workflow_fails:
            self.after(self.workflow_seconds, lambda: self._services_made(project, environment, config))
        return made

    def create_service(self, project: str, environment: str, name: str) -> str:
        if any(i.name == name and i.environment == environment for i in self.instances.values()):
            raise Refused("A service with that name already exists")
        self.deeds.append(f"service {name} in {environment}")
        service = self.new_id("service")
        self.instances[service, environment] = Instance(service, name, environment, project)
        return service

    # Steps of a life

    def _make(
        self, instance: Instance, commit: str | None, image: str | None, variables: dict[str, str], reason: str
    ) -> Deployment:
        made = Deployment(
            self.new_id("deployment"),
            instance.project,
            instance.environment,
            instance.service,
            self.now,
            commit,
            image,
            variables,
            reason,
            status_updated_at=self.now,
            tells_content_at=self.now + timedelta(seconds=self.tells_content_after),
        )
        self.deployments[made.id] = made
        return made

    def _queue(self, made: Deployment, behaviour: Behaviour) -> None:
        if behaviour.fate == "skipped":
            self._enter(made, "SKIPPED", instance="SKIPPED")
            return
        if behaviour.fate == "waits_for_approval":
            self._enter(made, "NEEDS_APPROVAL")
            return
        if behaviour.queued:
            self._enter(made, "QUEUED")
        self._then(made, made.life, behaviour.queued, lambda: self._build(made, behaviour))

    def _build(self, made: Deployment, behaviour: Behaviour) -> None:
        if made.image is not None:
            made.built_at = self.now
            self._start(made, behaviour, behaviour.deploy)
            return
        self._enter(made, "BUILDING")
        made.steps += [Happening("SNAPSHOT_CODE", self.now, self.now), Happening("BUILD_IMAGE", self.now)]
        made.build_lines += [Printed(self.now + timedelta(milliseconds=i), t) for i, t in enumerate(behaviour.builds_saying)]
        if behaviour.fate != "stuck":
            self._then(made, made.life, behaviour.build, lambda: self._built(made, behaviour))

    def _built(self, made: Deployment, behaviour: Behaviour) -> None:
        if behaviour.fate == "fails_build":
            made.build_lines.append(Printed(self.now, "the build failed", "error"))
            self._enter(made, "FAILED")
            return
        made.steps[-1].ended = self.now
        made.built_at = self.now
        self._start(made, behaviour, behaviour.deploy)

    def _start(self, made: Deployment, behaviour: Behaviour, seconds: float) -> None:
        self._enter(made, "DEPLOYING", instance="INITIALIZING")
        made.steps.append(Happening("HEALTHCHECK", self.now))
        if behaviour.fate == "fails_health":
            made.lines.append(Printed(self.now, "listening nowhere", "error", made.id))
            self._then(made, made.life, seconds, lambda: self._enter(made, "FAILED", instance="CRASHED"))
            return
        self._then(made, made.life, seconds, lambda: self._up(made, behaviour))

    def _up(self, made: Deployment, behaviour: Behaviour) -> None:
        if made.steps and made.steps[-1].ended is None:
            made.steps[-1].ended = self.now
        self._enter(made, "SUCCESS", instance="RUNNING")
        made.was_up = True
        for number, text in enumerate((f"started {made.content[:12]}", *behaviour.says)):
            made.lines.append(Printed(self.now + timedelta(milliseconds=number), text, "info", made.id))
        instance = self.instances[made.service, made.environment]
        older = self.deployments.get(instance.active or "")
        instance.active = made.id
        if older is not None and older.id != made.id:
            self._replace(older)
        self._go_on(made, behaviour)

    def _go_on(self, made: Deployment, behaviour: Behaviour) -> None:
        match behaviour.fate:
            case "crashes":
                self._then(made, made.life, behaviour.after, lambda: self._crash(made))
            case "completes":
                self._then(made, made.life, behaviour.after, lambda: self._complete(made))
            case "sleeps":
                self._then(made, made.life, behaviour.after, lambda: self._enter(made, "SLEEPING", instance="STOPPED"))
            case _:
                pass

    def _begin_anew(self, found: Deployment) -> None:
        self._enter(found, "DEPLOYING", instance="RESTARTING")
        self._then(found, found.life, self.restart_seconds, lambda: self._up(found, self.behaviour(found)))

    def _crash(self, made: Deployment) -> None:
        made.lines.append(Printed(self.now, "panic: out of luck", "error", made.id))
        self._enter(made, "CRASHED", instance="CRASHED")

    def _complete(self, made: Deployment) -> None:
        made.stopped = True
        self._enter(made, "SUCCESS", instance="EXITED")

    def _replace(self, older: Deployment) -> None:
        """What served before leaves only after the new one is active. It sends no news of a life that is over."""
        older.life += 1
        if older.status in {"FAILED", "REMOVED"}:
            return
        self._then(older, older.life, self.lingers, lambda: self._enter(older, "REMOVING", instance="REMOVING"))
        gone_after = self.lingers + self.overlap
        self._then(older, older.life, gone_after, lambda: self._enter(older, "REMOVED", instance="REMOVED"))

    def _inactive(self, found: Deployment) -> None:
        instance = self.instances[found.service, found.environment]
        if instance.active == found.id:
            instance.active = None

    def _services_made(self, project: str, environment: str, config: dict[str, Any]) -> None:
        for service in config["services"].values():
            made = self.new_id("service")
            variables = {name: str(v.get("value") or "") for name, v in service.get("variables", {}).items()}
            image = service.get("source", {}).get("image")
            self.instances[made, environment] = Instance(
                made, str(service["name"]), environment, project, image=image, variables=variables
            )

    def _enter(self, found: Deployment, status: str, *, instance: str | None = None) -> None:
        found.status, found.status_updated_at = status, self.now
        if instance is not None:
            found.instance_status = instance

    def _then(self, found: Deployment, life: int, seconds: float, act: Callable[[], None]) -> None:
        """Later in the same life: a cancel, a restart or a removal begins another one, to which it does not belong."""

        def happen() -> None:
            if found.life == life:
                act()

        self.after(seconds, happen)
