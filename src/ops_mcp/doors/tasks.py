"""Tasks over HTTP for whoever has a token: a list by state and agent, one task, one agent's newest."""

import re
from collections.abc import Sequence
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ops_mcp.domain.identity import Operator
from ops_mcp.domain.places import NAME_PATTERN
from ops_mcp.domain.tasks import Task, TaskState
from ops_mcp.doors._guests import Guest, Visitors, route
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.startup import Opened
from ops_mcp.task_book import TasksWanted
from ops_mcp.tools.supervise.tasks import MOST_TASKS, line
from ops_mcp.values import Json, JsonObject

DEFAULT_LIMIT, MOST_LIMIT = 50, 200
_PARAMETERS = ("status", "agent", "limit", "cursor")
_TASK_ID = re.compile(r"task_[0-9a-z]{8,40}")
_AGENT_NAME = re.compile(NAME_PATTERN)


def routes(opened: Opened, visitors: Visitors) -> Sequence[Route]:
    """Nothing where the toolset `supervise` is off."""
    if "tasks" not in opened.app.tools:
        return ()
    return (
        route("/tasks", listed, opened.app, visitors),
        route("/tasks/{id}", shown, opened.app, visitors),
    )


async def listed(guest: Guest, request: Request) -> Response:
    """Tasks that this guest may see, the newest first."""
    wanted = _wanted(guest, request)
    found = await _page(guest, wanted)
    return JSONResponse({"tasks": found.lines, "matched": found.matched, "next_cursor": found.cursor})


async def shown(guest: Guest, request: Request) -> Response:
    """One task by its id, or an agent's newest together with the list of its tasks."""
    name = str(request.path_params["id"])
    if _TASK_ID.fullmatch(name):
        return JSONResponse(_counted(await _one(guest, name)))
    if not _AGENT_NAME.fullmatch(name):
        raise _unknown()
    wanted = TasksWanted(guest.environments("tasks"), agent=name, limit=DEFAULT_LIMIT)
    found = await _page(guest, wanted)
    if not found.lines:
        raise _unknown()
    latest = await _one(guest, str(found.lines[0]["task_id"]))
    return JSONResponse({**_counted(latest), "tasks": found.lines, "matched": found.matched, "next_cursor": found.cursor})


class _Found:
    """A page as it is answered."""

    def __init__(self) -> None:
        self.lines: list[JsonObject] = []
        self.matched: int = 0
        self.cursor: str | None = None


async def _page(guest: Guest, wanted: TasksWanted) -> _Found:
    """An agent's pages come through the tool, which shows fewer at once."""
    found, cursor = _Found(), wanted.cursor
    while True:
        left = wanted.limit - len(found.lines)
        if isinstance(guest.who, Operator):
            page = await guest.app.sights.tasks.page(wanted)
            found.lines += [_line(line(task).json_value()) for task in page.tasks]
            found.matched, found.cursor = page.matched, page.next_cursor
            return found
        state = wanted.states[0].value if wanted.states else None
        asked: JsonObject = {"agent": wanted.agent, "state": state, "limit": min(left, MOST_TASKS), "cursor": cursor}
        answer = await guest.through("tasks", {name: value for name, value in asked.items() if value is not None})
        lines = cast(list[JsonObject], answer["tasks"])
        found.lines += map(_line, lines)
        found.matched = cast(int, answer["matched"])
        found.cursor = cursor = cast(str | None, answer.get("next_cursor"))
        if cursor is None or len(found.lines) >= wanted.limit:
            return found


async def _one(guest: Guest, id: str) -> Task:
    """The task, once the gate has said that this guest may see it."""
    if not isinstance(guest.who, Operator):
        await guest.through("task", {"task": id})
    found = await guest.app.sights.tasks.get(id)
    if found is None:
        raise _unknown()
    return found


def _counted(task: Task) -> JsonObject:
    told: JsonObject = {
        **_line(line(task).json_value()),
        "requested_by": task.requested_by,
        "elapsed_seconds": round(task.elapsed_seconds, 1),
        "tokens_used": task.tokens_used,
        "token_limit": task.token_limit,
        "context": task.context.value,
        "untrusted_error": task.error,
        "untrusted_result": task.result,
        "started_at": task.started_at.isoformat(),
        "completed_at": task.completed_at.isoformat() if task.completed_at else None,
    }
    return {"task": told, "checkpoints": task.checkpoints, "artifacts": task.artifacts}


def _line(said: JsonObject) -> JsonObject:
    """As the tool shows it, under the names that HTTP has: `status` is where the task stands."""
    rest = {name: value for name, value in said.items() if name not in ("id", "agent", "state", "status")}
    names = {"task_id": said["id"], "agent_id": said["agent"], "status": said["state"], "checkpoint_status": said["status"]}
    return {**names, **rest}


def _wanted(guest: Guest, request: Request) -> TasksWanted:
    """Raises `InvalidArguments` naming the field."""
    given = request.query_params
    for name in given:
        if name not in _PARAMETERS or len(given.getlist(name)) > 1:
            # A name of a stranger's is not repeated.
            raise invalid(name if name in _PARAMETERS else "query", f"Each of {', '.join(_PARAMETERS)} once, and no others.")
    status, agent, cursor = given.get("status"), given.get("agent"), given.get("cursor")
    if status is not None and status not in [state.value for state in TaskState]:
        raise invalid("status", f"One of {', '.join(TaskState)}.")
    if agent is not None and not _AGENT_NAME.fullmatch(agent):
        raise invalid("agent", "An agent's name.")
    if cursor is not None and not _TASK_ID.fullmatch(cursor):
        raise invalid("cursor", "Use next_cursor as given.")
    return TasksWanted(
        guest.environments("tasks"),
        agent=agent,
        states=(TaskState(status),) if status else (),
        limit=whole(given.get("limit"), "limit", least=1, most=MOST_LIMIT, otherwise=DEFAULT_LIMIT),
        cursor=cursor,
    )


def whole(text: str | None, field: str, *, least: int, most: int, otherwise: int) -> int:
    """A whole number of a query. Raises `InvalidArguments` naming its field."""
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and least <= int(text) <= most):
        raise invalid(field, f"A whole number from {least} to {most}.")
    return int(text)


def invalid(field: str, hint: str) -> InvalidArguments:
    """Names the field, and never what was given."""
    fields: list[Json] = [field]
    return InvalidArguments(f"{field}: not a valid value.", hint=hint, details={"fields": fields})


def _unknown() -> NotFound:
    return NotFound("There is no such task, and no tasks of such an agent.", hint="GET /tasks lists the ones you may see.")
