"""Reads what the first page shows. Decides nothing."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.domain.calls import BudgetLine
from ops_mcp.doors.page.views import Budget, Overview
from ops_mcp.governance import approvals, budgets
from ops_mcp.observing import AlertsWanted
from ops_mcp.ports import TrailEntry, TrailQuery
from ops_mcp.startup import Opened
from ops_mcp.store import gauges, halts, people
from ops_mcp.task_book import TasksWanted

MOST_ROWS, MOST_DECISIONS, MOST_LOOKED_AT = 20, 15, 400
_DECIDED = ("approval.", "operator.", "agent.", "freeze.", "policy.", "page.", "task.cancel")


async def gathered(opened: Opened) -> Overview:
    """As it stands now."""
    app, database = opened.app, opened.database
    at, environments = app.clock(), tuple(app.world().config.environments)
    asked = await people.recent_approvals(database, limit=200)
    alerts = await app.sights.alerts.alerts(AlertsWanted(environments, limit=MOST_ROWS))
    tasks = await app.sights.tasks.page(TasksWanted(environments, limit=MOST_ROWS))
    return Overview(
        at=at,
        waiting=[stored for stored in reversed(asked) if approvals.is_pending(stored.approval, at=at)],
        stopped=await _stopped(opened),
        running=await gauges.running(database, limit=50),
        budgets=await _budgets(opened),
        decisions=await _decisions(opened),
        alerts=alerts.alerts,
        tasks=tasks.tasks,
        worker=await app.sights.health.standstill() or "A worker is at work, or nothing is there for one to do.",
    )


async def _stopped(opened: Opened) -> list[str]:
    found = [
        f"Frozen: {freeze.environment or 'every environment'}, {_since(freeze.by, freeze.since)}: {freeze.reason}"
        for freeze in await halts.freezes(opened.database)
    ]
    halt = await halts.halt(opened.database)
    if halt is not None:
        found.append(f"Everyone is killed, {_since(halt.by, halt.since)}: {halt.reason}")
    killed = [agent.name for agent in await people.agents(opened.database) if agent.killed and not agent.revoked]
    return [*found, f"Killed: {', '.join(killed)}"] if killed else found


def _since(by: str, since: datetime) -> str:
    return f"by {by} since {since:%Y-%m-%d %H:%M} UTC"


async def _budgets(opened: Opened) -> list[Budget]:
    """Those that are used and limited, the fullest first."""
    allowance = opened.app.rules().allowance
    found: list[Budget] = []
    for row in await gauges.spending(opened.database, opened.app.clock()):
        caller, _, rest = row.scope.partition(":")
        tier, _, line = rest.partition(":")
        span = "hour" if "T" in row.window else "day"
        own = allowance.everyone_limits() if caller == budgets.EVERYONE else allowance.own_limits(caller, BudgetLine(line))
        for currency, used, limit in zip(budgets.Limit._fields, row[2:], own.hour if span == "hour" else own.day, strict=True):
            if used and limit:
                found.append(Budget(caller, f"{line}, {tier}" if line else "all", span, currency.replace("_", " "), used, limit))
    return sorted(found, key=lambda b: b.used / b.limit, reverse=True)[:MOST_ROWS]


async def _decisions(opened: Opened) -> Sequence[TrailEntry]:
    """What people decided, and what was refused, the newest first, as far as the last records reach."""
    page = await opened.app.trail.search(TrailQuery(caller=None, limit=MOST_LOOKED_AT))
    return [entry for entry in page.items if _is_decision(str(entry.body.get("kind")))][:MOST_DECISIONS]


def _is_decision(kind: str) -> bool:
    return kind.startswith(_DECIDED) or kind in ("call.refused", "call.refused_many")
