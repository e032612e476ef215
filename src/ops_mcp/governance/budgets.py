"""Budgets as arithmetic: which windows a call is charged to, whether it fits, and what settling changes. Keeps no counters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from ops_mcp.domain.calls import BudgetLine, Cost
from ops_mcp.domain.identity import Tier
from ops_mcp.governance.history import Window

EVERYONE = "everyone"
WARNINGS = (80, 95)
_FREE = Cost(calls=0)

Currency: TypeAlias = Literal["calls", "tokens", "usd_micros"]


class Limit(NamedTuple):
    """Most calls, tokens and micro-dollars in one window. None is unlimited."""

    calls: int | None = None
    tokens: int | None = None
    usd_micros: int | None = None


class Limits(NamedTuple):
    """The limits of one scope."""

    hour: Limit = Limit()
    day: Limit = Limit()


class Spent(NamedTuple):
    """A counter row: what is spent or reserved in one window."""

    calls: int = 0
    tokens: int = 0
    usd_micros: int = 0


class Excess(NamedTuple):
    """The limit that a call would break."""

    window: Window
    currency: Currency
    limit: int
    spent: int
    wanted: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.spent)

    @property
    def can_ever_fit(self) -> bool:
        """False where the call alone is larger than the limit, so that waiting does not help."""
        return self.wanted <= self.limit


class Settlement(NamedTuple):
    """What to add to the admitting windows so that they hold the actual cost; negative where the ceiling was not used up."""

    calls: int
    tokens: int
    usd_micros: int
    beyond_ceiling: bool


def scope_of(caller: str, tier: Tier | None, line: BudgetLine) -> str:
    """The key of an agent's counters. Calls without an environment are counted with the sandbox."""
    return f"{caller}:{(tier or Tier.sandbox).value}:{line.value}"


def windows_for(
    caller: str, tier: Tier | None, line: BudgetLine, *, own: Limits, everyone: Limits, at: datetime
) -> tuple[Window, ...]:
    """The four windows that a call is charged to, with nothing spent yet: own hour and day, everyone's hour and day.

    `at` is in UTC; a window holds its first instant and not its last.
    """
    hour = at.replace(minute=0, second=0, microsecond=0)
    return _windows(scope_of(caller, tier, line), own, everyone, hour)


def with_spent(windows: tuple[Window, ...], spent: Mapping[tuple[str, str], Spent]) -> tuple[Window, ...]:
    """The same windows with their counters, by (scope, name)."""
    return tuple(w._replace(**spent[w.scope, w.name]._asdict()) if (w.scope, w.name) in spent else w for w in windows)


def excess(windows: tuple[Window, ...], cost: Cost) -> Excess | None:
    """The limit that `cost` would break; of several, one that waiting cannot help, else the one that resets last."""
    worst: Excess | None = None
    for window in windows:
        for found in _broken(window, cost):
            if worst is None or _weight(found) > _weight(worst):
                worst = found
    return worst


def fits(windows: tuple[Window, ...], cost: Cost) -> bool:
    """Whether `cost` breaks no limit. The hot path asks only this."""
    calls, tokens, usd_micros = cost.calls, cost.tokens, cost.usd_micros
    for w in windows:
        if w.calls_limit is not None and w.calls + calls > w.calls_limit:
            return False
        if w.tokens_limit is not None and w.tokens + tokens > w.tokens_limit:
            return False
        if w.usd_micros_limit is not None and w.usd_micros + usd_micros > w.usd_micros_limit:
            return False
    return True


def warnings_crossed(*, before: int, after: int, limit: int | None) -> tuple[int, ...]:
    """Which of 80 % and 95 % lie above `before` and at or below `after`."""
    if not limit:
        return ()
    return tuple(percent for percent in WARNINGS if before * 100 < limit * percent <= after * 100)


def share_used(window: Window, cost: Cost = _FREE) -> int:
    """The highest of the three currencies' use with `cost` on top, in whole per cent rounded down; 0 where nothing is limited."""
    calls = (window.calls + cost.calls) * 100 // window.calls_limit if window.calls_limit else 0
    tokens = (window.tokens + cost.tokens) * 100 // window.tokens_limit if window.tokens_limit else 0
    usd_micros = (window.usd_micros + cost.usd_micros) * 100 // window.usd_micros_limit if window.usd_micros_limit else 0
    return max(calls, tokens, usd_micros, 0)


def settle(reserved: Cost, actual: Cost) -> Settlement:
    """The difference to add to the windows that admitted the call, however late it is settled."""
    calls, tokens, usd_micros = (
        actual.calls - reserved.calls,
        actual.tokens - reserved.tokens,
        actual.usd_micros - reserved.usd_micros,
    )
    return Settlement(calls, tokens, usd_micros, beyond_ceiling=calls > 0 or tokens > 0 or usd_micros > 0)


@lru_cache(maxsize=1024)
def _windows(scope: str, own: Limits, everyone: Limits, hour: datetime) -> tuple[Window, ...]:
    return (
        _window(scope, own.hour, "hour", hour),
        _window(scope, own.day, "day", hour),
        _window(EVERYONE, everyone.hour, "hour", hour),
        _window(EVERYONE, everyone.day, "day", hour),
    )


def _window(scope: str, limit: Limit, span: Literal["hour", "day"], hour: datetime) -> Window:
    if span == "hour":
        name, resets_at = hour.strftime("%Y-%m-%dT%H"), hour + timedelta(hours=1)
    else:
        name, resets_at = hour.strftime("%Y-%m-%d"), hour.replace(hour=0) + timedelta(days=1)
    return Window(scope, name, span, resets_at, limit.calls, limit.tokens, limit.usd_micros, 0, 0, 0)


def _broken(window: Window, cost: Cost) -> list[Excess]:
    checks: tuple[tuple[Currency, int | None, int, int], ...] = (
        ("calls", window.calls_limit, window.calls, cost.calls),
        ("tokens", window.tokens_limit, window.tokens, cost.tokens),
        ("usd_micros", window.usd_micros_limit, window.usd_micros, cost.usd_micros),
    )
    return [
        Excess(window, currency, limit, spent, wanted)
        for currency, limit, spent, wanted in checks
        if limit is not None and spent + wanted > limit
    ]


def _weight(found: Excess) -> tuple[bool, datetime]:
    return (not found.can_ever_fit, found.window.resets_at)
