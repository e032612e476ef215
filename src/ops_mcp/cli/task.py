"""`ops-mcp task …`: what agents work on, and asking one to stop."""

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.cli.waking import waker
from ops_mcp.domain.tasks import TaskState
from ops_mcp.errors import NotFound
from ops_mcp.operator.verbs import CancelTask
from ops_mcp.store.tasks.reading import Reading
from ops_mcp.supervising import telling
from ops_mcp.task_book import TasksWanted
from ops_mcp.values import Json, JsonObject

task_command = group("task", help="Tasks of agents: what they work on, and asking one to stop.")


@command("list", group=task_command)
@click.option("--status", "states", type=click.Choice([s.value for s in TaskState]), multiple=True, help="May be repeated.")
@click.option("--agent", help="Only this agent's.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="At most so many.")
async def task_list(desk: Desk, *, states: tuple[str, ...], agent: str | None, limit: int) -> Reply:
    """Show tasks, the newest first."""
    environments = tuple(desk.config().environments)
    wanted = TasksWanted(environments, agent=agent, states=tuple(map(TaskState, states)), limit=limit)
    async with desk.database() as database:
        found = await Reading(database).page(wanted)
    rows = [
        (t.id, t.agent, t.environment, t.state, f"{t.progress}%", t.name[:40], f"{t.checkpoint_at:%Y-%m-%d %H:%M:%S}")
        for t in found.tasks
    ]
    table = Table(("id", "agent", "environment", "state", "progress", "name", "last checkpoint"), rows, "No tasks.")
    listed: list[Json] = [t.json_value() for t in found.tasks]
    data: JsonObject = {"tasks": listed, "matched": found.matched}
    return Reply(data, (table, f"{found.matched} in all."))


@command("show", group=task_command)
@click.argument("id")
async def task_show(desk: Desk, *, id: str) -> Reply:
    """Show a task, its checkpoints and what it made."""
    async with desk.database() as database:
        reading = Reading(database)
        task = await reading.get(id)
        if task is None:
            raise NotFound("There is no task with this id.", hint="List them with: ops-mcp task list")
        checkpoints = await reading.checkpoints(id, 50)
        artifacts = await reading.artifacts(id, 50)
    rows = [(str(c.number), f"{c.at:%H:%M:%S}", c.status, f"{c.progress}%", c.action[:80]) for c in checkpoints]
    table = Table(("number", "at", "status", "progress", "action"), rows, "No checkpoints.")
    reports: list[Json] = [c.json_value() for c in checkpoints]
    made: list[Json] = [a.json_value() for a in artifacts]
    data: JsonObject = {"task": task.json_value(), "checkpoints": reports, "artifacts": made}
    return Reply(data, (telling.title(task), *telling.lines(task, tuple(artifacts)).splitlines(), table))


@command("cancel", group=task_command, signed=True)
@click.argument("id")
@click.option("--reason", default="", help="Why; the agent is told, and it is recorded.")
async def task_cancel(desk: Desk, *, id: str, reason: str) -> Reply:
    """Ask a task's agent to stop. It is told at its next checkpoint; to stop its calls at once: ops-mcp kill."""
    deed = await desk.order_alone(parsed(CancelTask, task=id, reason=reason))
    waker(desk.config())()
    return Reply(deed.said, (f"{id} is asked to stop; its agent is told at its next checkpoint.",))
