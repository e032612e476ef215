"""What holds of every expression, whatever it is: ranges are instants in a row, offsets are other moments, selections suffice."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.labels import Labels, labels_of, with_label, without_name
from ops_mcp.metrics.matchers import Match, Matcher, matches
from ops_mcp.metrics.numbers import go_fixed, mean, power, quantile, remainder, total
from ops_mcp.metrics.query import gather
from ops_mcp.metrics.series import STALE, Series
from tests.metrics.expressions import Expressions
from tests.metrics.notation import values
from tests.metrics.world import END, START, world

WORLD = world()
FETCH = fetch_from(WORLD)
STEP = 97_000
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def at(expression: str, moment: int, series: Sequence[Series] | None = None) -> dict[Labels, float]:
    query = compiled(expression)
    return values(instant(query, moment, gather(query, moment, moment, FETCH if series is None else fetch_from(series))))


@pytest.mark.parametrize("seed", range(100, 160))
def test_a_range_is_its_moments_in_a_row(seed: int) -> None:
    expression = Expressions(seed).vector()
    query = compiled(expression)
    end = START + 20 * STEP
    try:
        found = ranged(query, START, end, STEP, gather(query, START, end, FETCH))
    except InvalidArguments:
        return
    in_range = {(one.labels, moment): value for one in found.series for moment, value in zip(one.times, one.values, strict=True)}
    moments = range(START, end + 1, STEP)
    alone = {(labels, moment): value for moment in moments for labels, value in at(expression, moment).items()}
    assert in_range == pytest.approx(alone, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(200, 230))
def test_samples_outside_the_selections_change_nothing(seed: int) -> None:
    """What is fetched is cut to the selections; all samples of the same series give the same answer."""
    query = compiled(Expressions(seed).vector())
    moment = START + 1_500_000
    cut = gather(query, moment, moment, FETCH)
    whole = gather(query, moment, moment, lambda matchers, _start, _end: FETCH(matchers, 0, END * 2))
    try:
        expected = values(instant(query, moment, whole))
    except InvalidArguments:
        return
    assert values(instant(query, moment, cut)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("minutes", [-3, 1, 17])
def test_an_offset_is_another_moment(minutes: int) -> None:
    moment = START + 1_500_000
    sign = "-" if minutes < 0 else ""
    for expression in ("requests_total", "whole"):
        shifted = at(f"{expression} offset {sign}{abs(minutes)}m", moment)
        assert shifted == at(expression, moment - minutes * 60_000)
    shifted = at(f"rate(requests_total[5m] offset {sign}{abs(minutes)}m)", moment)
    assert shifted == at("rate(requests_total[5m])", moment - minutes * 60_000)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.lists(st.sampled_from("abc"), min_size=40, max_size=40))
def test_groups_add_up_to_the_whole(numbers: list[float], groups: list[str]) -> None:
    series = [Series(labels_of({"group": groups[n], "n": str(n)}, name="g"), [START], [value]) for n, value in enumerate(numbers)]
    assert at("sum(sum by (group) (g))", START, series) == pytest.approx(at("sum(g)", START, series), abs=1e-6)
    assert at("sum(count by (group) (g))", START, series) == at("count(g)", START, series)
    assert at("max(max without (n) (g))", START, series) == at("max(g)", START, series)
    assert list(at("min(g)", START, series).values()) == [min(numbers)]
    assert list(at("quantile(0.5, g)", START, series).values()) == pytest.approx([_median(numbers)])


@given(st.lists(st.tuples(st.integers(1, 90_000), st.integers(0, 50)), min_size=2, max_size=40))
def test_a_counter_that_never_falls_grows_by_what_it_gained_at_least(steps: list[tuple[int, int]]) -> None:
    """Extrapolation adds to the growth, never takes from it, and adds less than the average interval on each side."""
    times, counts, moment, count = [], [], START, 0.0
    for wait, gained in steps:
        moment, count = moment + wait, count + gained
        times.append(moment)
        counts.append(count)
    series = [Series(labels_of({}, name="c"), times, counts)]
    range_ms = max(times[-1] - times[0], 1)
    grown = at(f"increase(c[{range_ms}ms])", times[-1], series)
    assert list(grown.values()) == pytest.approx([counts[-1] - counts[0]])
    per_second = at(f"rate(c[{range_ms}ms])", times[-1], series)
    assert list(per_second.values()) == pytest.approx([(counts[-1] - counts[0]) / (range_ms / 1000)])


@given(st.lists(FLOATS, min_size=1, max_size=30), st.data())
def test_markers_among_samples_are_as_if_they_were_not_there(numbers: list[float], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(numbers)), max_size=5))
    with_markers = list(numbers)
    for place in places:
        with_markers.insert(place, STALE)
    labels = labels_of({}, name="g")
    marked = [Series(labels, range(START, START + len(with_markers)), with_markers)]
    plain = [Series(labels, range(START, START + len(numbers)), numbers)]
    for function in ("count", "sum", "max", "last", "stddev"):
        expression = f"{function}_over_time(g[1m])"
        assert at(expression, START + 50_000, marked) == pytest.approx(at(expression, START + 50_000, plain), nan_ok=True)


@given(st.floats(-1e300, 1e300))
def test_a_number_written_without_an_exponent_reads_back_the_same(value: float) -> None:
    assert float(go_fixed(value)) == value
    assert "e" not in go_fixed(value)


@given(st.lists(FLOATS, min_size=1, max_size=20), FLOATS)
def test_arithmetic_never_raises(numbers: list[float], other: float) -> None:
    for value in numbers:
        assert isinstance(power(value, other), float)
        assert isinstance(remainder(value, other), float)
    assert isinstance(total(numbers), float)
    assert isinstance(mean(numbers), float)
    assert isinstance(quantile(other, numbers), float)


@settings(max_examples=200)
@given(st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z"), st.text(max_size=10), max_size=6))
def test_label_sets_are_ordered_and_hold_no_empty_value(pairs: dict[str, str]) -> None:
    labels = labels_of(pairs, name="g")
    assert list(labels) == sorted(labels)
    assert all(value for _, value in labels)
    assert labels_of(labels) == labels
    assert "__name__" not in dict(without_name(labels))
    assert with_label(labels, "x", "") == tuple(pair for pair in labels if pair[0] != "x")
    assert dict(with_label(labels, "x", "1"))["x"] == "1"


@given(st.data())
def test_series_held_are_those_that_match_in_order_with_the_samples_of_the_time(data: st.DataObject) -> None:
    values = st.sampled_from(["", "1", "2", "12"])
    label_sets = data.draw(st.lists(st.fixed_dictionaries({"a": values, "b": values}), max_size=12, unique_by=str))
    names = data.draw(st.lists(st.sampled_from("mn"), min_size=12, max_size=12))
    series = [
        Series(labels_of(pairs, name=name), range(0, 100, 10), [1.0] * 10) for pairs, name in zip(label_sets, names, strict=False)
    ]
    conditions = st.builds(
        Matcher, st.sampled_from(["a", "b", "c", "__name__"]), st.sampled_from(Match), st.sampled_from(["", "1", "m", "1.?"])
    )
    asked = tuple(data.draw(st.lists(conditions, max_size=4)))
    fetch = fetch_from(series)
    for _ in range(2):
        found = fetch(asked, 20, 45)
        assert [one.labels for one in found] == sorted(one.labels for one in series if matches(asked, one.labels))
        assert all(list(one.times) == [20, 30, 40] and len(one.values) == 3 for one in found)


def _median(numbers: list[float]) -> float:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else math.fsum(ordered[middle - 1 : middle + 1]) / 2
