"""Reporting on one's own work."""

import json
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from ops_mcp.domain.identity import Agent, AgentName, System
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.domain.tasks import Artifact, ArtifactKind, CheckpointStatus, ContextLevel, Report, Task, TaskState
from ops_mcp.errors import InvalidArguments, NotFound, NotPermitted
from ops_mcp.ports import Ops
from ops_mcp.tool import Args, Recorded, Result, Target, WriteArgs, record
from ops_mcp.values import Json, JsonObject, canonical

MOST_STATE_BYTES = 32_768
MOST_CONTENT = 65_536
_NOBODY_TOLD = "Nobody is told of this task: the operator has configured no channel for tasks. It is stored all the same."
_TASK_ID = r"^task_[0-9a-z]{8,40}$"


def _https(url: str) -> str:
    if url and not url.startswith("https://"):
        raise ValueError("must begin with https://")
    if any(c.isspace() or ord(c) < 32 for c in url):
        raise ValueError("must not hold spaces or control characters")
    return url


class ArtifactArg(Args):
    """Something the task made."""

    kind: ArtifactKind
    name: str = Field(min_length=1, max_length=300)
    url: Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_https)] = ""
    content: str = Field(default="", max_length=MOST_CONTENT)


class AboutArg(Args):
    """What a task is about, said when it is opened; `approval` names the request that it waits for."""

    kind: str = Field(default="", max_length=100)
    repo: str = Field(default="", max_length=300)
    parent: str | None = Field(default=None, pattern=_TASK_ID)
    requested_by: str = Field(default="", max_length=200)
    token_limit: int | None = Field(default=None, ge=1_000, le=10**9)
    approval: str | None = Field(default=None, pattern=r"^apr_[0-9a-z]{8,40}$")


_Task = Annotated[str, StringConstraints(pattern=_TASK_ID), WithJsonSchema({"type": "string", "description": "Id; absent: new"})]
_Place = Annotated[str, StringConstraints(pattern=NAME_PATTERN), WithJsonSchema({"type": "string"})]
_Key = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$"), WithJsonSchema({"type": "string"})]
_Words = Annotated[str, StringConstraints(max_length=4_096), WithJsonSchema({"type": "string"})]
_Count = Annotated[int, Field(ge=0, le=10**12), WithJsonSchema({"type": "integer"})]
_Percent = Annotated[int, Field(ge=0, le=100), WithJsonSchema({"type": "integer"})]
_Status = Annotated[CheckpointStatus, WithJsonSchema({"enum": [status.value for status in CheckpointStatus]})]
_About = Annotated[AboutArg, WithJsonSchema({"type": "object", "description": "kind, repo, parent, approval"})]
_Artifacts = Annotated[
    tuple[ArtifactArg, ...],
    Field(max_length=20),
    WithJsonSchema({"type": "array", "description": "{kind, name, url, content}"}),
]


class CheckpointArgs(WriteArgs):
    # Bounds and defaults are checked and told where it matters, not published: every model that looks pays for the schema.
    dry_run: bool = Field(default_factory=bool)
    idempotency_key: _Key | None = None
    reason: Annotated[str, StringConstraints(max_length=500), WithJsonSchema({"type": "string"})] = ""
    task: _Task | None = None
    environment: _Place | None = None
    name: Annotated[str, StringConstraints(max_length=500), WithJsonSchema({"type": "string"})] = ""
    about: _About | None = None
    status: _Status = Field(default_factory=lambda: CheckpointStatus.checkpoint)
    action: Annotated[str, StringConstraints(min_length=1, max_length=2_000), WithJsonSchema({"type": "string"})]
    progress: _Percent | None = None
    tokens_used: _Count | None = None
    tokens_delta: _Count | None = None
    error: _Words = ""
    result: _Words = ""
    retry: bool | None = None
    force: bool | None = None
    hand_to: _Place | None = None
    artifacts: _Artifacts | None = None
    state: Annotated[JsonObject, WithJsonSchema({"type": "object", "description": "To resume"})] | None = None

    def target(self) -> Target:
        return Target(task=self.task, environment=None if self.task else self.environment)


class Checkpointed(Result):
    """What is stored now. `posted`: people are told now, later of the newest then, or not at all (`none`: no channel is
    configured)."""

    task: str
    state: TaskState
    status: CheckpointStatus
    number: int
    progress: int
    elapsed_seconds: float
    context: ContextLevel
    context_percent: float
    advice: str = ""
    warnings: tuple[str, ...] = ()
    posted: Literal["now", "later", "none"]
    cancel_requested: bool = False
    cancel_by: str = ""
    untrusted_cancel_reason: str = ""
    dry_run: bool = False


@record(toolset="supervise", title="Checkpoint", reply_tokens=1_600, result=Checkpointed)
async def checkpoint(args: CheckpointArgs, ops: Ops) -> Recorded[Checkpointed]:
    """Report on your task; without `task` opens one (`environment`, `name`). If the reply says `cancel_requested`, stop."""
    from ops_mcp.supervising import judging, telling  # start-up has a bar

    known = await ops.sights.tasks.get(args.task) if args.task else None
    if args.task and known is None:
        raise NotFound("There is no task with this id.", hint="`tasks` lists the ones you may see.")
    _refuse_moving(args, known)
    report = _report(args, ops, known)
    terms = ops.config.settings.supervise
    at = ops.clock()
    judged = judging.judge(report, known, terms, at=at)
    task = judged.task
    posted = await ops.sights.tasks.posting(task.id)
    pace = telling.pace(task.status, posted, terms, force=report.force, crossed=judged.crossed, at=at)
    result = Checkpointed(
        task=task.id,
        state=task.state,
        status=task.status,
        number=task.checkpoints,
        progress=task.progress,
        elapsed_seconds=round(task.elapsed_seconds, 1),
        context=task.context,
        context_percent=round(task.tokens_used / task.token_limit * 100, 1),
        advice=judging.advice(task),
        warnings=(*judged.warnings, *_unheard(report, ops)),
        posted=pace.when.value,
        cancel_requested=task.cancel_by is not None,
        cancel_by=task.cancel_by or "",
        untrusted_cancel_reason=task.cancel_reason,
        dry_run=args.dry_run,
    )
    return Recorded(result, report=report)


def _unheard(report: Report, ops: Ops) -> tuple[str, ...]:
    """Said once, when a task is opened of which nobody will hear."""
    settings = ops.config.settings
    return () if not report.opens or settings.supervise.channel in settings.channels else (_NOBODY_TOLD,)


def _refuse_moving(args: CheckpointArgs, known: Task | None) -> None:
    if known is None and args.environment is None:
        fields: list[Json] = ["environment"]
        raise InvalidArguments(
            "checkpoint: environment: a new task needs one.", hint="Or give its id in `task`.", details={"fields": fields}
        )
    if known is not None and args.environment not in (None, known.environment):
        fields = ["environment"]
        raise InvalidArguments(
            f"checkpoint: environment: {known.id} belongs to {known.environment}.",
            hint="A task stays where it was opened.",
            details={"fields": fields},
        )


def _report(args: CheckpointArgs, ops: Ops, known: Task | None) -> Report:
    """The report, attributed to the caller and without secrets."""
    about = args.about or AboutArg()
    return Report(
        id=args.task or ops.new_id("task"),
        agent=reporter(ops),
        environment=known.environment if known else EnvironmentName(args.environment or ""),
        status=args.status,
        action=ops.redact(args.action),
        progress=args.progress,
        tokens_used=args.tokens_used,
        tokens_delta=args.tokens_delta,
        token_limit=about.token_limit,
        name=ops.redact(args.name),
        kind=ops.redact(about.kind),
        repo=ops.redact(about.repo),
        parent=about.parent,
        requested_by=ops.redact(about.requested_by),
        reason=ops.redact(args.reason),
        result=ops.redact(args.result),
        error=ops.redact(args.error),
        retry=bool(args.retry),
        force=bool(args.force),
        hand_to=AgentName(args.hand_to) if args.hand_to else None,
        approval=about.approval,
        artifacts=tuple(_artifact(one, ops) for one in args.artifacts or ()),
        resumable=_resumable(args.state, ops),
        opens=known is None,
    )


def reporter(ops: Ops) -> AgentName:
    """Who works here: the agent, also where the worker calls for it. Raises `NotPermitted` for whoever has no name."""
    match ops.caller:
        case Agent(name=name):
            return name
        case System(agent=agent):
            return agent.name
        case _:
            raise NotPermitted("Tasks carry their agent's name, and you have none.", hint="Use a registered agent's token.")


def _artifact(arg: ArtifactArg, ops: Ops) -> Artifact:
    from ops_mcp.supervising.judging import sayable  # start-up has a bar

    return Artifact(
        kind=arg.kind,
        name=sayable(ops.redact(arg.name), 300),
        url=ops.redact(arg.url),
        content=sayable(ops.redact(arg.content), MOST_CONTENT),
        at=ops.clock(),
    )


def _resumable(state: JsonObject | None, ops: Ops) -> JsonObject | None:
    """What the agent wants to find again, without secrets: they are no part of a state that others may read."""
    if state is None:
        return None
    body = canonical(state)
    if len(body) > MOST_STATE_BYTES:
        fields: list[Json] = ["state"]
        raise InvalidArguments(
            f"checkpoint: state: {len(body):,} bytes; at most {MOST_STATE_BYTES:,} are kept.",
            hint="Keep large things in a file and name it here.",
            details={"fields": fields},
        )
    return cast(JsonObject, _redacted(json.loads(body), ops))


def _redacted(value: Json, ops: Ops) -> Json:
    match value:
        case str():
            return ops.redact(value)
        case list():
            return [_redacted(item, ops) for item in value]
        case dict():
            return {ops.redact(name): _redacted(item, ops) for name, item in value.items()}
        case _:
            return value
