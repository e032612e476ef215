"""Fewer points: nothing that happened is hidden, and the answer says what was done."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.metrics.downsampling import bucketed, chosen_step, reduced

STEPS = [
    (0, 1_000, 1_000),  # a second of two points
    (0, 300_000, 2_000),  # 5 minutes in 2 s
    (0, 3_600_000, 15_000),  # an hour in 15 s: 241 points
    (0, 86_400_000, 600_000),  # a day in 10 minutes
    (0, 14 * 86_400_000, 7_200_000),  # two weeks in 2 hours: 169 points
]


@pytest.mark.parametrize(("start", "end", "step"), STEPS)
def test_a_step_is_chosen_that_people_count_in(start: int, end: int, step: int) -> None:
    assert chosen_step(start, end) == step


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.integers(1, 11_000))
def test_a_chosen_step_never_gives_more_points_than_asked_for(start: int, length: int, at_most: int) -> None:
    step = chosen_step(start, start + length, at_most=at_most)
    assert length // step + 1 <= at_most


def test_a_spike_of_one_sample_is_still_seen() -> None:
    times = list(range(0, 3_600_000, 1_000))
    values = [1.0] * len(times)
    values[1_234] = 99.0
    found = reduced(times, values, at_most=60)
    assert len(found.buckets) == 60
    assert max(bucket.most for bucket in found.buckets) == 99.0
    assert found.said == "3,600 points shown as 60 stretches of 1m, each with least, most and average"


@given(
    st.lists(st.tuples(st.integers(1, 500_000), st.floats(-1e9, 1e9) | st.just(math.nan)), min_size=1, max_size=200),
    st.integers(2, 50),
)
def test_every_sample_is_in_exactly_one_bucket_and_within_its_bounds(steps: list[tuple[int, float]], at_most: int) -> None:
    times, values, moment = [], [], 1_700_000_000_000
    for wait, value in steps:
        moment += wait
        times.append(moment)
        values.append(value)
    found = reduced(times, values, at_most=at_most)
    assert len(found.buckets) <= at_most
    assert sum(bucket.samples for bucket in found.buckets) == len(times) == found.points
    for bucket in found.buckets:
        inside = [
            v for at, v in zip(times, values, strict=True) if 0 <= at - bucket.start_ms < found.width_ms and not math.isnan(v)
        ]
        if inside:
            assert (bucket.least, bucket.most, bucket.last) == (min(inside), max(inside), inside[-1])
            assert bucket.average == pytest.approx(math.fsum(inside) / len(inside))
        else:
            assert math.isnan(bucket.average)


def test_a_stretch_that_begins_in_the_middle_of_a_step_is_one_more_and_still_not_too_many() -> None:
    assert len(reduced([999, 1_000, 2_000], [1.0, 2.0, 3.0], at_most=2).buckets) == 2


def test_no_samples_are_no_buckets() -> None:
    assert reduced([], [], at_most=10).buckets == ()
    assert list(bucketed([], [], 1_000)) == []
