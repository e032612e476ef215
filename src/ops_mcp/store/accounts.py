"""ports.Accounts: one caller's governed state, read for `whoami`."""

from collections.abc import Callable
from datetime import datetime

from ops_mcp.domain.calls import BudgetLine
from ops_mcp.domain.identity import Agent, Caller, System, Tier
from ops_mcp.errors import Unavailable
from ops_mcp.governance import budgets
from ops_mcp.governance.history import Window
from ops_mcp.ports import Account, BudgetLeft
from ops_mcp.store import halts
from ops_mcp.store.counters import Allowance
from ops_mcp.store.database import Database


class StoredAccounts:
    """Accounts over the database and the operator's present allowance."""

    def __init__(self, database: Database, allowance: Callable[[], Allowance]) -> None:
        self._database = database
        self._allowance = allowance

    async def of(self, caller: Caller, at: datetime) -> Account:
        """Budgets left on every line up to the caller's ceiling, and what stops it now. Says trouble instead of raising."""
        agent = caller.agent if isinstance(caller, System) else caller
        try:
            windows = await self._windows(agent.name, _tiers(agent), at)
            frozen = await halts.freezes(self._database)
            pending = await self._database.fetch(
                "SELECT COUNT(*) FROM approvals WHERE agent = ? AND state = 'pending' AND answer_by > ?",
                agent.name,
                at.isoformat(),
            )
        except Unavailable as down:
            return Account(caller=caller, ledger_writable=False, trouble=down.message)
        return Account(
            caller=caller,
            budgets=tuple(left for window in windows for left in _left(window)),
            frozen=tuple(freeze.environment or "*" for freeze in frozen),
            open_approvals=int(pending[0][0]),
            ledger_writable=not self._database.trouble,
            trouble=self._database.trouble,
        )

    async def _windows(self, name: str, tiers: tuple[Tier, ...], at: datetime) -> tuple[Window, ...]:
        allowance = self._allowance()
        everyone = allowance.everyone_limits()
        rows = await self._database.fetch(
            "SELECT scope, win, calls, tokens, usd_micros FROM spend WHERE scope LIKE ? AND win >= ?",
            f"{name}:%", at.strftime("%Y-%m-%d"),
        )  # fmt: skip
        spent = {(row[0], row[1]): budgets.Spent(*row[2:]) for row in rows}
        found: list[Window] = []
        for tier in tiers:
            for line in BudgetLine:
                own = allowance.own_limits(name, line)
                empty = budgets.windows_for(name, tier, line, own=own, everyone=everyone, at=at)
                found.extend(budgets.with_spent(empty[:2], spent))
        return tuple(found)


def _tiers(agent: object) -> tuple[Tier, ...]:
    if not isinstance(agent, Agent):
        return (Tier.sandbox,)
    return tuple(tier for tier in Tier if tier.rank <= agent.ceiling.tier.rank)


def _left(window: Window) -> list[BudgetLeft]:
    """One entry a currency that is limited."""
    scope = window.scope.split(":", 1)[1]
    currencies = (
        ("calls", window.calls_limit, window.calls),
        ("tokens", window.tokens_limit, window.tokens),
        ("usd_micros", window.usd_micros_limit, window.usd_micros),
    )
    return [
        BudgetLeft(
            scope=scope,
            window=window.span,
            currency=currency,
            limit=limit,
            left=max(0, limit - spent),
            resets_at=window.resets_at,
        )
        for currency, limit, spent in currencies
        if limit is not None
    ]
