"""Tasks as they are read. Nothing here writes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, Checkpoint, Posting, Task, TaskState
from ops_mcp.errors import InvalidArguments
from ops_mcp.store.database import Database, SqlValue
from ops_mcp.task_book import TaskDay, TasksFound, TasksWanted
from ops_mcp.values import Json, JsonObject


class Reading:
    """Queries of tasks on the read-only connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, id: str) -> Task | None:
        rows = await self._database.fetch("SELECT body FROM tasks WHERE id = ?", id)
        return Task.model_validate_json(rows[0][0]) if rows else None

    async def page(self, wanted: TasksWanted) -> TasksFound:
        """Ids sort by time, so a cursor is the last id that was shown."""
        where, params = _where(wanted)
        counted = await self._database.fetch(f"SELECT COUNT(*) FROM tasks WHERE {where}", *params)
        if wanted.cursor is not None:
            if not wanted.cursor.startswith("task_"):
                fields: list[Json] = ["cursor"]
                raise InvalidArguments("cursor: not one of ours.", hint="Use next_cursor as given.", details={"fields": fields})
            where, params = f"{where} AND id < ?", [*params, wanted.cursor]
        rows = await self._database.fetch(
            f"SELECT body FROM tasks WHERE {where} ORDER BY id DESC LIMIT ?", *params, wanted.limit + 1
        )
        found = [Task.model_validate_json(row[0]) for row in rows[: wanted.limit]]
        return TasksFound(found, int(counted[0][0]), found[-1].id if len(rows) > wanted.limit else None)

    async def checkpoints(self, id: str, limit: int) -> Sequence[Checkpoint]:
        rows = await self._database.fetch("SELECT body FROM checkpoints WHERE task = ? ORDER BY number DESC LIMIT ?", id, limit)
        return [Checkpoint.model_validate_json(row[0]) for row in reversed(rows)]

    async def artifacts(self, id: str, limit: int) -> Sequence[Artifact]:
        rows = await self._database.fetch("SELECT body FROM artifacts WHERE task = ? ORDER BY number DESC LIMIT ?", id, limit)
        return [Artifact.model_validate_json(row[0]) for row in reversed(rows)]

    async def resumable(self, id: str) -> JsonObject | None:
        rows = await self._database.fetch("SELECT resumable FROM tasks WHERE id = ?", id)
        found: JsonObject | None = json.loads(rows[0][0]) if rows and rows[0][0] else None
        return found

    async def posting(self, id: str) -> Posting:
        rows = await self._database.fetch("SELECT posting FROM tasks WHERE id = ?", id)
        return Posting.model_validate_json(rows[0][0]) if rows else Posting()

    async def days(self, environments: Sequence[EnvironmentName], since: datetime, until: datetime) -> Sequence[TaskDay]:
        """The days of the tasks' creation, in UTC."""
        dates = _dates(since, until)
        if not environments:
            return [TaskDay(date, 0, 0, 0, None) for date in dates]
        marks = ", ".join("?" * len(environments))
        rows = await self._database.fetch(
            f"SELECT state, created_at, completed_at FROM tasks WHERE environment IN ({marks}) AND created_at >= ?"
            " AND created_at < ?",
            *environments, dates[0], _next(dates[-1]),
        )  # fmt: skip
        of_day: dict[str, list[tuple[str, float | None]]] = {date: [] for date in dates}
        for state, created, completed in rows:
            took = (datetime.fromisoformat(completed) - datetime.fromisoformat(created)).total_seconds() if completed else None
            of_day[created[:10]].append((state, took))
        return [_day(date, tasks) for date, tasks in of_day.items()]


def _where(wanted: TasksWanted) -> tuple[str, list[SqlValue]]:
    clauses = [f"environment IN ({', '.join('?' * len(wanted.environments)) or 'NULL'})"]
    params: list[SqlValue] = [*wanted.environments]
    if wanted.agent is not None:
        clauses.append("agent = ?")
        params.append(wanted.agent)
    if wanted.states:
        clauses.append(f"state IN ({', '.join('?' * len(wanted.states))})")
        params += [state.value for state in wanted.states]
    if wanted.parent is not None:
        clauses.append("parent = ?")
        params.append(wanted.parent)
    return " AND ".join(clauses), params


def _day(date: str, tasks: Sequence[tuple[str, float | None]]) -> TaskDay:
    ended = [took for _, took in tasks if took is not None]
    return TaskDay(
        date=date,
        total=len(tasks),
        completed=sum(state == TaskState.completed.value for state, _ in tasks),
        failed=sum(state == TaskState.failed.value for state, _ in tasks),
        average_seconds=sum(ended) / len(ended) if ended else None,
    )


def _dates(since: datetime, until: datetime) -> list[str]:
    first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _next(date: str) -> str:
    return (datetime.fromisoformat(date) + timedelta(days=1)).date().isoformat()
