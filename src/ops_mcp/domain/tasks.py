"""Tasks of agents and their checkpoints, as they are stored and told. Pure values; `supervising` judges them."""

from datetime import datetime
from enum import StrEnum

from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.values import JsonObject, Value


class CheckpointStatus(StrEnum):
    """What an agent says of its task. The last three end it; `error` may be taken back once with `retry`."""

    starting = "starting"
    planning = "planning"
    working = "working"
    checkpoint = "checkpoint"
    waiting_approval = "waiting_approval"
    blocked = "blocked"
    error = "error"
    complete = "complete"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (CheckpointStatus.error, CheckpointStatus.complete, CheckpointStatus.cancelled)

    @property
    def is_urgent(self) -> bool:
        """Whether people are told at once, whatever they were told before."""
        return self.is_final or self in (CheckpointStatus.blocked, CheckpointStatus.waiting_approval)


class TaskState(StrEnum):
    """Where a task stands in the store: what follows from its checkpoints, and from their absence (`stalled`)."""

    pending = "pending"
    approved = "approved"
    running = "running"
    waiting = "waiting"
    stalled = "stalled"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (TaskState.completed, TaskState.failed, TaskState.cancelled)


class TaskKind(StrEnum):
    test = "test"
    refactor = "refactor"
    docs = "docs"
    fix = "fix"
    review = "review"
    analyze = "analyze"
    build = "build"
    deploy = "deploy"
    unknown = "unknown"


class ContextLevel(StrEnum):
    """How much of its context an agent has used: `warn` from 70 %, `critical` from 85 %."""

    none = "none"
    warn = "warn"
    critical = "critical"


class ArtifactKind(StrEnum):
    pull_request = "pull_request"
    file = "file"
    deployment = "deployment"
    log = "log"
    patch = "patch"
    other = "other"


class Artifact(Value):
    """Something that a task made. `url` is https; `content` is bounded text."""

    kind: ArtifactKind
    name: str
    url: str = ""
    content: str = ""
    at: datetime


class Checkpoint(Value):
    """One report of an agent, append-only. `number` counts from 1 within the task; elapsed is measured by us."""

    task: str
    number: int
    at: datetime
    agent: AgentName
    status: CheckpointStatus
    action: str
    progress: int
    tokens_used: int
    elapsed_seconds: float
    error: str = ""


class Task(Value):
    """A piece of an agent's work. Its environment is fixed by its first checkpoint.

    `agent` works on it now, `requested_by` asked for it, as its agent says; `handed_from` had it before. `cancel_by` is who asked
    for its end. `steps` are the last five actions. `root` is the task at the top of its tree.
    """

    id: str
    agent: AgentName
    requested_by: str
    environment: EnvironmentName
    name: str
    kind: TaskKind = TaskKind.unknown
    said_kind: str = ""
    repo: str = ""
    parent: str | None = None
    root: str = ""
    handed_from: AgentName | None = None
    handed_to: AgentName | None = None
    state: TaskState
    status: CheckpointStatus
    progress: int = 0
    tokens_used: int = 0
    token_limit: int = 200_000
    context: ContextLevel = ContextLevel.none
    action: str = ""
    steps: tuple[str, ...] = ()
    reason: str = ""
    result: str = ""
    error: str = ""
    approval: str | None = None
    cancel_by: str | None = None
    cancel_reason: str = ""
    cancel_at: datetime | None = None
    checkpoints: int = 0
    artifacts: int = 0
    created_at: datetime
    started_at: datetime
    checkpoint_at: datetime
    completed_at: datetime | None = None

    @property
    def elapsed_seconds(self) -> float:
        return ((self.completed_at or self.checkpoint_at) - self.started_at).total_seconds()


class Posting(Value):
    """What a task's thread was told last: when, of which status, and how many posts it has."""

    at: datetime | None = None
    posts: int = 0
    status: CheckpointStatus | None = None


class Report(Value):
    """What one call of `checkpoint` wants kept. It is judged against its task where that is written, together with the call's
    settlement, and kept whole or not at all."""

    id: str
    agent: AgentName
    environment: EnvironmentName
    status: CheckpointStatus
    action: str
    progress: int | None = None
    tokens_used: int | None = None
    tokens_delta: int | None = None
    token_limit: int | None = None
    name: str = ""
    kind: str = ""
    repo: str = ""
    parent: str | None = None
    requested_by: str = ""
    reason: str = ""
    result: str = ""
    error: str = ""
    retry: bool = False
    force: bool = False
    hand_to: AgentName | None = None
    approval: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    resumable: JsonObject | None = None
    opens: bool = False
