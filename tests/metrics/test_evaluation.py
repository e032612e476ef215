"""Worked cases: what each expression answers over samples small enough to count by hand, by Prometheus's documented rules."""

import math
import struct

import pytest

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.labels import NO_LABELS, Labels, labels_of
from ops_mcp.metrics.matchers import Match, Matcher, named
from ops_mcp.metrics.query import Selection, gather, selections
from ops_mcp.metrics.series import STALE, Matrix, Scalar, Series, Vector, is_stale
from tests.metrics.notation import MINUTE, START, answer, asked, series, stepped

A: Labels = labels_of({"n": "a"})
B: Labels = labels_of({"n": "b"})
NAN, INF = math.nan, math.inf

WORKED = [
    # A counter seen at 10 and 16, a minute apart, over nine minutes that begin long before and end long after: 6 in 60 s.
    # Both ends are further off than 1.1 intervals, so half an interval is added on each side: 6 * 120/60.
    ("increase(c[9m])", 5, ["c 10 16"], 12.0),
    # The same counter at 1, 7 was zero 10 s before its first sample: it is extrapolated by those, not by 30: 6 * (60+10+30)/60.
    ("increase(c[9m])", 5, ["c 1 7"], 10.0),
    # At 0 it cannot have been less: 6 * (60+0+30)/60.
    ("increase(c[9m])", 5, ["c 0 6"], 9.0),
    # A gauge has no zero: the full half intervals.
    ("delta(c[9m])", 5, ["c 1 7"], 12.0),
    ("delta(c[9m])", 5, ["c 7 1"], -12.0),
    # Samples on both ends of the range: nothing is extrapolated, 30 in 180 s.
    ("rate(c[3m])", 3, ["c 100 110 120 130"], 30 / 180),
    # A reset: 5 to 9 is 4, then from zero to 2 is 2, then 2 more: 8.
    ("increase(c[3m])", 3, ["c 5 9 2 4"], 8.0),
    ("irate(c[3m])", 3, ["c 5 9 4 2"], 2 / 60),
    ("idelta(c[3m])", 3, ["c 5 9 4 2"], -2.0),
    ("resets(c[5m])", 5, ["c 1 3 2 2 5 1"], 2.0),
    ("changes(c[5m])", 5, ["c 1 3 3 NaN NaN 1"], 3.0),
    # Population variance of 2 4 4 4 5 5 7 9 is 4.
    ("stdvar_over_time(g[7m])", 7, ["g 2 4 4 4 5 5 7 9"], 4.0),
    ("stddev_over_time(g[7m])", 7, ["g 2 4 4 4 5 5 7 9"], 2.0),
    # Rank 0.9 * (5-1) = 3.6 between 4 and 5.
    ("quantile_over_time(0.9, g[4m])", 4, ["g 5 1 4 2 3"], 4.6),
    ("quantile_over_time(-1, g[4m])", 4, ["g 5 1 4 2 3"], -INF),
    ("quantile_over_time(2, g[4m])", 4, ["g 5 1 4 2 3"], INF),
    # The line through (0 s, 0), (60 s, 6), (120 s, 12): a tenth a second, ten minutes later 72.
    ("deriv(g[2m])", 2, ["g 0 6 12"], 0.1),
    ("predict_linear(g[2m], 600)", 2, ["g 0 6 12"], 72.0),
    # Sums that plain addition loses.
    ("sum_over_time(g[3m])", 3, ["g 1 1e100 1 -1e100"], 2.0),
    # Finite averages of values whose sum is not.
    ("avg_over_time(g[2m])", 2, ["g 1e308 1e308 1e308"], 1e308),
    ("avg_over_time(g[2m])", 2, ["g Inf 1 2"], INF),
    ("sum_over_time(g[2m])", 2, ["g Inf 1 -Inf"], NAN),
    ("min_over_time(g[2m])", 2, ["g NaN 3 2"], 2.0),
    ("max_over_time(g[1m])", 1, ["g NaN NaN"], NAN),
    # Markers are no samples; NaN is one.
    ("count_over_time(g[5m])", 5, ["g 1 end 3 NaN _ 6"], 4.0),
    ("sum_over_time(g[5m])", 5, ["g 1 end 3"], 4.0),
    # Numbers
    ("1 / 0", 0, [], INF), ("-1 / 0", 0, [], -INF), ("0 / 0", 0, [], NAN), ("1 % 0", 0, [], NAN), ("-7 % 3", 0, [], -1.0),
    ("2 ^ 3 ^ 2", 0, [], 512.0), ("-2 ^ 2", 0, [], -4.0), ("(-8) ^ (1 / 3)", 0, [], NAN), ("0 ^ -1", 0, [], INF),
    ("(-10) ^ 309", 0, [], -INF), ("NaN == bool NaN", 0, [], 0.0), ("NaN != bool NaN", 0, [], 1.0), ("3 > bool 2", 0, [], 1.0),
    ("time()", 1, [], (START + MINUTE) / 1000), ("scalar(nothing)", 0, [], NAN), ("scalar(g)", 0, ["g 4"], 4.0),
    # Halves are rounded up, below zero too.
    ("round(g)", 0, ["g 2.5"], 3.0), ("round(g)", 0, ["g -2.5"], -2.0), ("round(g, 5)", 0, ["g 13"], 15.0),
    ("ceil(g)", 0, ["g 1.1"], 2.0), ("floor(g)", 0, ["g -1.1"], -2.0), ("ln(g)", 0, ["g 0"], -INF), ("ln(g)", 0, ["g -1"], NAN),
    ("sqrt(g)", 0, ["g -1"], NAN), ("exp(g)", 0, ["g 1000"], INF), ("sgn(g)", 0, ["g -3"], -1.0), ("abs(g)", 0, ["g -3"], 3.0),
    ("clamp(g, 2, 2)", 0, ["g 3"], 2.0),
    ("clamp_max(g, 2)", 0, ["g 3"], 2.0), ("clamp_min(g, 4)", 0, ["g 3"], 4.0), ("clamp_min(g, 4)", 0, ["g NaN"], NAN),
    ("1 / ceil(g)", 0, ["g -0.5"], -INF),
    # A comparison with the number on the left keeps the element's value.
    ("2 < g", 0, ["g 3"], 3.0),
    ("timestamp(g)", 3, ["g 1 2"], (START + MINUTE) / 1000),
    ("timestamp(g + 1)", 3, ["g 1 2"], (START + 3 * MINUTE) / 1000),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "minute", "written", "expected"), WORKED)
def test_a_worked_case_has_the_value_computed_by_hand(expression: str, minute: int, written: list[str], expected: float) -> None:
    found = list(asked(expression, minute, *written).values())
    assert found == pytest.approx([expected], rel=1e-12, nan_ok=True)


def test_functions_leave_the_name_out_and_last_over_time_keeps_it() -> None:
    named_g = labels_of({}, name="g")
    assert asked("max_over_time(g[1m])", 0, "g 1").keys() == {NO_LABELS}
    assert asked("last_over_time(g[1m])", 0, "g 1").keys() == {named_g}
    assert asked("abs(g)", 0, "g 1").keys() == {NO_LABELS}
    assert asked("g > 0", 0, "g 1").keys() == {named_g}
    assert asked("g > bool 0", 0, "g 1").keys() == {NO_LABELS}
    assert asked("g + 0", 0, "g 1").keys() == {NO_LABELS}


def test_rate_needs_two_samples() -> None:
    assert asked("rate(c[5m])", 0, "c 1") == {}
    assert asked("rate(c[59s])", 3, "c 1 2 3 4") == {}


def test_a_value_lasts_five_minutes_and_ends_at_the_marker() -> None:
    assert list(asked("g", 5, "g 1").values()) == [1.0]
    assert asked("g", 5.001, "g 1") == {}
    assert asked("g", 1, "g 1 end") == {}
    assert list(asked("g", 2, "g 1 end 3").values()) == [3.0]
    assert list(asked("g offset 10m", 12, "g 1 _ 3").values()) == [3.0]
    assert list(asked("g offset -2m", 0, "g 1 _ 3").values()) == [3.0]


def test_the_marker_is_told_from_other_nans_by_its_bits() -> None:
    assert is_stale(STALE)
    assert not is_stale(NAN)
    assert not is_stale(1.0)
    assert struct.pack(">d", STALE) == bytes.fromhex("7ff0000000000002")
    assert list(asked("g", 0, "g NaN").values()) == pytest.approx([NAN], nan_ok=True)


def test_topk_puts_nan_last_and_the_largest_first() -> None:
    found = answer("topk(3, g)", 0, 'g{n="a"} 1', 'g{n="b"} NaN', 'g{n="c"} 5', 'g{n="d"} 3')
    assert isinstance(found, Vector)
    assert [sample.value for sample in found.samples] == [5.0, 3.0, 1.0]
    found = answer("bottomk(9, g)", 0, 'g{n="a"} 2', 'g{n="b"} NaN', 'g{n="c"} 1')
    assert isinstance(found, Vector)
    assert [sample.value for sample in found.samples] == pytest.approx([1.0, 2.0, NAN], nan_ok=True)


def test_topk_of_many_keeps_the_largest_whatever_their_order() -> None:
    order = [3, 9, 1, 7, 5, 2, 8, 6, 4, 0]
    found = answer("topk(6, g)", 0, *(f'g{{n="{place}"}} {value}' for place, value in enumerate(order)))
    assert isinstance(found, Vector)
    assert [sample.value for sample in found.samples] == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]


def test_averages_of_a_group_stay_infinite_and_nan_spreads() -> None:
    assert asked("avg(g)", 0, 'g{n="a"} Inf', 'g{n="b"} 1') == {NO_LABELS: INF}
    assert list(asked("avg(g)", 0, 'g{n="a"} Inf', 'g{n="b"} -Inf').values()) == pytest.approx([NAN], nan_ok=True)
    assert asked("max(g)", 0, 'g{n="a"} NaN', 'g{n="b"} 1') == {NO_LABELS: 1.0}


BUCKETS = ['h{le="1"} 10', 'h{le="2"} 30', 'h{le="4"} 30', 'h{le="+Inf"} 40']
QUANTILES = [
    # Of 40 observations the 5th lies halfway through the first ten, which lie between 0 and 1.
    ("histogram_quantile(0.125, h)", BUCKETS, 0.5),
    # The 20th is halfway through the twenty between 1 and 2.
    ("histogram_quantile(0.5, h)", BUCKETS, 1.5),
    # The 39th lies beyond 4: all that is known is that.
    ("histogram_quantile(0.975, h)", BUCKETS, 4.0),
    ("histogram_quantile(-0.1, h)", BUCKETS, -INF),
    ("histogram_quantile(1.1, h)", BUCKETS, INF),
    ("histogram_quantile(NaN, h)", BUCKETS, NAN),
    ("histogram_quantile(0.5, h)", BUCKETS[:3], NAN),  # no bucket up to infinity
    ("histogram_quantile(0.5, h)", BUCKETS[3:], NAN),  # one bucket tells nothing
    ("histogram_quantile(0.5, 0 * h)", BUCKETS, NAN),  # no observations
    ("histogram_quantile(0.1, h)", ['h{le="-1"} 5', 'h{le="1"} 10', 'h{le="+Inf"} 10'], -1.0),  # the lowest ends below zero
    # One bound in two writings is one bucket, of eight.
    ("histogram_quantile(0.5, h)", ['h{le="1"} 4', 'h{le="1.0"} 4', 'h{le="2"} 16', 'h{le="+Inf"} 16'], 1.0),
    # A count below the one before it is taken for that one.
    ("histogram_quantile(0.5, h)", ['h{le="1"} 8', 'h{le="2"} 6', 'h{le="+Inf"} 16'], 1.0),
    ("histogram_quantile(0.5, h)", [*BUCKETS, 'h{le="wide"} 99', "h 99"], 1.5),  # no bucket at all
]  # fmt: skip


@pytest.mark.parametrize(("expression", "written", "expected"), QUANTILES)
def test_a_quantile_of_a_histogram_is_interpolated_in_its_bucket(expression: str, written: list[str], expected: float) -> None:
    assert list(asked(expression, 0, *written).values()) == pytest.approx([expected], nan_ok=True)


REFUSED = [
    ("a + on (n) b", ['a{n="a"} 1', 'b{n="a",m="1"} 1', 'b{n="a",m="2"} 1'], "many-to-many matching not allowed"),
    ("a + on (n) b", ['a{n="a",m="1"} 1', 'a{n="a",m="2"} 1', 'b{n="a"} 1'], "many-to-one matching must be explicit"),
    ("a + on (n) group_left b", ['a{n="a"} 1', 'b{n="a",m="1"} 1', 'b{n="a",m="2"} 1'], "on the right hand-side"),
    ("b + on (n) group_right a", ['a{n="a"} 1', 'b{n="a",m="1"} 1', 'b{n="a",m="2"} 1'], "on the left hand-side"),
    ("a + on (n) group_left (m) b", ['a{n="a",m="1"} 1', 'a{n="a",m="2"} 1', 'b{n="a"} 1'], "grouping labels must ensure unique"),
    ('abs({__name__=~"a|b"})', ["a 1", "b 1"], "same labelset"),
    ('rate({__name__=~"a|b"}[5m])', ["a 1 2", "b 1 2"], "same labelset"),
    ("topk(NaN, a)", ["a 1"], "no integer"),
    ('count_values("1", a)', ["a 1"], "name of a label"),
    ("rate(a)", ["a 1"], "expected type matrix"),
    ("a > 1 > ", ["a 1"], "no PromQL"),
    ("1 > 2", [], "BOOL modifier"),
    ('"text"', [], "no value over time"),
    ('a{x="1" or y="2"}', [], "not supported"),
    ("a + fill (0) b", [], "not supported"),
    ("limitk(2, a)", [], "not supported"),
    ("quantum(a)", [], "The function `quantum` is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "written", "said"), REFUSED)
def test_what_has_no_answer_is_refused_with_the_reason(expression: str, written: list[str], said: str) -> None:
    with pytest.raises(InvalidArguments, match=said):
        asked(expression, 1, *written)


def test_a_duplicate_that_a_comparison_drops_is_no_duplicate() -> None:
    written = ['a{n="a",m="1"} 1', 'a{n="a",m="2"} 5', 'b{n="a"} 3']
    assert asked("a > on (n) b", 0, *written) == {A: 5.0}


def test_nothing_matches_nothing_without_looking_for_duplicates() -> None:
    assert asked("nothing + on (n) b", 0, 'b{n="a",m="1"} 1', 'b{n="a",m="2"} 1') == {}


def test_two_metrics_that_become_one_at_different_moments_are_refused_over_a_range_alone() -> None:
    written = ["a 1 2 _ _ _ _ _ _ _ _", "b _ _ _ _ _ _ _ _ 1 2"]
    assert asked('rate({__name__=~"a|b"}[1m])', 1, *written) == pytest.approx({NO_LABELS: 1 / 60})
    with pytest.raises(InvalidArguments, match="same labelset"):
        stepped('rate({__name__=~"a|b"}[1m])', 9, *written)


def test_a_range_has_values_at_every_step_up_to_its_end_and_gaps_where_there_are_none() -> None:
    assert stepped("g", 8, 'g{n="a"} 1 2 end', 'g{n="b"} 5') == {
        labels_of({"n": "a"}, name="g"): [1.0, 2.0],
        labels_of({"n": "b"}, name="g"): [5.0] * 6,
    }
    assert stepped("vector(1)", 3) == {NO_LABELS: [1.0] * 4}
    assert stepped("2 * 3", 2) == {NO_LABELS: [6.0] * 3}


def test_the_last_step_may_fall_short_of_the_end() -> None:
    query = compiled("time()")
    found = ranged(query, 0, 100_000, 30_000, [])
    assert found == Matrix((Series(NO_LABELS, [0, 30_000, 60_000, 90_000], [0.0, 30.0, 60.0, 90.0]),))


def test_a_subquery_is_asked_at_multiples_of_its_step() -> None:
    at = START + 90_000
    found = instant(compiled("vector(time())[2m:1m]"), at, [])
    assert isinstance(found, Matrix)
    assert found.series[0].times == [START, START + MINUTE]  # not half a minute after each
    assert list(asked("max_over_time(sum(g)[3m:1m])", 3, 'g{n="a"} 1 5 1 1', 'g{n="b"} 1 1 1 1').values()) == [6.0]


def test_a_range_vector_alone_answers_its_samples() -> None:
    found = answer("g[2m]", 3, "g 1 2 end 4")
    assert found == Matrix((Series(labels_of({}, name="g"), [START + MINUTE, START + 3 * MINUTE], [2.0, 4.0]),))
    with pytest.raises(InvalidArguments, match="no value over a range"):
        stepped("g[2m]", 3, "g 1")


def test_a_number_answers_a_scalar() -> None:
    assert answer("1 + 1", 0) == Scalar(START, 2.0)


def test_selections_name_what_is_read_and_nothing_more() -> None:
    query = compiled('rate(a{n="1"}[5m] offset 1m) / b + max_over_time(c[10m:1m] offset 1h)')
    minute, hour = 60_000, 3_600_000
    at = 100 * hour + 30_000
    assert selections(query, at, at + hour) == (
        Selection(named("a", [Matcher("n", Match.equal, "1")]), at - 6 * minute, at + hour - minute),
        Selection(named("b"), at - 5 * minute, at + hour),
        # At full minutes from 70 minutes ago on, each with the lookback of five minutes before it.
        Selection(named("c"), at + 30_000 - 70 * minute - 5 * minute, at),
    )


def test_selections_are_fetched_once_each() -> None:
    asked_for: list[object] = []

    def fetch(*selection: object) -> list[Series]:
        asked_for.append(selection)
        return []

    gathered = gather(compiled("a + a + a offset 1m"), 0, 0, fetch)
    assert len(gathered) == 3
    assert len(asked_for) == 2


def test_a_query_is_evaluated_again_without_being_compiled_again() -> None:
    query = compiled("sum(g)")
    for value in ("1", "2"):
        fetch = fetch_from([series(f"g {value}")])
        found = instant(query, START, gather(query, START, START, fetch))
        assert isinstance(found, Vector)
        assert found.samples[0].value == float(value)
