"""What a score is worth and what moves it: levels, points, and the marks that make each count once. Writes nothing."""

from bisect import bisect_right
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, assert_never

from ops_mcp.domain.calls import Penalty, Standing
from ops_mcp.domain.identity import Agent, Effect, Level

LOWEST_SCORE, HIGHEST_SCORE = 0, 999
DAILY_GAIN = 10

_LEVELS = (Level.sandbox, Level.staging, Level.prod_low, Level.prod)
_FLOORS = (0, 90, 130, 160)
RANKS: dict[Level, int] = {level: rank for rank, level in enumerate(_LEVELS)}


class ScoreKind(StrEnum):
    """What moves a score. Reads, dry runs, superseded watches and refusals by rate, freeze or kill never do."""

    healthy = "healthy"
    failed = "failed"
    forbidden = "forbidden"
    overrun = "overrun"


class Mark(NamedTuple):
    """A row of `score_marks`: where it exists already, the event has counted and the score stays."""

    kind: ScoreKind
    mark: str
    points: int


def earned_level(score: int) -> Level:
    """The level that a score earns."""
    return _LEVELS[bisect_right(_FLOORS, score) - 1] if score > 0 else Level.sandbox


def level_in_force(agent: Agent) -> Level:
    """The earned level, never above the ceiling; the ceiling itself where the operator turned reputation off."""
    if not agent.reputation:
        return agent.ceiling
    earned = earned_level(agent.score)
    return earned if RANKS[earned] < RANKS[agent.ceiling] else agent.ceiling


def standing(agent: Agent) -> Standing:
    """What `whoami` shows: ceiling, score and earned level."""
    earned = earned_level(agent.score) if agent.reputation else agent.ceiling
    return Standing(ceiling=agent.ceiling, score=agent.score, earned=earned)


def missing_for_next(agent: Agent) -> int | None:
    """Points up to the next level that the ceiling allows; None when there is none to earn."""
    force = RANKS[level_in_force(agent)]
    if not agent.reputation or force >= RANKS[agent.ceiling]:
        return None
    return _FLOORS[force + 1] - agent.score


def moved(score: int, *, points: int) -> int:
    """The score after `points`, kept between 0 and 999."""
    return max(LOWEST_SCORE, min(HIGHEST_SCORE, score + points))


def points_for_outcome(
    *, healthy: bool, effect: Effect, dry_run: bool, operation: str, gained_today: int, at: datetime
) -> Mark | None:
    """The mark of a change that was verified healthy or failed, once per operation; None when nothing is scored.

    `gained_today` is the sum of the agent's gains marked with today's date (`gains_prefix`).
    """
    if dry_run or effect in (Effect.read, Effect.record):
        return None
    if not healthy:
        return Mark(ScoreKind.failed, operation, -3)
    gain = min(2, DAILY_GAIN - gained_today)
    return Mark(ScoreKind.healthy, f"{gains_prefix(at)}{operation}", gain) if gain > 0 else None


def points_for_penalty(penalty: Penalty, *, at: datetime) -> Mark:
    """The mark of a refused attempt. Its name is the hour, so that the same kind counts once an hour."""
    hour = at.strftime("%Y-%m-%dT%H")
    match penalty:
        case Penalty.forbidden:
            return Mark(ScoreKind.forbidden, hour, -8)
        case Penalty.overrun:
            return Mark(ScoreKind.overrun, hour, -10)
        case _:
            assert_never(penalty)


def gains_prefix(at: datetime) -> str:
    """What the marks of today's gains begin with."""
    return at.strftime("%Y-%m-%d/")


class Crossing(NamedTuple):
    """A change of the level in force, to be recorded and told."""

    before: Level
    after: Level


def crossing(before: Agent, after: Agent) -> Crossing | None:
    """The change of level between two states of one agent, if there is one."""
    old, new = level_in_force(before), level_in_force(after)
    return None if old is new else Crossing(old, new)
