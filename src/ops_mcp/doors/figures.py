"""Figures of our own work over HTTP: `/metrics` as Prometheus reads it, `/metrics/daily` of agents' tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ops_mcp import __version__
from ops_mcp.domain.calls import BudgetLine
from ops_mcp.domain.identity import Agent, Operator
from ops_mcp.domain.tasks import TaskState
from ops_mcp.doors._calls import Calls
from ops_mcp.doors._families import Family, family, histogram, page
from ops_mcp.doors._guests import Guest, Visitors, route
from ops_mcp.doors.tasks import whole
from ops_mcp.governance import budgets
from ops_mcp.metrics.exposition import CONTENT_TYPE
from ops_mcp.metrics.names import Kind
from ops_mcp.observing import AlertsWanted
from ops_mcp.startup import Opened
from ops_mcp.store import gauges
from ops_mcp.store.counters import Allowance
from ops_mcp.store.gauges import Depths, Spending
from ops_mcp.store.outbox import State

MOST_DAYS = 365


def routes(opened: Opened, visitors: Visitors) -> Sequence[Route]:
    """Both are read with a token."""
    figures = Figures(opened, Calls(opened.database, opened.app.clock()))
    return (
        route("/metrics", figures.current, opened.app, visitors),
        route("/metrics/daily", figures.daily, opened.app, visitors),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """An operator sees all of the installation, an agent its own calls and budgets."""

    opened: Opened
    calls: Calls

    async def current(self, guest: Guest, request: Request) -> Response:  # noqa: ARG002  # it takes no parameters
        app = self.opened.app
        if isinstance(guest.who, Agent):
            # Always reachable, and shows the same of its budgets: decided and recorded like any call.
            await guest.through("whoami", {})
        only = guest.who.name if isinstance(guest.who, Agent) else None
        await self.calls.catch_up(app.tools)
        families = [*self.calls.families(only), *await self._budgets(only)]
        if isinstance(guest.who, Operator):
            families += [self._latency(), *await self._depths(guest)]
        return Response(page(families), media_type=CONTENT_TYPE)

    async def daily(self, guest: Guest, request: Request) -> Response:
        days = whole(request.query_params.get("days"), "days", least=1, most=MOST_DAYS, otherwise=7)
        if isinstance(guest.who, Agent):
            await guest.through("tasks", {"limit": 1})
        until = self.opened.app.clock()
        book = self.opened.app.sights.tasks
        found = await book.days(guest.environments("tasks"), since=until - timedelta(days=days - 1), until=until)
        told = [
            {
                "date": day.date,
                "total": day.total,
                "completed": day.completed,
                "failed": day.failed,
                "avg_duration": round(day.average_seconds or 0.0, 3),
            }
            for day in found
        ]
        return JSONResponse({"days": told})

    async def _budgets(self, only: str | None) -> list[Family]:
        found = await gauges.spending(self.opened.database, self.opened.app.clock())
        own = [row for row in found if only is None or row.scope.split(":")[0] == only]
        return budget_families(own, self.opened.app.rules().allowance)

    def _latency(self) -> Family:
        timed = sorted(self.opened.app.timings.by_tool.items())
        about = "How long calls took in this process, waiting for people and deployments included."
        used = [({"tool": tool}, counted) for tool, counted in timed if any(counted.counts)]
        return histogram("ops_mcp_call_duration_seconds", about, used)

    async def _depths(self, guest: Guest) -> list[Family]:
        app = self.opened.app
        found = await gauges.depths(self.opened.database, app.clock())
        alerts = await app.sights.alerts.alerts(AlertsWanted(guest.environments("alerts"), limit=1))
        return depth_families(found, writable=not self.opened.database.trouble, alerts=alerts.matched)


def budget_families(found: Sequence[Spending], allowance: Allowance) -> list[Family]:
    """What is spent of each budget's present windows, and its limits where there are any."""
    spent: list[tuple[dict[str, str], float]] = []
    limits: list[tuple[dict[str, str], float]] = []
    for row in found:
        caller, _, rest = row.scope.partition(":")
        tier, _, line = rest.partition(":")
        span = "hour" if "T" in row.window else "day"
        own = allowance.everyone_limits() if caller == budgets.EVERYONE else allowance.own_limits(caller, BudgetLine(line))
        limit = own.hour if span == "hour" else own.day
        labels = {"agent": caller, "tier": tier, "line": line, "window": span}
        for currency, used, most in zip(budgets.Limit._fields, row[2:], limit, strict=True):
            spent.append(({**labels, "currency": currency}, used))
            if most is not None:
                limits.append(({**labels, "currency": currency}, most))
    about = "Spent or reserved in the present window; money in millionths of a dollar."
    return [
        family("ops_mcp_budget_spent", Kind.gauge, about, spent),
        family("ops_mcp_budget_limit", Kind.gauge, "The most that may be spent in the present window.", limits),
    ]


def depth_families(found: Depths, *, writable: bool, alerts: int) -> list[Family]:
    """What waits, who works, and how far the ledger is."""
    notices = [({"state": state.value}, found.outbox.get(state.value, 0)) for state in State]
    tasks = [({"state": state.value}, found.tasks.get(state.value, 0)) for state in TaskState]
    plain = (
        ("ops_mcp_approvals_pending", "Requests for approval that wait for a person.", found.approvals),
        ("ops_mcp_operations_open", "Operations that are committed and not final.", found.operations),
        ("ops_mcp_alerts_open", "Alerts that have not ended.", alerts),
        ("ops_mcp_worker_lease_remaining_seconds", "How long the worker's lease still runs; 0 without one.", found.lease_seconds),
        ("ops_mcp_ledger_head", "The number of the newest ledger record.", found.head),
        ("ops_mcp_ledger_writable", "Whether the ledger could be written when it was last tried.", int(writable)),
    )
    return [
        family("ops_mcp_build_info", Kind.gauge, "The version that answers.", [({"version": __version__}, 1)]),
        family("ops_mcp_outbox_notices", Kind.gauge, "Notices to people, by state.", notices),
        family("ops_mcp_tasks", Kind.gauge, "Tasks of agents that are kept, by state.", tasks),
        *(family(name, Kind.gauge, about, [({}, value)]) for name, about, value in plain),
    ]
