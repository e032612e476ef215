"""Budget windows and rate buckets as rows, read and written in the admitting transaction; the ledger can rebuild them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from ops_mcp import config
from ops_mcp.domain.calls import BudgetLine, Cost
from ops_mcp.domain.identity import Effect, Tier
from ops_mcp.governance import budgets, rates
from ops_mcp.governance.history import RateState, Window
from ops_mcp.store.database import Transaction

KEEP_WINDOWS = timedelta(days=8)


class Charge(NamedTuple):
    """One counter row that a call is charged to."""

    scope: str
    name: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """The operator's budgets and rates, and the price and limits that follow for one caller."""

    limits: config.Budgets
    rates: config.Rates

    def own_limits(self, caller: str, line: BudgetLine) -> budgets.Limits:
        """What this caller may spend on this line."""
        if caller == "anonymous":
            return _limits(self.limits.anonymous)
        key: Literal["read", "work", "recovery"] = line.value
        return _limits(self.limits.agents.get(caller, {}).get(key) or getattr(self.limits, key))

    def rate_of(self, effect: Effect) -> config.Rate:
        rate: config.Rate = getattr(self.rates, effect.value)
        return rate


def windows(
    tx: Transaction, allowance: Allowance, caller: str, tier: Tier | None, line: BudgetLine, at: datetime
) -> tuple[Window, ...]:
    """The four windows a call is charged to, with what is spent or reserved in each."""
    empty = budgets.windows_for(
        caller, tier, line, own=allowance.own_limits(caller, line), everyone=everyone_limits(allowance), at=at
    )
    own_hour, own_day, all_hour, all_day = empty
    rows = tx.fetch(
        "SELECT scope, win, calls, tokens, usd_micros FROM spend"
        " WHERE (scope = ? AND win IN (?, ?)) OR (scope = ? AND win IN (?, ?))",
        own_hour.scope, own_hour.name, own_day.name, all_hour.scope, all_hour.name, all_day.name,
    )  # fmt: skip
    return budgets.with_spent(empty, {(row[0], row[1]): budgets.Spent(*row[2:]) for row in rows})


def everyone_limits(allowance: Allowance) -> budgets.Limits:
    """What all callers together may spend."""
    return _limits(allowance.limits.everyone)


def charge(tx: Transaction, charges: Iterable[Charge], cost: Cost) -> None:
    """Add a cost (a negative one credits) to each counter row."""
    rows = [value for scope, name in charges for value in (scope, name, cost.calls, cost.tokens, cost.usd_micros)]
    tx.execute(
        "INSERT INTO spend (scope, win, calls, tokens, usd_micros) VALUES "
        + ", ".join(["(?, ?, ?, ?, ?)"] * (len(rows) // 5))
        + " ON CONFLICT (scope, win) DO UPDATE SET calls = spend.calls + excluded.calls,"
        " tokens = spend.tokens + excluded.tokens, usd_micros = spend.usd_micros + excluded.usd_micros",
        *rows,
    )


def charges_of(windows: Sequence[Window]) -> tuple[Charge, ...]:
    return tuple(Charge(window.scope, window.name) for window in windows)


def rate(tx: Transaction, allowance: Allowance, caller: str, effect: Effect, at: datetime) -> RateState:
    """The caller's bucket for this effect, refilled up to now."""
    terms = allowance.rate_of(effect)
    rows = tx.fetch("SELECT level, at FROM buckets WHERE caller = ? AND effect = ?", caller, effect.value)
    if not rows:
        return rates.full(per_minute=terms.per_minute, burst=terms.burst)
    level, since = rows[0]
    return rates.refilled(level, since=datetime.fromisoformat(since), at=at, per_minute=terms.per_minute, burst=terms.burst)


def take(tx: Transaction, caller: str, effect: Effect, state: RateState, at: datetime) -> None:
    """Take one call from the bucket."""
    tx.execute(
        "INSERT INTO buckets (caller, effect, level, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (caller, effect) DO UPDATE SET level = excluded.level, at = excluded.at",
        caller, effect.value, rates.taken(state), at.isoformat(),
    )  # fmt: skip


def mark_warned(tx: Transaction, charge: Charge, percent: int) -> bool:
    """Note that a window's warning was given; False when it, or a higher one, was given before."""
    return (
        tx.execute(
            "UPDATE spend SET warned = ? WHERE scope = ? AND win = ? AND warned < ?", percent, charge.scope, charge.name, percent
        )
        > 0
    )


def forget_before(tx: Transaction, at: datetime) -> None:
    """Drop windows that no report shows any more."""
    tx.execute("DELETE FROM spend WHERE win < ?", (at - KEEP_WINDOWS).strftime("%Y-%m-%d"))


def _limits(limits: config.Limits) -> budgets.Limits:
    return budgets.Limits(
        budgets.Limit(limits.calls_per_hour, limits.tokens_per_hour, limits.usd_micros_per_hour),
        budgets.Limit(limits.calls_per_day, limits.tokens_per_day, limits.usd_micros_per_day),
    )
