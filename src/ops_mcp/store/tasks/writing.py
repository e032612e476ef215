"""What is written of tasks: an agent's report with the settlement of its call, what people do to a task, and what time does.

A row, its checkpoint and what people are told of it are one transaction: none is there without the others.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.tasks import Artifact, Checkpoint, Posting, Report, Task, TaskState
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.observing import Button, Notice
from ops_mcp.store import outbox, people
from ops_mcp.store.database import Database, Transaction
from ops_mcp.supervising import judging, telling
from ops_mcp.supervising.settings import Keep, SuperviseTerms
from ops_mcp.supervising.telling import When
from ops_mcp.values import JsonObject, canonical

MOST_AT_ONCE = 100
_SHOWN_ARTIFACTS = 10


class Intervention(NamedTuple):
    """Something a person did to a task."""

    what: str
    by: str
    reason: str = ""


class _Stored(NamedTuple):
    task: Task
    posting: Posting
    post_due_at: datetime | None


def keep(tx: Transaction, keeping: Keep, *, at: datetime) -> Task:
    """Judge a report against the task as it is now, and write what follows. Raises `OpsError`s that leave nothing behind."""
    report, terms = keeping
    stored = _stored(tx, report.id)
    if stored is None and not report.opens:
        raise NotFound("There is no task with this id.", hint="`tasks` lists the ones you may see.")
    if stored is not None and report.opens:
        raise Conflict("This task is open already.", hint="Report on it by its id.")
    _refuse_strangers(tx, report)
    judged = judging.judge(report, stored.task if stored else None, terms, at=at)
    task = judged.task
    if stored is None:
        task = task.evolve(root=_root_of(tx, task))
        _insert(tx, task)
    _insert_checkpoint(tx, judged.checkpoint)
    _insert_artifacts(tx, task, report.artifacts)
    if report.resumable is not None:
        tx.execute("UPDATE tasks SET resumable = ? WHERE id = ?", canonical(report.resumable).decode(), task.id)
    posting, due = (stored.posting, stored.post_due_at) if stored else (Posting(), None)
    pace = telling.pace(report.status, posting, terms, force=report.force, crossed=judged.crossed, at=at)
    if pace.when is When.now:
        posting, due = _tell(tx, task, posting, terms, at), None
    elif pace.when is When.later and pace.due_at is not None:
        due = min(due, pace.due_at) if due else pace.due_at
    _update(tx, task, posting, due)
    return task


def cancel(tx: Transaction, task_id: str, *, by: str, reason: str, at: datetime, terms: SuperviseTerms | None = None) -> Task:
    """Note that a person wants the task to end; its agent is told with its next checkpoint, people at once.

    Raises `NotFound`, or `Conflict` for a task that has ended or is being cancelled.
    """
    stored = _found(tx, task_id)
    task = judging.cancelled(stored.task, by=by, reason=reason, at=at)
    told = terms is not None and bool(terms.channel)
    _update(tx, task, _tell(tx, task, stored.posting, terms, at), None if told else stored.post_due_at)
    intervene(tx, task_id, Intervention("cancel", by, task.cancel_reason), at=at)
    return task


def intervene(tx: Transaction, task_id: str, intervention: Intervention, *, at: datetime) -> None:
    """Keep what a person did to a task."""
    number = int(tx.fetch("SELECT COUNT(*) FROM interventions WHERE task = ?", task_id)[0][0]) + 1
    body: JsonObject = {"what": intervention.what, "by": intervention.by, "reason": intervention.reason}
    tx.execute(
        "INSERT INTO interventions (task, number, at, body) VALUES (?, ?, ?, ?)",
        task_id, number, _text(at), canonical(body).decode(),
    )  # fmt: skip


def flush(tx: Transaction, terms: SuperviseTerms, *, at: datetime) -> int:
    """Tell the newest state of every task whose withheld checkpoint is due; how many those were."""
    rows = tx.fetch(
        f"{_SELECT} WHERE post_due_at IS NOT NULL AND post_due_at <= ? ORDER BY post_due_at LIMIT ?", _text(at), MOST_AT_ONCE
    )
    for stored in map(_read, rows):
        _update(tx, stored.task, _tell(tx, stored.task, stored.posting, terms, at), None)
    return len(rows)


def stall(tx: Transaction, terms: SuperviseTerms, *, at: datetime) -> int:
    """Mark every task that was silent for too long, and tell of each once; how many those were."""
    since = at - timedelta(seconds=terms.stalled_intervals * terms.interval_seconds)
    rows = tx.fetch(
        f"{_SELECT} WHERE state = ? AND checkpoint_at <= ? ORDER BY checkpoint_at LIMIT ?",
        TaskState.running.value, _text(since), MOST_AT_ONCE,
    )  # fmt: skip
    for stored in map(_read, rows):
        task = judging.stalled(stored.task)
        _update(tx, task, _tell(tx, task, stored.posting, terms, at), None)
        tx.record(
            Record(
                kind="task.stalled",
                at=at,
                caller=task.agent,
                environment=task.environment,
                reason=f"No checkpoint since {_text(task.checkpoint_at)}.",
                data={"task": task.id},
            )
        )
    return len(rows)


async def waits(database: Database, terms: SuperviseTerms, *, at: datetime) -> bool:
    """Whether there is anything for `flush` or `stall` now; asked by readers, so that an idle second writes nothing."""
    since = at - timedelta(seconds=terms.stalled_intervals * terms.interval_seconds)
    rows = await database.fetch(
        "SELECT 1 FROM tasks WHERE (post_due_at IS NOT NULL AND post_due_at <= ?) OR (state = ? AND checkpoint_at <= ?) LIMIT 1",
        _text(at), TaskState.running.value, _text(since),
    )  # fmt: skip
    return bool(rows)


def is_due(tx: Transaction) -> bool:
    """Whether a task waits to be told of, or goes on and may stall: then a worker has to stay."""
    return bool(
        tx.fetch("SELECT 1 FROM tasks WHERE post_due_at IS NOT NULL LIMIT 1")
        or tx.fetch("SELECT 1 FROM tasks WHERE state = ? LIMIT 1", TaskState.running.value)
    )


def forget_before(tx: Transaction, at: datetime) -> int:
    """Drop tasks that were last heard of before that moment, with all that belongs to them; how many. The ledger keeps their
    calls."""
    marks = ", ".join("?" * len(TaskState))  # naming every state has the index of states and times searched
    rows = tx.fetch(
        f"SELECT id FROM tasks WHERE state IN ({marks}) AND checkpoint_at < ? ORDER BY checkpoint_at LIMIT ?",
        *(state.value for state in TaskState), _text(at), MOST_AT_ONCE,
    )  # fmt: skip
    for (task,) in rows:
        for table in ("checkpoints", "artifacts", "interventions"):
            tx.execute(f"DELETE FROM {table} WHERE task = ?", task)
        tx.execute("DELETE FROM tasks WHERE id = ?", task)
    return len(rows)


def _tell(tx: Transaction, task: Task, posting: Posting, terms: SuperviseTerms | None, at: datetime) -> Posting:
    """Put what is to be said into the outbox, where people are told of tasks at all."""
    if terms is None or not terms.channel:
        return posting
    emoji, color = telling.LOOKS[task.status]
    shown = _artifacts(tx, task.id)[-_SHOWN_ARTIFACTS:]
    cancel_button = Button(
        action="cancel_task",
        value=task.id,
        label="Cancel",
        style="danger",
        confirm="Ask this agent to stop? It is told at its next checkpoint.",
    )
    notice = Notice(
        id=f"{task.id}-{posting.posts + 1}",
        channel=terms.channel,
        thread=f"task {task.root or task.id}",
        severity="high" if task.status.value in ("error", "blocked") or task.state is TaskState.stalled else "info",
        title=telling.title(task),
        text="",
        untrusted=telling.lines(task, tuple(shown)),
        body={"task": task.json_value(), "artifacts": [artifact.json_value() for artifact in shown]},
        at=at,
        emoji=emoji,
        color=color,
        buttons=() if task.state.is_final or task.cancel_by else (cancel_button,),
    )
    outbox.enqueue(tx, notice, at=at)
    return Posting(at=at, posts=posting.posts + 1, status=task.status)


def _refuse_strangers(tx: Transaction, report: Report) -> None:
    """A task is handed to an agent that there is, and waits for a request that its agent made."""
    if report.hand_to is not None:
        other = people.agent_named(tx, report.hand_to)
        if other is None or other.revoked:
            raise NotFound("There is no such agent to hand the task to.", hint="Ask your operator for its name.")
    if report.approval is not None:
        asked = people.approval_by_id(tx, report.approval)
        if asked is None or asked.approval.agent != report.agent:
            raise NotFound("You made no such request for approval.", hint="Give the id that the refused call answered with.")


def _root_of(tx: Transaction, task: Task) -> str:
    """The task at the top of the tree, in whose thread all of it is told. Raises `NotFound` for a parent that there is not."""
    if task.parent is None:
        return task.id
    parent = _stored(tx, task.parent)
    if parent is None or parent.task.environment != task.environment:
        raise NotFound("There is no such parent task in this environment.", hint="`tasks` lists the ones you may see.")
    return parent.task.root or parent.task.id


def _insert(tx: Transaction, task: Task) -> None:
    tx.execute(
        "INSERT INTO tasks (id, agent, environment, state, parent, progress, body, created_at, checkpoint_at, completed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        task.id, task.agent, task.environment, task.state.value, task.parent, task.progress, task.model_dump_json(),
        _text(task.created_at), _text(task.checkpoint_at), _text(task.completed_at) if task.completed_at else None,
    )  # fmt: skip


def _update(tx: Transaction, task: Task, posting: Posting, due: datetime | None) -> None:
    tx.execute(
        "UPDATE tasks SET agent = ?, state = ?, progress = ?, body = ?, posting = ?, post_due_at = ?, checkpoint_at = ?,"
        " completed_at = ? WHERE id = ?",
        task.agent, task.state.value, task.progress, task.model_dump_json(), posting.model_dump_json(),
        _text(due) if due else None, _text(task.checkpoint_at), _text(task.completed_at) if task.completed_at else None, task.id,
    )  # fmt: skip


def _insert_checkpoint(tx: Transaction, checkpoint: Checkpoint) -> None:
    tx.execute(
        "INSERT INTO checkpoints (task, number, at, body) VALUES (?, ?, ?, ?)",
        checkpoint.task, checkpoint.number, _text(checkpoint.at), checkpoint.model_dump_json(),
    )  # fmt: skip


def _insert_artifacts(tx: Transaction, task: Task, artifacts: tuple[Artifact, ...]) -> None:
    first = task.artifacts - len(artifacts) + 1
    for number, artifact in enumerate(artifacts, first):
        tx.execute(
            "INSERT INTO artifacts (task, number, at, body) VALUES (?, ?, ?, ?)",
            task.id, number, _text(artifact.at), artifact.model_dump_json(),
        )  # fmt: skip


def _artifacts(tx: Transaction, task_id: str) -> list[Artifact]:
    rows = tx.fetch("SELECT body FROM artifacts WHERE task = ? ORDER BY number DESC LIMIT ?", task_id, _SHOWN_ARTIFACTS)
    return [Artifact.model_validate_json(row[0]) for row in reversed(rows)]


def _found(tx: Transaction, task_id: str) -> _Stored:
    stored = _stored(tx, task_id)
    if stored is None:
        raise NotFound("There is no task with this id.", hint="List them with: ops-mcp task list")
    return stored


def _stored(tx: Transaction, task_id: str) -> _Stored | None:
    rows = tx.fetch(f"{_SELECT} WHERE id = ?", task_id)
    return _read(rows[0]) if rows else None


def _read(row: tuple[str, str, str | None]) -> _Stored:
    body, posting, due = row
    return _Stored(
        Task.model_validate_json(body), Posting.model_validate_json(posting), datetime.fromisoformat(due) if due else None
    )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


_SELECT = "SELECT body, posting, post_due_at FROM tasks"
