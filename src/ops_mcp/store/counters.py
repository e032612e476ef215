"""Budget windows and rate buckets as rows, read and written in the admitting transaction; the ledger can rebuild them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from ops_mcp import config
from ops_mcp.domain.calls import BudgetLine, Cost
from ops_mcp.domain.identity import Effect, Tier
from ops_mcp.governance import budgets, rates
from ops_mcp.governance.history import RateState, Window
from ops_mcp.store.database import Transaction

KEEP_WINDOWS = timedelta(days=8)
_FORGOTTEN = "spend_forgotten"
_MOST_REMEMBERED = 4096


class Charge(NamedTuple):
    """One counter row that a call is charged to."""

    scope: str
    name: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """The operator's budgets and rates, and the price and limits that follow for one caller."""

    limits: config.Budgets
    rates: config.Rates
    _found: dict[tuple[str, BudgetLine], budgets.Limits] = field(
        default_factory=dict[tuple[str, BudgetLine], budgets.Limits], init=False, repr=False, compare=False
    )

    def own_limits(self, caller: str, line: BudgetLine) -> budgets.Limits:
        """What this caller may spend on this line."""
        found = self._found.get((caller, line))
        if found is None:
            found = self._found[caller, line] = self._own_limits(caller, line)
        return found

    def everyone_limits(self) -> budgets.Limits:
        """What all callers together may spend."""
        key = ("", BudgetLine.read)  # no caller has this name
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _limits(self.limits.everyone)
        return found

    def _own_limits(self, caller: str, line: BudgetLine) -> budgets.Limits:
        if caller == "anonymous":
            return _limits(self.limits.anonymous)
        key: Literal["read", "work", "recovery"] = line.value
        line_limits: config.Limits = getattr(self.limits, key)
        own = self.limits.agents.get(caller, {}).get(key, config.Limits())
        # Only what the operator wrote: tightening one currency for an agent must not lift the limits of the others.
        return _limits(line_limits.model_copy(update=own.model_dump(exclude_unset=True)))

    def rate_of(self, effect: Effect) -> config.Rate:
        rate: config.Rate = getattr(self.rates, effect.value)
        return rate


def windows(
    tx: Transaction, allowance: Allowance, caller: str, tier: Tier | None, line: BudgetLine, at: datetime
) -> tuple[Window, ...]:
    """The four windows a call is charged to, with what is spent or reserved in each."""
    empty = budgets.windows_for(
        caller, tier, line, own=allowance.own_limits(caller, line), everyone=allowance.everyone_limits(), at=at
    )
    places = charges_of(empty)
    counted = _load(tx, places)
    # Not `_replace`, which takes four times as long; the counters are a window's last three fields.
    return tuple([Window._make(window[:-3] + counted[place]) for window, place in zip(empty, places, strict=True)])


def charge(tx: Transaction, charges: Sequence[Charge], cost: Cost) -> None:
    """Add a cost (a negative one credits) to each counter row."""
    if not charges:
        return
    counted = _load(tx, charges)
    more_calls, more_tokens, more_usd_micros = cost.calls, cost.tokens, cost.usd_micros
    for charge in charges:
        calls, tokens, usd_micros = counted[charge]
        counted[charge] = (calls + more_calls, tokens + more_tokens, usd_micros + more_usd_micros)
    changed: set[tuple[str, str]] = tx.memory.setdefault("spend.changed", set())
    changed.update(charges)
    tx.hold("spend", _write_spend)


def charges_of(windows: Sequence[Window]) -> tuple[Charge, ...]:
    return tuple([Charge(window.scope, window.name) for window in windows])


def rate(tx: Transaction, allowance: Allowance, caller: str, effect: Effect, at: datetime) -> RateState:
    """The caller's bucket for this effect, refilled up to now."""
    terms = allowance.rate_of(effect)
    known: _Buckets = tx.memory.setdefault("buckets", {})
    place = (caller, effect.value)
    if place not in known:
        rows = tx.fetch_past("SELECT level, at FROM buckets WHERE caller = ? AND effect = ?", *place)
        known[place] = (rows[0][0], datetime.fromisoformat(rows[0][1])) if rows else None
    found = known[place]
    if found is None:
        return rates.full(per_minute=terms.per_minute, burst=terms.burst)
    level, since = found
    return rates.refilled(level, since=since, at=at, per_minute=terms.per_minute, burst=terms.burst)


def take(tx: Transaction, caller: str, effect: Effect, state: RateState, at: datetime) -> None:
    """Take one call from the bucket."""
    known: _Buckets = tx.memory.setdefault("buckets", {})
    known[caller, effect.value] = (rates.taken(state), at)
    tx.memory.setdefault("buckets.changed", set[tuple[str, str]]()).add((caller, effect.value))
    tx.hold("buckets", _write_buckets)


def mark_warned(tx: Transaction, charge: Charge, percent: int) -> bool:
    """Note that a window's warning was given; False when it, or a higher one, was given before."""
    return (
        tx.execute(
            "UPDATE spend SET warned = ? WHERE scope = ? AND win = ? AND warned < ?", percent, charge.scope, charge.name, percent
        )
        > 0
    )


def forget_before(tx: Transaction, at: datetime) -> None:
    """Drop windows that no report shows any more, and note up to which name: the ledger still tells of them."""
    kept = at - KEEP_WINDOWS
    if tx.execute("DELETE FROM spend WHERE win < ?", kept.strftime("%Y-%m-%d")):
        tx.execute(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            _FORGOTTEN, f"{kept - timedelta(days=1):%Y-%m-%d}~",
        )  # fmt: skip


def forgotten(tx: Transaction) -> str:
    """Windows up to this name have no row any more; empty while none was dropped."""
    rows = tx.fetch("SELECT value FROM facts WHERE name = ?", _FORGOTTEN)
    return str(rows[0][0]) if rows else ""


_Counted: TypeAlias = dict[tuple[str, str], tuple[int, int, int]]
_Buckets: TypeAlias = dict[tuple[str, str], tuple[float, datetime] | None]


def _load(tx: Transaction, wanted: Sequence[tuple[str, str]]) -> _Counted:
    """The writer's own view of counter rows, read once for as long as nobody else writes."""
    counted: _Counted = tx.memory.setdefault("spend", {})
    missing = [place for place in wanted if place not in counted]
    if missing:
        counted.update(dict.fromkeys(missing, (0, 0, 0)))
        rows = tx.fetch_past(
            "SELECT scope, win, calls, tokens, usd_micros FROM spend WHERE (scope, win) IN (VALUES "
            + ", ".join(["(?, ?)"] * len(missing))
            + ")",
            *(part for place in missing for part in place),
        )
        counted.update({(row[0], row[1]): (row[2], row[3], row[4]) for row in rows})
    return counted


def _write_spend(tx: Transaction) -> None:
    counted: _Counted = tx.memory["spend"]
    changed = sorted(tx.memory.pop("spend.changed"))
    tx.execute_held(
        "INSERT INTO spend (scope, win, calls, tokens, usd_micros) VALUES "
        + ", ".join(["(?, ?, ?, ?, ?)"] * len(changed))
        + " ON CONFLICT (scope, win) DO UPDATE SET"
        " calls = excluded.calls, tokens = excluded.tokens, usd_micros = excluded.usd_micros",
        *(value for place in changed for value in (*place, *counted[place])),
    )
    if len(counted) > _MOST_REMEMBERED:
        del tx.memory["spend"]


def _write_buckets(tx: Transaction) -> None:
    known: _Buckets = tx.memory["buckets"]
    changed: set[tuple[str, str]] = tx.memory.pop("buckets.changed")
    rows = [(*place, found[0], found[1].isoformat()) for place in sorted(changed) if (found := known[place]) is not None]
    tx.execute_held(
        "INSERT INTO buckets (caller, effect, level, at) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * len(rows))
        + " ON CONFLICT (caller, effect) DO UPDATE SET level = excluded.level, at = excluded.at",
        *(value for row in rows for value in row),
    )
    if len(known) > _MOST_REMEMBERED:
        del tx.memory["buckets"]


def _limits(limits: config.Limits) -> budgets.Limits:
    return budgets.Limits(
        budgets.Limit(limits.calls_per_hour, limits.tokens_per_hour, limits.usd_micros_per_hour),
        budgets.Limit(limits.calls_per_day, limits.tokens_per_day, limits.usd_micros_per_day),
    )
