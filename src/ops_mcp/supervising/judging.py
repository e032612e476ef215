"""What a report makes of a task: the one place where a task begins, goes on and ends. Pure; whoever stores it asks."""

import unicodedata
from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.tasks import Checkpoint, CheckpointStatus, ContextLevel, Report, Task, TaskKind, TaskState
from ops_mcp.errors import Conflict, InvalidArguments, NotPermitted
from ops_mcp.supervising.settings import SuperviseTerms
from ops_mcp.values import Json

WARN_PERCENT, CRITICAL_PERCENT = 70, 85
MOST_STEPS, MOST_ARTIFACTS = 5, 500
LONGEST_NAME, LONGEST_ACTION, LONGEST_TEXT = 500, 2_000, 4_096
CUT = " […]"

STATES = {
    CheckpointStatus.starting: TaskState.running,
    CheckpointStatus.planning: TaskState.running,
    CheckpointStatus.working: TaskState.running,
    CheckpointStatus.checkpoint: TaskState.running,
    CheckpointStatus.waiting_approval: TaskState.waiting,
    CheckpointStatus.blocked: TaskState.waiting,
    CheckpointStatus.error: TaskState.failed,
    CheckpointStatus.complete: TaskState.completed,
    CheckpointStatus.cancelled: TaskState.cancelled,
}
"""What a task is after a checkpoint of each status. `pending` and `approved` are those of tasks that people ask for."""

_KINDS = {kind.value: kind for kind in TaskKind}

_ADVICE = {
    ContextLevel.none: "",
    ContextLevel.warn: "Over 70 % of the context is used: summarise what is done and drop what is not needed any more.",
    ContextLevel.critical: "Over 85 % of the context is used: save resumable state now, then finish or hand the task on.",
}


class Judged(NamedTuple):
    """Task and checkpoint as they are to be stored, whether a context level was just reached, and what to tell the agent."""

    task: Task
    checkpoint: Checkpoint
    crossed: bool
    warnings: tuple[str, ...] = ()


def judge(report: Report, task: Task | None, terms: SuperviseTerms, *, at: datetime) -> Judged:
    """What becomes of `task` (None: the report opens it). Raises `OpsError`s for a report that its task does not allow."""
    _refuse_unexplained(report)
    before = task or _opened(report, terms, at)
    if task is not None:
        _refuse(report, task)
    warnings: list[str] = []
    after = _after(report, before, _progress(report, before, warnings), at)
    return Judged(after, _checkpoint(report, after), _rank(after.context) > _rank(before.context), tuple(warnings))


def context_level(tokens: int, limit: int) -> ContextLevel:
    """Exactly 70 % warns and exactly 85 % is critical; counted in integers, so that no rounding decides."""
    if tokens * 100 >= limit * CRITICAL_PERCENT:
        return ContextLevel.critical
    return ContextLevel.warn if tokens * 100 >= limit * WARN_PERCENT else ContextLevel.none


def advice(task: Task) -> str:
    """What an agent is told of its context; empty while there is enough of it."""
    return _ADVICE[task.context]


def is_stalled(task: Task, terms: SuperviseTerms, *, at: datetime) -> bool:
    """Whether a task that should be going on has not been heard of for too long. One that waits for a person does not stall."""
    silent = (at - task.checkpoint_at).total_seconds()
    return task.state is TaskState.running and silent >= terms.stalled_intervals * terms.interval_seconds


def stalled(task: Task) -> Task:
    """The task after its silence was noticed; its next checkpoint revives it."""
    return task.evolve(state=TaskState.stalled)


def cancelled(task: Task, *, by: str, reason: str, at: datetime) -> Task:
    """The task with a person's wish that it end, of which its agent is told. Raises `Conflict` for one that has ended."""
    if task.state.is_final:
        raise Conflict(_is_over(task), hint="There is nothing left to stop.")
    if task.cancel_by is not None:
        raise Conflict(f"{task.cancel_by} has asked {task.id} to end already.", hint="Its agent is told at its next checkpoint.")
    return task.evolve(cancel_by=by, cancel_reason=sayable(reason, LONGEST_TEXT), cancel_at=at)


def sayable(text: str, longest: int) -> str:
    """Text without control and invisible characters, but for line ends and tabs; a cut says so."""
    kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")).strip()
    return kept if len(kept) <= longest else kept[: longest - len(CUT)] + CUT


def _after(report: Report, before: Task, progress: int, at: datetime) -> Task:
    tokens, limit = _tokens(report, before), report.token_limit or before.token_limit
    action, waits = sayable(report.action, LONGEST_ACTION), report.status is CheckpointStatus.waiting_approval
    return before.evolve(
        agent=report.hand_to or before.agent,
        handed_from=before.agent if report.hand_to else before.handed_from,
        handed_to=report.hand_to,
        state=STATES[report.status],
        status=report.status,
        progress=progress,
        tokens_used=tokens,
        token_limit=limit,
        context=context_level(tokens, limit),
        action=action,
        steps=(*before.steps, action)[-MOST_STEPS:],
        reason=sayable(report.reason, LONGEST_TEXT),
        result=sayable(report.result, LONGEST_TEXT) or before.result,
        error=sayable(report.error, LONGEST_TEXT),
        approval=report.approval or (before.approval if waits else None),
        checkpoints=before.checkpoints + 1,
        artifacts=before.artifacts + len(report.artifacts),
        checkpoint_at=max(at, before.checkpoint_at),
        completed_at=max(at, before.started_at) if STATES[report.status].is_final else None,
    )


def _checkpoint(report: Report, after: Task) -> Checkpoint:
    return Checkpoint(
        task=after.id,
        number=after.checkpoints,
        at=after.checkpoint_at,
        agent=report.agent,
        status=report.status,
        action=after.action,
        progress=after.progress,
        tokens_used=after.tokens_used,
        elapsed_seconds=after.elapsed_seconds,
        error=after.error,
    )


def _opened(report: Report, terms: SuperviseTerms, at: datetime) -> Task:
    name = sayable(report.name, LONGEST_NAME)
    if not report.opens or not name:
        raise _invalid("name", "a new task needs one, and an environment; to report on one that exists give its id in `task`")
    kind = _KINDS.get(report.kind, TaskKind.unknown)
    return Task(
        id=report.id,
        agent=report.agent,
        requested_by=sayable(report.requested_by, 200) or report.agent,
        environment=report.environment,
        name=name,
        kind=kind,
        said_kind="" if kind.value == report.kind else sayable(report.kind, 100),
        repo=sayable(report.repo, 300),
        parent=report.parent,
        state=TaskState.running,
        status=CheckpointStatus.starting,
        token_limit=report.token_limit or terms.token_limit,
        created_at=at,
        started_at=at,
        checkpoint_at=at,
    )


def _refuse(report: Report, task: Task) -> None:
    if report.agent != task.agent:
        had = f" It was handed to {task.agent}." if task.handed_from == report.agent else ""
        raise NotPermitted(f"{task.id} is not your task.{had}", hint="Its own agent reports on it, or hands it on by `hand_to`.")
    if task.state.is_final and not (report.retry and task.state is TaskState.failed):
        raise Conflict(
            _is_over(task),
            hint="Open another with `environment` and `name`; after an error, `retry` goes on with this one.",
        )
    if task.artifacts + len(report.artifacts) > MOST_ARTIFACTS:
        raise _invalid("artifacts", f"a task keeps at most {MOST_ARTIFACTS:,}")


def _is_over(task: Task) -> str:
    return f"{task.id} has ended: it is {task.state.value}."


def _refuse_unexplained(report: Report) -> None:
    if not sayable(report.action, LONGEST_ACTION):
        raise _invalid("action", "say in a few words what was done")
    if report.status is CheckpointStatus.blocked and not report.reason.strip():
        raise _invalid("reason", "a blocked task needs the reason")
    if report.status is CheckpointStatus.error and not report.error.strip():
        raise _invalid("error", "an error needs its text")
    if report.tokens_used is not None and report.tokens_delta is not None:
        raise _invalid("tokens_delta", "give the total or what was added, not both")
    if report.hand_to == report.agent:
        raise _invalid("hand_to", "the task is yours already")


def _progress(report: Report, before: Task, warnings: list[str]) -> int:
    if report.status is CheckpointStatus.complete:
        return 100
    if report.progress is None:
        return before.progress
    if report.progress < before.progress:
        warnings.append(f"progress goes back from {before.progress} % to {report.progress} %")
    return report.progress


def _tokens(report: Report, before: Task) -> int:
    if report.tokens_used is not None:
        return report.tokens_used
    return before.tokens_used + (report.tokens_delta or 0)


def _rank(level: ContextLevel) -> int:
    return list(ContextLevel).index(level)


def _invalid(field: str, why: str) -> InvalidArguments:
    fields: list[Json] = [field]
    return InvalidArguments(f"checkpoint: {field}: {why}.", hint=f"Give {field}.", details={"fields": fields})
