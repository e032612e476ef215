"""`ops-mcp budget …`: what agents have left, and the reset that only an operator can order."""

from datetime import datetime

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.domain.identity import Agent, Tier
from ops_mcp.errors import NotFound
from ops_mcp.operator.verbs import ResetBudget
from ops_mcp.ports import BudgetLeft
from ops_mcp.store import people
from ops_mcp.store.accounts import StoredAccounts
from ops_mcp.store.counters import Allowance

budget_command = group("budget", help="What agents may spend, and have spent.")


@command("show", group=budget_command)
@click.option("--agent", help="This agent only.")
@click.option("--all", "everything", is_flag=True, help="Untouched budgets too.")
async def budget_show(desk: Desk, *, agent: str | None, everything: bool) -> Reply:
    """Show what agents have left in this hour and day."""
    settings = desk.config().settings
    async with desk.database() as database:
        chosen = _chosen(await people.agents(database), agent)
        accounts = StoredAccounts(database, lambda: Allowance(settings.budgets, settings.rates))
        left = {a.name: (await accounts.of(a, desk.now())).budgets for a in chosen}
    shown = [(name, b) for name, budgets in left.items() for b in budgets if everything or b.left < b.limit]
    rows = [_row(name, b, desk.now()) for name, b in shown]
    table = Table(
        ("agent", "budget", "per", "currency", "left", "of", "resets in"), rows, "Nothing has been spent in this hour and day."
    )
    return Reply({"budgets": [{"agent": name, **b.json_value()} for name, b in shown]}, (table,))


@command("reset", group=budget_command, signed=True)
@click.option("--agent", required=True, help="Whose budget.")
@click.option("--tier", type=click.Choice([tier.value for tier in Tier]), help="In environments of this tier only.")
@click.option("--reason", required=True, help="Why; recorded.")
async def budget_reset(desk: Desk, *, agent: str, tier: str | None, reason: str) -> Reply:
    """Forget what an agent has spent in this hour and day; what its open calls hold stays held."""
    deed = await desk.order_alone(parsed(ResetBudget, agent=agent, tier=tier, reason=reason))
    credits = deed.said["credits"]
    count = len(credits) if isinstance(credits, list) else 0
    return Reply(deed.said, (f"The budget of {agent} is full again ({count} counters).",))


def _chosen(agents: tuple[Agent, ...], name: str | None) -> tuple[Agent, ...]:
    alive = tuple(a for a in agents if not a.revoked and name in (None, a.name))
    if name is not None and not alive:
        known = ", ".join(a.name for a in agents if not a.revoked)
        raise NotFound(f"There is no agent {name!r}.", hint=f"Agents: {known}." if known else "Run: ops-mcp agent add NAME")
    return alive


def _row(name: str, budget: BudgetLeft, now: datetime) -> tuple[str, ...]:
    minutes = max(0, round((budget.resets_at - now).total_seconds() / 60))
    currency, left, limit = budget.currency, str(budget.left), str(budget.limit)
    if currency == "usd_micros":
        currency, left, limit = "USD", f"{budget.left / 1e6:.2f}", f"{budget.limit / 1e6:.2f}"
    return name, budget.scope, budget.window, currency, left, limit, f"{minutes // 60}:{minutes % 60:02d} h"
