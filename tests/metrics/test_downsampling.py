"""Fewer points: nothing that happened is hidden, and the answer says what was done."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.metrics.downsampling import STRETCH_MS, bucketed, chosen_step, reduced, thinned, thinning_said
from ops_mcp.metrics.series import STALE, is_stale

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


samples = st.lists(st.tuples(st.integers(1, 90_000), st.floats(-1e9, 1e9) | st.just(math.nan)), min_size=1, max_size=200)


@given(samples)
def test_of_thinned_samples_each_was_there_and_the_first_last_least_and_most_of_every_stretch_stay(
    steps: list[tuple[int, float]],
) -> None:
    times, values, moment = [], [], 1_700_000_000_000
    for wait, value in steps:
        moment += wait
        times.append(moment)
        values.append(value)
    kept = dict(zip(*thinned(times, values), strict=True))
    assert list(kept) == sorted(kept)
    assert all(repr(value) == repr(values[times.index(at)]) for at, value in kept.items())
    for stretch in {at // STRETCH_MS for at in times}:
        inside = {at: value for at, value in zip(times, values, strict=True) if at // STRETCH_MS == stretch}
        left = {at: value for at, value in kept.items() if at // STRETCH_MS == stretch}
        numbers = [value for value in inside.values() if not math.isnan(value)]
        assert {min(inside), max(inside)} <= set(left)
        assert sum(math.isnan(value) for value in left.values()) == len(inside) - len(numbers)
        if numbers:
            finite = [value for value in left.values() if not math.isnan(value)]
            assert (min(finite), max(finite)) == (min(numbers), max(numbers))
            assert len(finite) <= 6


def test_a_counter_that_is_reset_once_in_a_stretch_keeps_its_growth() -> None:
    times = list(range(0, 300_000, 15_000))
    values = [float(n) for n in range(12)] + [float(3 + 5 * n) for n in range(8)]
    kept_times, kept = thinned(times, values)
    assert kept == [0.0, 11.0, 3.0, 38.0]
    assert kept_times == [0, 11 * 15_000, 12 * 15_000, 19 * 15_000]


def test_the_marker_of_an_end_is_never_thinned_out() -> None:
    times = list(range(0, 300_000, 15_000))
    values = [1.0] * 20
    values[7] = STALE
    kept_times, kept = thinned(times, values)
    assert is_stale(kept[kept_times.index(7 * 15_000)])


def test_what_thinning_out_means_is_said_of_answers_that_read_so_far_back() -> None:
    assert thinning_said(2_000, 2_000) == ""
    assert "before about 1970-01-01T00:00+00:00 are thinned out: of every 5m the first, least, most and last" in thinning_said(
        0, 1
    )
