"""Levels, points and marks, by the design's table."""

from datetime import UTC, datetime, timedelta

import pytest

from ops_mcp.domain.calls import Penalty
from ops_mcp.domain.identity import Effect, Level
from ops_mcp.governance.reputation import (
    Crossing,
    Mark,
    ScoreKind,
    crossing,
    earned_level,
    level_in_force,
    missing_for_next,
    moved,
    points_for_outcome,
    points_for_penalty,
    standing,
)
from tests.governance.world import agent

AT = datetime(2026, 11, 20, 17, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (0, Level.sandbox),
        (89, Level.sandbox),
        (90, Level.staging),
        (100, Level.staging),
        (129, Level.staging),
        (130, Level.prod_low),
        (159, Level.prod_low),
        (160, Level.prod),
        (999, Level.prod),
    ],
)
def test_a_score_earns_its_level(score: int, level: Level) -> None:
    assert earned_level(score) is level


def test_a_new_agent_has_earned_staging_and_is_held_at_its_ceiling() -> None:
    new = agent(Level.sandbox, 100)

    assert standing(new).earned is Level.staging
    assert level_in_force(new) is standing(new).level is Level.sandbox
    assert missing_for_next(new) is None


def test_what_is_missing_leads_to_the_next_level_that_the_ceiling_allows() -> None:
    assert missing_for_next(agent(Level.prod, 100)) == 30
    assert missing_for_next(agent(Level.prod, 159)) == 1
    assert missing_for_next(agent(Level.staging, 100)) is None
    assert missing_for_next(agent(Level.prod, 0)) == 90


def test_without_reputation_the_ceiling_is_the_level() -> None:
    trusted = agent(Level.prod, 0, reputation=False)

    assert level_in_force(trusted) is Level.prod
    assert missing_for_next(trusted) is None


@pytest.mark.parametrize(("score", "points", "after"), [(5, -8, 0), (998, 2, 999), (100, -3, 97)])
def test_a_score_stays_between_0_and_999(score: int, points: int, after: int) -> None:
    assert moved(score, points=points) == after


@pytest.mark.parametrize(("gained", "points"), [(0, 2), (8, 2), (9, 1), (10, None), (12, None)])
def test_gains_stop_at_ten_a_day(gained: int, points: int | None) -> None:
    mark = points_for_outcome(healthy=True, effect=Effect.change, dry_run=False, operation="op_1", gained_today=gained, at=AT)

    assert (mark.points if mark else None) == points
    assert mark is None or mark.mark == "2026-11-20/op_1"


def test_a_failed_change_costs_three_once_for_each_operation() -> None:
    mark = points_for_outcome(healthy=False, effect=Effect.change, dry_run=False, operation="op_1", gained_today=0, at=AT)

    assert mark == Mark(ScoreKind.failed, "op_1", -3)


@pytest.mark.parametrize("effect", [Effect.read, Effect.record])
def test_reads_records_and_dry_runs_score_nothing(effect: Effect) -> None:
    assert points_for_outcome(healthy=True, effect=effect, dry_run=False, operation="o", gained_today=0, at=AT) is None
    assert points_for_outcome(healthy=False, effect=Effect.change, dry_run=True, operation="o", gained_today=0, at=AT) is None


def test_a_penalty_is_marked_by_its_hour_so_that_it_counts_once() -> None:
    first = points_for_penalty(Penalty.forbidden, at=AT)

    assert first == Mark(ScoreKind.forbidden, "2026-11-20T17", -8)
    assert points_for_penalty(Penalty.forbidden, at=AT + timedelta(minutes=54)) == first
    assert points_for_penalty(Penalty.forbidden, at=AT + timedelta(minutes=55)).mark == "2026-11-20T18"
    assert points_for_penalty(Penalty.overrun, at=AT) == Mark(ScoreKind.overrun, "2026-11-20T17", -10)


def test_a_crossing_is_a_change_of_the_level_in_force_only() -> None:
    assert crossing(agent(Level.prod, 129), agent(Level.prod, 131)) == Crossing(Level.staging, Level.prod_low)
    assert crossing(agent(Level.staging, 129), agent(Level.staging, 131)) is None
