"""Tasks as they are read. Nothing here writes."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, Checkpoint, Task
from ops_mcp.store.database import Database
from ops_mcp.task_book import TaskDay, TasksFound, TasksWanted
from ops_mcp.values import JsonObject


class Reading:
    """Queries of tasks on the read-only connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, id: str) -> Task | None:
        rows = await self._database.fetch("SELECT body FROM tasks WHERE id = ?", id)
        return Task.model_validate_json(rows[0][0]) if rows else None

    async def page(self, wanted: TasksWanted) -> TasksFound:
        raise NotImplementedError

    async def checkpoints(self, id: str, limit: int) -> Sequence[Checkpoint]:
        raise NotImplementedError

    async def artifacts(self, id: str, limit: int) -> Sequence[Artifact]:
        raise NotImplementedError

    async def resumable(self, id: str) -> JsonObject | None:
        raise NotImplementedError

    async def days(self, environments: Sequence[EnvironmentName], since: datetime, until: datetime) -> Sequence[TaskDay]:
        raise NotImplementedError
