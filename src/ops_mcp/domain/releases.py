"""What is deployed: releases, deployments, plans of steps, and what a provider was seen to run."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, NewType, TypeAlias

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
    """Content and the binding it runs with, frozen together, so that going back restores both.

    `replicas` is how many were asked for by `scale`; None leaves it to the binding.
    """

    content: Content
    binding: Binding
    replicas: int | None = Field(default=None, ge=0)

    @property
    def digest(self) -> str:
        scaled: JsonObject = {} if self.replicas is None else {"replicas": self.replicas}
        return digest({"content": self.content.identity, "binding": self.binding.digest, **scaled})


class Placement(Value):
    """One deployment as a place is asked about it. `handle` is the place's own name for what runs it, once it is known.

    `asked_at` is when the deployment was committed: what the place made for it cannot be older.
    """

    deployment: DeploymentId
    release: Release
    asked_at: datetime
    handle: str = ""


class DeploymentKind(StrEnum):
    """What a deployment does. The last two may leave what runs untouched; see `Act`."""

    deploy = "deploy"
    rollback = "rollback"
    restart = "restart"
    promote = "promote"
    scale = "scale"
    variable = "variable"
    provision = "provision"


class DeploymentState(StrEnum):
    """The life of a deployment; see `deploying.states` for the transitions. The last eight are final.

    `applied` is the end of what leaves nothing running that could be verified: a variable for the next release, a database.
    """

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
    applied = "applied"


class HealthVerdict(StrEnum):
    """The stored verdict on a deployment: none yet, verify passed and nothing against it since, or something against it."""

    unverified = "unverified"
    healthy = "healthy"
    failing = "failing"


class Usage(Value):
    """What a place metered: its own requests, and seconds of its builds."""

    requests: int = 0
    build_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(requests=self.requests + other.requests, build_seconds=self.build_seconds + other.build_seconds)


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
    handle: str = ""
    usage: Usage = Usage()

    @property
    def releases(self) -> bool:
        """Whether a release is put in place; `Work.releases` says it of a plan. What leaves alone what runs replaces nothing."""
        return self.kind not in (DeploymentKind.variable, DeploymentKind.provision) or self.previous is not None

    @property
    def placement(self) -> Placement:
        return Placement(deployment=self.id, release=self.release, asked_at=self.created_at, handle=self.handle)


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


class SetVariable(Value):
    """Set one variable of a service where its place keeps variables: to `value`, or to the secret that `secret` names.

    With `redeploy` what serves is released once more so that it takes effect now; without, the next release takes it up.
    """

    act: Literal["set_variable"] = "set_variable"
    name: str
    value: str | None = None
    secret: str | None = None
    redeploy: bool = False


class Provision(Value):
    """Make a database or an empty service beside a bound one."""

    act: Literal["provision"] = "provision"
    template: Literal["postgres", "mysql", "redis", "mongo", "empty"]
    name: str


Act: TypeAlias = Annotated[SetVariable | Provision, Field(discriminator="act")]
"""What a place does besides putting a release in place. Each is idempotent: done twice it comes to the same."""


class Work(Value):
    """What the worker carries out once the plan is committed. `back_to` is the undo: None means stop what was started.

    `restores` is the deployment whose release is put back or kept, `origin` the one elsewhere whose content is promoted.
    """

    kind: DeploymentKind
    release: Release
    back_to: DeploymentId | None = None
    restores: DeploymentId | None = None
    replaces: DeploymentId | None = None
    origin: DeploymentId | None = None
    act: Act | None = None

    @property
    def releases(self) -> bool:
        """Whether a release is put in place at all: what only sets something for the next one leaves what runs alone."""
        return self.act is None or (isinstance(self.act, SetVariable) and self.act.redeploy)


class RequestCancel(Value):
    """A change that only writes our own rows: ask the worker to cancel and undo a running deployment."""

    write: Literal["request_cancel"] = "request_cancel"
    deployment: DeploymentId


class SetRule(Value):
    """Store an alert rule (`alerting.rules.Rule`) in place of the content that `replaces` names: a digest, or `nothing`."""

    write: Literal["set_rule"] = "set_rule"
    rule: JsonObject
    replaces: str


class DeleteRule(Value):
    """Delete an alert rule with exactly this content, and end its alerts."""

    write: Literal["delete_rule"] = "delete_rule"
    name: str
    replaces: str


class AcknowledgeAlert(Value):
    """Note that the plan's agent has an alert in hand, for so long or until it ends."""

    write: Literal["acknowledge_alert"] = "acknowledge_alert"
    alert: str
    seconds: float | None = None
    false_positive: bool = False


class BeginSilence(Value):
    """Tell nobody of alerts that all `matchers` hold for, from the commit on."""

    write: Literal["begin_silence"] = "begin_silence"
    matchers: tuple[str, ...]
    seconds: float
    comment: str = ""


class EndSilence(Value):
    write: Literal["end_silence"] = "end_silence"
    silence: str


class PostNotice(Value):
    """Tell people: the same words to each of these channels, with an id that they share. Without a thread it is its own."""

    write: Literal["post_notice"] = "post_notice"
    channels: tuple[str, ...]
    severity: str
    title: str
    text: str
    untrusted: str
    thread: str = ""


AlertWrite: TypeAlias = SetRule | DeleteRule | AcknowledgeAlert | BeginSilence | EndSilence
Write: TypeAlias = Annotated[RequestCancel | AlertWrite | PostNotice, Field(discriminator="write")]


class Written(Value):
    """One write that was done: what, the id that it goes by, and the digest of what is there now."""

    what: str
    id: str
    current: str = ""
    until: datetime | None = None


class Applied(Value):
    """What a plan's own rows came to: the result of the call, bound to its key in the same transaction."""

    dry_run: bool = False
    done: str = ""
    written: tuple[Written, ...] = ()
    warnings: tuple[str, ...] = ()


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

    `answers` is None where the provider cannot tell who listens. `usage` is what this very call was metered.
    """

    deployment: DeploymentId
    presence: Presence
    answers: bool | None = None
    exit_code: int | None = None
    signal: int | None = None
    since: datetime | None = None
    url: str | None = None
    handle: str = ""
    usage: Usage = Usage()
    detail: str = ""
    untrusted_tail: tuple[str, ...] = Field(default=(), description="Last log lines, text from strangers")


class ProbeResult(Value):
    """One probe, one answer. `evidence` is short and made by us; it never quotes the response's body."""

    healthy: bool
    at: datetime
    latency_ms: float = 0.0
    evidence: str = ""
