"""The world of a Vercel that never was: teams, projects, deployments that are built as time passes, and what production serves.

Nothing runs in the background. Every state follows from a clock that is passed in; `World.advance` carries out what has come due.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Literal

Plan = Literal["hobby", "pro", "enterprise"]
Site = Literal["ok", "errors", "breaks"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many seconds each stage takes."""

    queued: float = 2.0
    initializing: float = 3.0
    building: float = 30.0
    checking: float = 10.0
    assigning: float = 2.0
    job_pending: float = 1.0
    job: float = 4.0
    stages: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a commit's build goes, and how its site answers. `breaks` answers well for `breaks_after` seconds, then no more."""

    build: Literal["ok", "fails", "hangs"] = "ok"
    blocked: bool = False
    checks: Literal["none", "succeeded", "failed", "run on"] = "none"
    alias: Literal["ok", "fails"] = "ok"
    site: Site = "ok"
    breaks_after: float = 60.0
    output: tuple[str, ...] = ()
    error_message: str = 'Command "npm run build" exited with 1'
    building: float | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """What a token may: the personal account, some teams, reading only, or nothing until SAML was passed."""

    name: str
    teams: frozenset[str] = frozenset()
    personal: bool = True
    reads_only: bool = False
    needs_saml: bool = False
    hides_production: bool = False


@dataclass
class Team:
    id: str
    slug: str
    plan: Plan = "pro"


@dataclass
class Job:
    """A promotion or rollback on its way."""

    kind: Literal["promote", "rollback"]
    to: str
    came_from: str | None
    requested: float
    starts: float
    ends: float
    outcome: Literal["succeeded", "failed", "skipped"]
    done: bool = False

    def status(self, now: float) -> str:
        if now < self.starts:
            return "pending"
        return "in-progress" if now < self.ends else self.outcome


@dataclass
class Variable:
    id: str
    key: str
    value: str
    type: str
    target: list[str]
    customs: list[str]
    branch: str | None
    created: float
    updated: float


@dataclass
class Project:
    """`owner` is a team's id, or the personal account's. `history` lists what served production, oldest first."""

    id: str
    name: str
    owner: str
    repo: tuple[str, str, int] = ("acme", "web", 4711)
    linked: Literal["github", "gitlab", "bitbucket", "none"] = "github"
    production_branch: str = "main"
    domains: list[str] = field(default_factory=list)
    customs: dict[str, str] = field(default_factory=dict)
    auto_assign: bool = True
    rolled_back: bool = False
    stages: Literal["none", "timed", "waits"] = "none"
    rolling: str | None = None
    rolling_ends: float = float("inf")
    production: str | None = None
    history: list[str] = field(default_factory=list)
    job: Job | None = None
    job_before: Job | None = None
    behind_rolling: list[str] = field(default_factory=list)
    next_job: Literal["succeeded", "failed", "skipped"] = "succeeded"
    variables: list[Variable] = field(default_factory=list)
    infers: str = ""
    """The target (or custom environment) that the production branch is taken for where none is named."""


@dataclass
class Deployment:
    """Times are milliseconds. `target` None is a preview, as on the wire; `custom` is a custom environment's id."""

    id: str
    project: str
    created: float
    began: float
    target: str | None
    custom: str | None
    sha: str
    ref: str
    repo: tuple[str, str, int]
    meta: dict[str, str]
    source: str
    outcome: Outcome
    pace: Pace
    approved: float | None = None
    cancelled: float | None = None
    deleted: float | None = None
    substate: str | None = None
    assigned: float | None = None
    alias_error: tuple[str, str] | None = None
    settled: bool = False
    rows: list[dict[str, object]] = field(default_factory=list)

    @property
    def starts_building(self) -> float:
        waited = self.approved if self.approved is not None else self.created
        return waited + 1000 * (self.pace.queued + self.pace.initializing)

    @property
    def is_held(self) -> bool:
        return self.outcome.blocked and self.approved is None

    @property
    def builds_until(self) -> float:
        if self.is_held or self.outcome.build == "hangs":
            return float("inf")
        own = self.outcome.building
        return self.starts_building + 1000 * (own if own is not None else self.pace.building)

    @property
    def checked(self) -> float:
        if self.outcome.checks == "run on":
            return float("inf")
        return self.builds_until + (1000 * self.pace.checking if self.outcome.checks != "none" else 0)

    @property
    def assigns(self) -> float:
        """When its domains are assigned, if ever."""
        never = self.outcome.build != "ok" or self.outcome.checks == "failed"
        return float("inf") if never else self.checked + 1000 * self.pace.assigning

    def state(self, now: float) -> str:
        if self.deleted is not None:
            return "DELETED"
        if self.cancelled is not None:
            return "CANCELED"
        if self.is_held:
            return "BLOCKED"
        waited = self.approved if self.approved is not None else self.created
        if now < waited + 1000 * self.pace.queued:
            return "QUEUED"
        if now < self.starts_building:
            return "INITIALIZING"
        if now < self.builds_until:
            return "BUILDING"
        return "ERROR" if self.outcome.build == "fails" else "READY"


class World:
    """`host` is where the sites of deployments are served, where they are; else they have names as Vercel gives them."""

    def __init__(self, clock: Callable[[], datetime], *, host: str = "", pace: Pace | None = None) -> None:
        self.clock = clock
        self.host = host
        self.pace = pace or Pace()
        self.teams: dict[str, Team] = {}
        self.tokens: dict[str, Token] = {}
        self.projects: dict[str, Project] = {}
        self.deployments: dict[str, Deployment] = {}
        self.aliases: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.refs: dict[str, str] = {}
        self.knows_every_commit = True
        self.most_log_rows = 200
        self.plan_used_up = False
        self.behind_seconds = 0.0
        """New deployments show up in lists that much later."""
        self.stale_seconds = 0.0
        """A project shows a new alias request that much later."""
        self.lingers = False
        """A stream of logs stays open after its delimiter."""
        self._numbers = count(1)
        self._latest = 0.0

    @property
    def now(self) -> float:
        """Milliseconds since the epoch."""
        return self.clock().astimezone(UTC).timestamp() * 1000

    def team(self, slug: str, *, plan: Plan = "pro") -> Team:
        made = Team(f"team_{slug}", slug, plan)
        self.teams[made.id] = made
        return made

    def project(self, name: str, *, owner: str, **fields: object) -> Project:
        made = Project(f"prj_{name}", name, owner, **fields)  # type: ignore[arg-type]
        self.projects[made.id] = made
        return made

    def token(self, value: str, *teams: Team, **fields: object) -> None:
        names = frozenset(team.id for team in teams)
        self.tokens[value] = Token(f"token {len(self.tokens)}", names, **fields)  # type: ignore[arg-type]

    def found_project(self, named: str, owner: str) -> Project | None:
        return next((p for p in self.projects.values() if named in (p.id, p.name) and p.owner == owner), None)

    def plan_of(self, project: Project) -> Plan:
        team = self.teams.get(project.owner)
        return team.plan if team is not None else "hobby"

    def deploy(self, project: Project, *, sha: str, ref: str, target: str | None, source: str, **fields: object) -> Deployment:
        """A new deployment, as a push, the API or a test makes it."""
        number = next(self._numbers)
        self._latest = created = max(self.now, self._latest + 1)  # two never share a time, so that pages do not lose one
        made = Deployment(
            id="dpl_" + sha256(f"{project.id} {number}".encode()).hexdigest()[:28],
            project=project.id,
            created=created,
            began=created,
            target=target,
            sha=sha,
            ref=ref,
            repo=project.repo,
            source=source,
            outcome=self.outcomes.get(sha, Outcome()),
            pace=self.pace,
            **{"custom": None, "meta": {}, **fields},  # type: ignore[arg-type]
        )
        self.deployments[made.id] = made
        return made

    def url(self, deployment: Deployment) -> str:
        """The deployment's own address, without a scheme."""
        if self.host:
            return f"{self.host}/_sites/{deployment.id}"
        project = self.projects[deployment.project]
        return f"{project.name}-{deployment.id[4:13]}-{project.owner.removeprefix('team_')}.vercel.app"

    def of(self, project: Project) -> list[Deployment]:
        """Newest first."""
        found = [d for d in self.deployments.values() if d.project == project.id]
        return sorted(found, key=lambda d: d.created, reverse=True)

    def is_candidate(self, deployment: Deployment) -> bool:
        project = self.projects[deployment.project]
        once = deployment.id in project.history and deployment.id != project.production
        return once and deployment.state(self.now) == "READY"

    def advance(self) -> None:
        """Carry out, in order, what has come due."""
        while due := sorted(self._due(), key=lambda item: item[0]):
            due[0][1]()

    def serve(self, project: Project, deployment: Deployment, at: float) -> None:
        """Put it on production's domains."""
        project.production = deployment.id
        project.history.append(deployment.id)
        deployment.substate, deployment.assigned = "PROMOTED", at
        for domain in project.domains:
            self.aliases[domain] = deployment.id

    def begin_job(self, project: Project, kind: Literal["promote", "rollback"], to: str) -> Job:
        at = max(self.now, project.job.requested + 1 if project.job else 0)
        starts = at + 1000 * self.pace.job_pending
        ends = starts + 1000 * self.pace.job
        project.job_before = project.job
        project.job = Job(kind, to, project.production, at, starts, ends, project.next_job)
        project.next_job = "succeeded"
        if kind == "rollback" and project.rolling is not None:
            self.deployments[project.rolling].substate = "STAGED"
            project.rolling = None
        return project.job

    def begin_rolling(self, project: Project, deployment: Deployment, at: float) -> None:
        project.rolling, deployment.substate = deployment.id, "ROLLING"
        project.rolling_ends = at + 1000 * self.pace.stages if project.stages == "timed" else float("inf")

    def end_rolling(self, project: Project) -> None:
        """As if somebody had completed it."""
        project.rolling_ends = self.now

    def _due(self) -> Iterator[tuple[float, Callable[[], None]]]:
        now = self.now
        for d in self.deployments.values():
            if not d.settled and d.deleted is None and d.cancelled is None and d.assigns <= now:
                yield d.assigns, lambda d=d: self._assign(d)
        for p in self.projects.values():
            if p.job is not None and not p.job.done and p.job.ends <= now:
                yield p.job.ends, lambda p=p: self._end_job(p)
            if p.rolling is not None and p.rolling_ends <= now:
                yield p.rolling_ends, lambda p=p: self._end_rolling(p)

    def _assign(self, deployment: Deployment) -> None:
        deployment.settled = True
        project, at = self.projects[deployment.project], deployment.assigns
        if deployment.outcome.alias == "fails":
            deployment.alias_error = ("cert_missing", "No certificate for the domain")
        elif deployment.target != "production":
            deployment.assigned = at
        elif not project.auto_assign or project.rolled_back:
            deployment.substate, deployment.assigned = "STAGED", at  # its own address is assigned, production's domains are not
        elif project.stages != "none" and project.production is not None:
            deployment.assigned = at
            self.begin_rolling(project, deployment, at)
        else:
            self.serve(project, deployment, at)

    def _end_job(self, project: Project) -> None:
        job = project.job
        assert job is not None
        job.done = True
        if job.outcome == "succeeded":
            self.serve(project, self.deployments[job.to], job.ends)
            project.rolled_back = job.kind == "rollback"

    def _end_rolling(self, project: Project) -> None:
        assert project.rolling is not None
        self.serve(project, self.deployments[project.rolling], project.rolling_ends)
        project.rolling = None
        if project.behind_rolling:
            self.begin_job(project, "promote", project.behind_rolling.pop(0))


def acme(world: World) -> Project:
    """The usual cast: team `acme` on Pro with the project `web`, and three tokens."""
    team = world.team("acme")
    project = world.project("web", owner=team.id, domains=["www.acme.example"], customs={"qa": "env_qa"})
    world.token("token-of-staging-1234567890", team)
    world.token("token-of-production-1234567890", team)
    world.token("token-of-a-stranger-1234567890")
    return project
