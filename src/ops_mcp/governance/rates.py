"""Token buckets as arithmetic: what has flowed back, whether one call fits, and when the next would. Keeps no state."""

from datetime import datetime

from ops_mcp.governance.history import RateState


def full(*, per_minute: float, burst: int) -> RateState:
    """The bucket of a caller never seen before."""
    return RateState(float(burst), per_minute, burst)


def refilled(level: float, *, since: datetime, at: datetime, per_minute: float, burst: int) -> RateState:
    """The bucket at `at`, when it held `level` at `since`. A clock that went backwards refills nothing."""
    seconds = max(0.0, (at - since).total_seconds())
    return RateState(min(float(burst), max(0.0, level) + seconds * per_minute / 60.0), per_minute, burst)


def allows(state: RateState) -> bool:
    """Whether one more call fits now."""
    return state.level >= 1.0


def taken(state: RateState) -> float:
    """The level to store after one call."""
    return state.level - 1.0


def seconds_until_next(state: RateState) -> float:
    """How long until one call fits, rounded up to a millisecond."""
    missing = max(0.0, 1.0 - state.level)
    return -(-missing * 60_000.0 // state.per_minute) / 1000.0
