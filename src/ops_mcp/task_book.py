"""The Protocol by which tasks of agents are read."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, Checkpoint, Posting, Task, TaskState
from ops_mcp.values import JsonObject


class TasksWanted(NamedTuple):
    """Which tasks of these environments, the newest first. `agent` is who works on it now."""

    environments: tuple[EnvironmentName, ...]
    agent: str | None = None
    states: tuple[TaskState, ...] = ()
    parent: str | None = None
    limit: int = 50
    cursor: str | None = None


class TasksFound(NamedTuple):
    """`matched` counts all that match; `next_cursor` is None when nothing is left."""

    tasks: Sequence[Task]
    matched: int
    next_cursor: str | None = None


class TaskDay(NamedTuple):
    """Tasks that were opened on one day (UTC), and how long those of them that ended took."""

    date: str
    total: int
    completed: int
    failed: int
    average_seconds: float | None


class TaskBook(Protocol):
    """Tasks and their checkpoints, as stored."""

    async def get(self, id: str) -> Task | None: ...

    async def page(self, wanted: TasksWanted) -> TasksFound: ...

    async def checkpoints(self, id: str, *, limit: int = 20) -> Sequence[Checkpoint]:
        """The newest, oldest first."""
        ...

    async def artifacts(self, id: str, *, limit: int = 20) -> Sequence[Artifact]:
        """The newest, oldest first."""
        ...

    async def resumable(self, id: str) -> JsonObject | None:
        """The state that an agent left to begin again from."""
        ...

    async def posting(self, id: str) -> Posting:
        """What the task's thread was told last; nothing for a task that there is not."""
        ...

    async def days(self, environments: Sequence[EnvironmentName], *, since: datetime, until: datetime) -> Sequence[TaskDay]:
        """Every day of the span, those without tasks too, the oldest first."""
        ...
