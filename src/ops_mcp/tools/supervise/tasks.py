"""Looking at tasks."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, WithJsonSchema

from ops_mcp.domain.identity import AgentName, Anonymous, System, Unknown
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, ArtifactKind, Checkpoint, CheckpointStatus, ContextLevel, Task, TaskState
from ops_mcp.errors import NotFound
from ops_mcp.ports import Ops
from ops_mcp.task_book import TasksWanted
from ops_mcp.tool import Args, Result, Target, read
from ops_mcp.values import JsonObject

MOST_TASKS, MOST_CHECKPOINTS, MOST_ARTIFACTS, MOST_CHILDREN = 50, 10, 10, 20
_CONTENT_SHOWN = 500

TaskIdArg = Annotated[str, Field(pattern=r"^task_[0-9a-z]{8,40}$"), WithJsonSchema({"type": "string"})]
_Word = Annotated[str, Field(max_length=63), WithJsonSchema({"type": "string"})]


class TasksArgs(Args):
    environment: _Word | None = None
    agent: _Word | None = None
    state: Annotated[TaskState, WithJsonSchema({"type": "string"})] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_TASKS), WithJsonSchema({"type": "integer"})] = Field(default_factory=lambda: 20)
    cursor: _Word | None = None

    def target(self) -> Target:
        return Target(environment=self.environment)


class TaskArgs(Args):
    task: TaskIdArg

    def target(self) -> Target:
        return Target(task=self.task)


class TaskLine(Result):
    """A task in a list; what agents wrote is untrusted."""

    id: str
    agent: str
    environment: str
    state: TaskState
    status: CheckpointStatus
    progress: int
    parent: str | None = None
    checkpoint_at: datetime
    untrusted_name: str
    untrusted_action: str


class TasksShown(Result):
    tasks: tuple[TaskLine, ...]
    matched: int
    next_cursor: str | None = None


class CheckpointLine(Result):
    number: int
    at: datetime
    status: CheckpointStatus
    progress: int
    untrusted_action: str


class ArtifactLine(Result):
    kind: ArtifactKind
    untrusted_name: str
    untrusted_url: str = ""
    untrusted_content: str = ""


class TaskShown(Result):
    """`untrusted_resumable` is for the agent that works on the task. Of checkpoints and artifacts the newest are shown."""

    task: TaskLine
    untrusted_requested_by: str
    elapsed_seconds: float
    context: ContextLevel
    tokens_used: int
    token_limit: int
    untrusted_repo: str = ""
    untrusted_reason: str = ""
    untrusted_error: str = ""
    untrusted_result: str = ""
    handed_from: str | None = None
    approval: str | None = None
    cancel_requested: bool = False
    cancel_by: str = ""
    untrusted_cancel_reason: str = ""
    checkpoints: tuple[CheckpointLine, ...]
    checkpoints_in_all: int
    artifacts: tuple[ArtifactLine, ...]
    artifacts_in_all: int
    children: tuple[TaskLine, ...]
    untrusted_resumable: JsonObject | None = None


@read(toolset="supervise", title="List tasks", reply_tokens=16_000)
async def tasks(args: TasksArgs, ops: Ops) -> TasksShown:
    """List agents' tasks, newest first."""
    environments = (EnvironmentName(args.environment),) if args.environment else ops.visible()
    wanted = TasksWanted(
        environments, agent=args.agent, states=(args.state,) if args.state else (), limit=args.limit, cursor=args.cursor
    )
    found = await ops.sights.tasks.page(wanted)
    return TasksShown(tasks=tuple(map(line, found.tasks)), matched=found.matched, next_cursor=found.next_cursor)


@read(toolset="supervise", title="One task", reply_tokens=24_000)
async def task(args: TaskArgs, ops: Ops) -> TaskShown:
    """Show a task, its checkpoints, artifacts and state."""
    book = ops.sights.tasks
    found = await book.get(args.task)
    if found is None:
        raise NotFound("There is no task with this id.", hint="`tasks` lists the ones you may see.")
    children = await book.page(TasksWanted((found.environment,), parent=found.id, limit=MOST_CHILDREN))
    own = found.agent == _name(ops)
    return TaskShown(
        task=line(found),
        untrusted_requested_by=found.requested_by,
        elapsed_seconds=round(found.elapsed_seconds, 1),
        context=found.context,
        tokens_used=found.tokens_used,
        token_limit=found.token_limit,
        untrusted_repo=found.repo,
        untrusted_reason=found.reason,
        untrusted_error=found.error,
        untrusted_result=found.result,
        handed_from=found.handed_from,
        approval=found.approval,
        cancel_requested=found.cancel_by is not None,
        cancel_by=found.cancel_by or "",
        untrusted_cancel_reason=found.cancel_reason,
        checkpoints=tuple(map(_checkpoint, await book.checkpoints(found.id, limit=MOST_CHECKPOINTS))),
        checkpoints_in_all=found.checkpoints,
        artifacts=tuple(map(_artifact, await book.artifacts(found.id, limit=MOST_ARTIFACTS))),
        artifacts_in_all=found.artifacts,
        children=tuple(map(line, children.tasks)),
        untrusted_resumable=await book.resumable(found.id) if own else None,
    )


def line(found: Task) -> TaskLine:
    """A task as lists show it."""
    return TaskLine(
        id=found.id,
        agent=found.agent,
        environment=found.environment,
        state=found.state,
        status=found.status,
        progress=found.progress,
        parent=found.parent,
        checkpoint_at=found.checkpoint_at,
        untrusted_name=found.name,
        untrusted_action=found.action[:300],
    )


def _checkpoint(found: Checkpoint) -> CheckpointLine:
    return CheckpointLine(
        number=found.number, at=found.at, status=found.status, progress=found.progress, untrusted_action=found.action[:300]
    )


def _artifact(found: Artifact) -> ArtifactLine:
    return ArtifactLine(
        kind=found.kind, untrusted_name=found.name, untrusted_url=found.url, untrusted_content=found.content[:_CONTENT_SHOWN]
    )


def _name(ops: Ops) -> AgentName | None:
    match ops.caller:
        case System(agent=agent):
            return agent.name
        case Anonymous() | Unknown():
            return None
        case agent:
            return agent.name
