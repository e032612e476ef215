"""The load guard: boundaries, hysteresis, and what is unknown."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.governance.history import GuardLevel
from ops_mcp.governance.load import BOUNDS, CONCURRENCY, DISPATCH_DELAY_SECONDS, Guard, Measure, Reading, level_of, load, observed

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
INFO, WARN, CRITICAL, EMERGENCY, UNKNOWN = (
    GuardLevel.info,
    GuardLevel.warn,
    GuardLevel.critical,
    GuardLevel.emergency,
    GuardLevel.unknown,
)

BOUNDARIES = [
    ("cpu", 0.0, INFO),
    ("cpu", 69.9, INFO),
    ("cpu", 70.0, WARN),
    ("cpu", 84.9, WARN),
    ("cpu", 85.0, CRITICAL),
    ("cpu", 94.9, CRITICAL),
    ("cpu", 95.0, EMERGENCY),
    ("cpu", 100.0, EMERGENCY),
    ("memory", 74.9, INFO),
    ("memory", 75.0, WARN),
    ("memory", 84.9, WARN),
    ("memory", 85.0, CRITICAL),
    ("memory", 91.9, CRITICAL),
    ("memory", 92.0, EMERGENCY),
    ("disk", 84.9, INFO),
    ("disk", 85.0, WARN),
    ("disk", 94.9, WARN),
    ("disk", 95.0, CRITICAL),
    ("disk", 100.0, CRITICAL),
]


@pytest.mark.parametrize(("measure", "percent", "level"), BOUNDARIES)
def test_ranges_are_half_open(measure: str, percent: float, level: GuardLevel) -> None:
    assert level_of(Measure(measure), percent) is level
    quiet = {"cpu": 1.0, "memory": 1.0, "disk": 1.0, measure: percent}
    assert load(observed(Guard(), Reading(NOON, **quiet)), NOON).level is level


def levels(cpu: list[tuple[float, float]]) -> list[GuardLevel]:
    """The level after each reading: seconds since the start, percent of CPU."""
    guard, found = Guard(), list[GuardLevel]()
    for seconds, percent in cpu:
        at = NOON + timedelta(seconds=seconds)
        guard = observed(guard, Reading(at, cpu=percent, memory=1.0, disk=1.0))
        found.append(load(guard, at).level)
    return found


HYSTERESIS = [
    ("left after a minute 5 points below", [(0, 86), (10, 80), (40, 80), (69, 80), (70, 80)], [CRITICAL] * 4 + [WARN]),
    ("4.9 points below are not enough", [(0, 86), (10, 80.1), (40, 80.1), (70, 80.1), (100, 80.1)], [CRITICAL] * 5),
    (
        "one reading in between begins the minute again",
        [(0, 86), (10, 70), (50, 81), (60, 70), (100, 70), (119, 70), (120, 70)],
        [CRITICAL] * 6 + [WARN],
    ),
    (
        "level by level",
        [(0, 96), (10, 88), (60, 88), (70, 88), (80, 75), (130, 75), (140, 75)],
        [EMERGENCY] * 3 + [CRITICAL] * 3 + [WARN],
    ),
    ("several at once", [(0, 96), (10, 5), (60, 5), (69, 5), (70, 5)], [EMERGENCY] * 4 + [INFO]),
    (
        "between two bounds the lower level stays",
        [(0, 71), (10, 69), (60, 66), (130, 65.1), (140, 65), (190, 65), (200, 65)],
        [WARN] * 6 + [INFO],
    ),
    ("up again at once", [(0, 86), (10, 70), (60, 70), (70, 70), (75, 96)], [CRITICAL] * 3 + [WARN, EMERGENCY]),
    ("readings a minute apart show nothing of what was between", [(0, 86), (10, 70), (70, 70), (130, 70)], [CRITICAL] * 4),
]


@pytest.mark.parametrize(("story", "cpu", "expected"), HYSTERESIS, ids=[row[0] for row in HYSTERESIS])
def test_a_level_is_left_only_after_a_minute_clear_of_it(
    story: str, cpu: list[tuple[float, float]], expected: list[GuardLevel]
) -> None:
    assert levels(cpu) == expected


def test_each_measure_leaves_its_own_level() -> None:
    """Memory at 88 % would not leave EMERGENCY, but it never reached it: CPU did, and has left it."""
    guard = observed(Guard(), Reading(NOON, cpu=96, memory=88, disk=1))
    for seconds in (10, 40, 70):
        guard = observed(guard, Reading(NOON + timedelta(seconds=seconds), cpu=10, memory=88, disk=1))
    found = load(guard, NOON + timedelta(seconds=70))
    assert (found.level, found.measure, found.percent, found.since) == (CRITICAL, Measure.memory, 88, NOON)


UNKNOWNS: list[tuple[Guard, float, GuardLevel]] = [
    (Guard(), 0, UNKNOWN),  # never read
    (observed(Guard(), Reading(NOON, 1, 1, 1)), 59, INFO),
    (observed(Guard(), Reading(NOON, 1, 1, 1)), 60, UNKNOWN),  # not read for a minute
    (observed(Guard(), Reading(NOON, 1, None, 1)), 0, UNKNOWN),  # one measure could not be read
    (observed(Guard(), Reading(NOON, 1, float("nan"), 1)), 0, UNKNOWN),
    (
        observed(observed(Guard(), Reading(NOON, 1, 1, 1)), Reading(NOON + timedelta(seconds=30), 1, None, 1)),
        59,
        INFO,
    ),  # lately it could
    (observed(Guard(), Reading(NOON, 71, None, 1)), 0, UNKNOWN),  # unknown outweighs WARN
    (observed(Guard(), Reading(NOON, 96, None, 1)), 0, EMERGENCY),  # and is outweighed by what is certain
]


@pytest.mark.parametrize(("guard", "seconds", "level"), UNKNOWNS)
def test_what_is_not_read_for_a_minute_is_unknown(guard: Guard, seconds: float, level: GuardLevel) -> None:
    assert load(guard, NOON + timedelta(seconds=seconds)).level is level


def test_an_older_reading_changes_nothing() -> None:
    guard = observed(Guard(), Reading(NOON, 96, 1, 1))
    assert observed(guard, Reading(NOON - timedelta(seconds=5), 1, 1, 1)) == guard


def test_the_limits_are_those_that_were_settled_and_cover_every_level() -> None:
    assert [CONCURRENCY[level] for level in (INFO, WARN, CRITICAL, EMERGENCY)] == [500, 200, 50, 0]
    assert [DISPATCH_DELAY_SECONDS[level] for level in (INFO, WARN)] == [0.0, 0.1]
    assert set(CONCURRENCY) == set(DISPATCH_DELAY_SECONDS) == set(GuardLevel)


@given(st.lists(st.tuples(st.integers(1, 90), st.floats(0, 100)), min_size=1, max_size=40))
def test_the_level_is_never_below_the_newest_reading_and_never_above_the_worst(readings: list[tuple[int, float]]) -> None:
    seconds, cpu = 0, list[tuple[float, float]]()
    for gap, percent in readings:
        seconds += gap
        cpu.append((seconds, percent))
    order = [INFO, WARN, CRITICAL, EMERGENCY]
    worst = INFO
    for (_, percent), level in zip(cpu, levels(cpu), strict=True):
        now = level_of(Measure.cpu, percent)
        worst = max(worst, now, key=order.index)
        assert order.index(now) <= order.index(level) <= order.index(worst)


def test_every_measures_bounds_rise() -> None:
    assert all(sorted(bounds.values()) == list(bounds.values()) for bounds in BOUNDS.values())
