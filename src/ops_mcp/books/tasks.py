"""Tasks and checkpoints, as stored. Nothing of it is loaded before somebody looks."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, Checkpoint, Posting, Task
from ops_mcp.store.database import Database
from ops_mcp.task_book import TaskDay, TasksFound, TasksWanted
from ops_mcp.values import JsonObject

if TYPE_CHECKING:  # start-up has a bar
    from ops_mcp.store.tasks.reading import Reading


class Tasks:
    """Satisfies `observing.TaskBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, id: str) -> Task | None:
        return await self._reading.get(id)

    async def page(self, wanted: TasksWanted) -> TasksFound:
        return await self._reading.page(wanted)

    async def checkpoints(self, id: str, *, limit: int = 20) -> Sequence[Checkpoint]:
        return await self._reading.checkpoints(id, limit)

    async def artifacts(self, id: str, *, limit: int = 20) -> Sequence[Artifact]:
        return await self._reading.artifacts(id, limit)

    async def resumable(self, id: str) -> JsonObject | None:
        return await self._reading.resumable(id)

    async def posting(self, id: str) -> Posting:
        return await self._reading.posting(id)

    async def days(self, environments: Sequence[EnvironmentName], *, since: datetime, until: datetime) -> Sequence[TaskDay]:
        return await self._reading.days(environments, since, until)

    @property
    def _reading(self) -> "Reading":
        from ops_mcp.store.tasks.reading import Reading  # start-up has a bar

        return Reading(self._database)
