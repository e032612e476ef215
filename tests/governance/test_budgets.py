"""Windows, limits, warnings and settlements."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.calls import BudgetLine, Cost
from ops_mcp.domain.identity import Tier
from ops_mcp.governance.budgets import (
    EVERYONE,
    Limit,
    Limits,
    Spent,
    excess,
    fits,
    scope_of,
    settle,
    share_used,
    warnings_crossed,
    windows_for,
    with_spent,
)

OWN = Limits(Limit(calls=10, tokens=1000, usd_micros=500), Limit(calls=20, tokens=1500, usd_micros=900))
ALL = Limits(Limit(calls=1000), Limit(usd_micros=10_000))
AT = datetime(2026, 11, 20, 17, 5, 30, 999, tzinfo=UTC)


def windows(at: datetime = AT):
    return windows_for("robin", Tier.staging, BudgetLine.work, own=OWN, everyone=ALL, at=at)


def test_a_call_is_charged_to_its_own_hour_and_day_and_to_everybodys() -> None:
    assert [(w.scope, w.span, w.name, w.calls_limit, w.usd_micros_limit) for w in windows()] == [
        ("robin:staging:work", "hour", "2026-11-20T17", 10, 500),
        ("robin:staging:work", "day", "2026-11-20", 20, 900),
        (EVERYONE, "hour", "2026-11-20T17", 1000, None),
        (EVERYONE, "day", "2026-11-20", None, 10_000),
    ]


@pytest.mark.parametrize(
    ("at", "hour", "day"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2026-12-31T23", "2026-12-31"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2027-01-01T00", "2027-01-01"),
    ],
)
def test_a_window_holds_its_first_instant_and_not_its_last(at: datetime, hour: str, day: str) -> None:
    assert [w.name for w in windows(at)[:2]] == [hour, day]
    assert all(at < w.resets_at <= at + timedelta(days=1) for w in windows(at))


def test_scopes_keep_agents_tiers_and_lines_apart() -> None:
    keys = {scope_of(who, tier, line) for who in ("robin", "eve") for tier in Tier for line in BudgetLine}

    assert len(keys) == 18
    assert scope_of("robin", None, BudgetLine.read) == "robin:sandbox:read"


def test_spent_counters_are_put_where_they_belong() -> None:
    filled = with_spent(windows(), {("robin:staging:work", "2026-11-20T17"): Spent(3, 200, 40)})

    assert [(w.calls, w.tokens, w.usd_micros) for w in filled] == [(3, 200, 40), (0, 0, 0), (0, 0, 0), (0, 0, 0)]


def test_the_limit_itself_may_be_reached_and_not_passed() -> None:
    almost = with_spent(windows(), {("robin:staging:work", "2026-11-20T17"): Spent(9, 0, 0)})
    full = with_spent(windows(), {("robin:staging:work", "2026-11-20T17"): Spent(10, 0, 0)})

    assert fits(almost, Cost(calls=1))
    assert excess(almost, Cost(calls=1)) is None
    found = excess(full, Cost(calls=1))
    assert found is not None
    assert (found.currency, found.limit, found.remaining, found.wanted) == ("calls", 10, 0, 1)


def test_of_several_broken_limits_the_one_that_resets_last_is_told() -> None:
    full = with_spent(
        windows(),
        {("robin:staging:work", "2026-11-20T17"): Spent(10, 0, 0), ("robin:staging:work", "2026-11-20"): Spent(20, 0, 0)},
    )
    found = excess(full, Cost(calls=1))

    assert found is not None
    assert found.window.resets_at == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_call_larger_than_a_whole_limit_can_never_fit() -> None:
    found = excess(windows(), Cost(calls=1, tokens=1200))

    assert found is not None
    assert not found.can_ever_fit
    assert found.limit == 1000


@pytest.mark.parametrize("currency", ["calls", "tokens", "usd_micros"])
@pytest.mark.parametrize("span", [0, 1])
def test_each_currency_of_each_window_fits_up_to_its_limit_exactly(currency: str, span: int) -> None:
    nothing = Cost(calls=0)
    limit = getattr(OWN[span], currency)
    full = tuple(w._replace(**{currency: limit}) if i == span else w for i, w in enumerate(windows()))

    assert fits(full, nothing)
    assert not fits(full, nothing.evolve(**{currency: 1}))
    assert fits(full[:span] + full[span + 1 :], nothing.evolve(**{currency: 1}))


amounts = st.integers(0, 2000)
costs = st.builds(Cost, calls=st.integers(0, 30), tokens=amounts, usd_micros=amounts)


@given(costs, st.builds(Spent, st.integers(0, 30), amounts, amounts))
def test_the_quick_question_and_the_full_answer_agree(cost: Cost, spent: Spent) -> None:
    some = with_spent(windows(), {("robin:staging:work", "2026-11-20"): spent})

    assert fits(some, cost) == (excess(some, cost) is None)


@pytest.mark.parametrize(
    ("before", "after", "limit", "crossed"),
    [
        (0, 79, 100, ()),
        (79, 80, 100, (80,)),
        (80, 94, 100, ()),
        (79, 95, 100, (80, 95)),
        (94, 95, 100, (95,)),
        (95, 100, 100, ()),
        (0, 100, 100, (80, 95)),
        (90, 70, 100, ()),
        (0, 5, None, ()),
        (0, 0, 0, ()),
        (0, 1, 1, (80, 95)),
    ],
)
def test_warnings_come_when_80_and_95_per_cent_are_reached(
    before: int, after: int, limit: int | None, crossed: tuple[int, ...]
) -> None:
    assert warnings_crossed(before=before, after=after, limit=limit) == crossed


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 300))
def test_each_warning_comes_exactly_once_on_the_way_up(steps: list[int], limit: int) -> None:
    told: list[int] = []
    spent = 0
    for step in steps:
        told += warnings_crossed(before=spent, after=spent + step, limit=limit)
        spent += step

    assert told == [percent for percent in (80, 95) if spent * 100 >= limit * percent]


def test_the_share_used_is_that_of_the_scarcest_currency() -> None:
    filled = with_spent(windows(), {("robin:staging:work", "2026-11-20T17"): Spent(1, 999, 0)})

    assert [share_used(w) for w in filled] == [99, 0, 0, 0]


@given(costs, costs)
def test_settling_leaves_exactly_the_actual_cost(reserved: Cost, actual: Cost) -> None:
    change = settle(reserved, actual)

    assert reserved.calls + change.calls == actual.calls
    assert reserved.tokens + change.tokens == actual.tokens
    assert reserved.usd_micros + change.usd_micros == actual.usd_micros
    over = actual.calls > reserved.calls or actual.tokens > reserved.tokens or actual.usd_micros > reserved.usd_micros
    assert change.beyond_ceiling == over
