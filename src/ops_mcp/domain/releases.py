"""What is deployed: releases, deployments, plans of steps, and what a provider was seen to run."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

from pydantic import Field

from ops_mcp.domain.calls import Cost
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.values import JsonObject, Value, digest

DeploymentId = NewType("DeploymentId", str)
OperationId = NewType("OperationId", str)


class Content(Value):
    """What exactly is deployed: `identity` is a full commit id or a content digest; `ref` is what the caller named.

    `summary` (a commit's subject) is text from strangers.
    """

    identity: str
    ref: str = ""
    summary: str = ""


class Release(Value):
    """Content and the binding it runs with, frozen together, so that going back restores both."""

    content: Content
    binding: Binding

    @property
    def digest(self) -> str:
        return digest({"content": self.content.identity, "binding": self.binding.digest})


class DeploymentKind(StrEnum):
    deploy = "deploy"
    rollback = "rollback"
    restart = "restart"


class DeploymentState(StrEnum):
    """The life of a deployment; see `deploying.states` for the transitions. The last seven are final."""

    queued = "queued"
    releasing = "releasing"
    verifying = "verifying"
    watching = "watching"
    undoing = "undoing"
    healthy = "healthy"
    superseded = "superseded"
    rolled_back = "rolled_back"
    down = "down"
    failed = "failed"
    cancelled = "cancelled"
    unknown = "unknown"


class HealthVerdict(StrEnum):
    """The stored verdict on a deployment: none yet, verify passed and nothing against it since, or something against it."""

    unverified = "unverified"
    healthy = "healthy"
    failing = "failing"


class Deployment(Value):
    """One attempt to put a release in place. `serving` says whether it is what runs now, as last recorded."""

    id: DeploymentId
    operation: OperationId
    kind: DeploymentKind
    service: ServiceName
    environment: EnvironmentName
    agent: str
    release: Release
    previous: DeploymentId | None = None
    state: DeploymentState = DeploymentState.queued
    health: HealthVerdict = HealthVerdict.unverified
    serving: bool = False
    created_at: datetime
    released_at: datetime | None = None
    verified_at: datetime | None = None
    finished_at: datetime | None = None
    url: str | None = None
    reason: str = ""
    detail: str = ""
    cancel_requested: bool = False
    recovery_used: bool = False


class StepName(StrEnum):
    """The steps of a deployment, in order."""

    check = "check"
    snapshot = "snapshot"
    release = "release"
    verify = "verify"
    watch = "watch"
    done = "done"


class Step(Value):
    """A step as data: what it does and how it is undone, both recorded before it runs."""

    name: StepName
    does: str
    undo: str


class Work(Value):
    """What the worker carries out once the plan is committed. `back_to` is the undo: None means stop what was started."""

    kind: DeploymentKind
    release: Release
    back_to: DeploymentId | None = None
    restores: DeploymentId | None = None
    replaces: DeploymentId | None = None


class RequestCancel(Value):
    """A change that only writes our own rows: ask the worker to cancel and undo a running deployment."""

    write: Literal["request_cancel"] = "request_cancel"
    deployment: DeploymentId


Write = RequestCancel


class Plan(Value):
    """A change before it happens: exact target, exact content, exact state. Approvals are bound to its digest.

    `arguments` are canonical without dry_run, idempotency_key and reason. `target_state` names what is there now (the
    serving deployment's id and release digest, or "nothing"); a commit rechecks it. A plan has either work or writes.
    """

    tool: str
    agent: str
    environment: EnvironmentName
    service: ServiceName | None = None
    target: str | None = None
    arguments: JsonObject = {}
    summary: str
    content: str = ""
    configuration: str = ""
    target_state: str = ""
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    work: Work | None = None
    writes: tuple[Write, ...] = ()
    recovery: bool = False
    ceiling: Cost = Cost()

    @property
    def digest(self) -> str:
        """Covers everything but the prose (`summary`, `warnings`) and the cost."""
        bound = self.model_dump(mode="json", exclude={"summary", "warnings", "ceiling"}, exclude_none=True)
        return digest(bound)


class Operation(Value):
    """A committed plan on its way. The worker that holds the lease with this `fence` may advance it."""

    id: OperationId
    deployment: DeploymentId
    call: str
    agent: AgentName
    plan: Plan
    fence: int = 0
    final: bool = False


class StepRecord(Value):
    """One line of an operation's journal."""

    operation: OperationId
    sequence: int
    step: str
    event: Literal["begun", "done", "failed", "undo_begun", "undone", "undo_failed", "note"]
    at: datetime
    detail: str = ""
    data: JsonObject = {}


class Presence(StrEnum):
    """What a provider found when asked for a deployment's process or object."""

    building = "building"
    running = "running"
    exited = "exited"
    absent = "absent"
    unknown = "unknown"


class Observed(Value):
    """What is really there for one deployment, by the provider's own look. `answers` says whether its port is its own.

    `answers` is None where the provider cannot tell who listens.
    """

    deployment: DeploymentId
    presence: Presence
    answers: bool | None = None
    exit_code: int | None = None
    signal: int | None = None
    since: datetime | None = None
    url: str | None = None
    detail: str = ""
    untrusted_tail: tuple[str, ...] = Field(default=(), description="Last log lines, text from strangers")


class ProbeResult(Value):
    """One probe, one answer. `evidence` is short and made by us; it never quotes the response's body."""

    healthy: bool
    at: datetime
    latency_ms: float = 0.0
    evidence: str = ""
