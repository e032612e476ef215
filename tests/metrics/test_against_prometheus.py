"""The same expressions over the same samples, asked of a real Prometheus and of our evaluator: labels and numbers are equal."""

from collections.abc import Iterator

import pytest

from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.series import STALE, Series
from tests.metrics.cases import KNOWN_TO_PROMETHEUS_ALONE, PATTERNS, SUPPORTED
from tests.metrics.comparing import Both, Points, difference
from tests.metrics.expressions import Expressions
from tests.metrics.prometheus import BINARY, running
from tests.metrics.world import END, INTERVAL, START, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="needs the program `prometheus` on PATH (Debian's package of that name)"),
]

GENERATED = 600
MIDDLE = START + 1_500_123
WHOLE = (START - 60_000, END + 400_000, 57_000)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with running(tmp_path_factory.mktemp("prometheus")) as theirs:
        yield Both(theirs, sorted([*world(), *edges()]))


def edges() -> list[Series]:
    """Series whose samples lie exactly where an answer turns."""
    minute = 60_000
    return [
        Series(labels_of({}, name="edge_once"), [START], [1.0]),
        Series(labels_of({}, name="edge_ended"), [START, START + minute, START + 2 * minute], [1.0, STALE, 3.0]),
        Series(labels_of({}, name="edge_only_ended"), [START], [STALE]),
        Series(labels_of({}, name="edge_two"), [START, START + minute], [10.0, 16.0]),
        Series(labels_of({}, name="edge_reset"), [START + n * minute for n in range(6)], [5.0, 9.0, 2.0, 4.0, 0.0, 1.0]),
        Series(labels_of({}, name="edge_from_zero"), [START + n * minute for n in range(6)], [0.0, 1, 2, 3, 4, 5]),
        Series(labels_of({}, name="edge_near_zero"), [START + n * minute for n in range(6)], [1.0, 11, 21, 31, 41, 51]),
        Series(labels_of({}, name="edge_falling"), [START + n * minute for n in range(6)], [9.0, 7, 5, 3, 1, -1]),
        Series(labels_of({"part": "x"}, name="edge_early"), [START + n * INTERVAL for n in range(20)], [1.0] * 20),
        Series(labels_of({"part": "x"}, name="edge_late"), [END - n * INTERVAL for n in range(20, 0, -1)], [2.0] * 20),
    ]


def test_generated_expressions_have_the_same_answers(both: Both) -> None:
    expressions = Expressions(seed=4)
    wrong: list[str] = []
    with_values = 0
    for _ in range(GENERATED):
        expression = expressions.vector()
        answers = [
            both.instant(expression, START + 600_000),
            both.instant(expression, MIDDLE),
            both.ranged(expression, *WHOLE),
        ]
        wrong.extend(f"{expression}: {found}" for ours, theirs in answers if (found := difference(ours, theirs)))
        with_values += any(theirs for _, theirs in answers)
    assert not wrong
    assert with_values >= GENERATED * 2 // 3  # else the generator asks for nothing


@pytest.mark.parametrize("seed", range(5))
def test_words_in_any_order_mean_the_same_where_both_read_them(both: Both, seed: int) -> None:
    """What is parsed differently, such as precedence, would give other numbers. Who reads more is not judged."""
    read = 0
    for expression in Expressions(seed=seed).words(800):
        ours, theirs = both.instant(expression, MIDDLE)
        if ours is not None and theirs is not None:
            assert not difference(ours, theirs), expression
            read += 1
    assert read > 30


LOOKBACK = [
    ("edge_once", START + 299_999),
    ("edge_once", START + 300_000),  # exactly five minutes old: counts
    ("edge_once", START + 300_001),
    ("edge_once", START - 1),
    ("edge_once offset 1m", START + 360_000),
    ("edge_once offset -1m", START - 60_000),
    ("edge_once offset -1m", START - 60_001),
    ("edge_ended", START + 59_999),
    ("edge_ended", START + 60_000),  # marked as ended: nothing, though the sample before is recent
    ("edge_ended", START + 119_999),
    ("edge_ended", START + 120_000),
    ("edge_only_ended", START),
    ("absent(edge_only_ended)", START),
    ("count_over_time(edge_once[1m])", START + 60_000),  # both ends of a range count
    ("count_over_time(edge_once[1m])", START + 60_001),
    ("count_over_time(edge_ended[5m])", START + 180_000),  # the marker is no sample
    ("last_over_time(edge_ended[1m])", START + 60_000),
    ("present_over_time(edge_only_ended[1m])", START),
    ("absent_over_time(edge_only_ended[1m])", START),
    ("timestamp(edge_once)", START + 200_000),
    ("timestamp(edge_once offset 1m)", START + 200_000),
    ("timestamp(edge_once + 0)", START + 200_000),
    ("edge_ended[5m]", START + 180_000),
]


@pytest.mark.parametrize(("expression", "at"), LOOKBACK)
def test_samples_count_until_exactly_the_same_moment(both: Both, expression: str, at: int) -> None:
    assert not difference(*both.instant(expression, at))


COUNTERS = ["edge_two", "edge_reset", "edge_from_zero", "edge_near_zero", "edge_falling", "edge_once", "edge_ended"]


@pytest.mark.parametrize("function", ["rate", "increase", "delta", "irate", "idelta", "resets", "changes", "deriv"])
@pytest.mark.parametrize("counter", COUNTERS)
def test_growth_is_extrapolated_alike_at_every_offset_from_the_samples(both: Both, function: str, counter: str) -> None:
    for range_ in ("1m", "90s", "2m", "5m", "20m"):
        ours, theirs = both.ranged(f"{function}({counter}[{range_}])", START - 30_000, START + 900_000, 7_001)
        assert not difference(ours, theirs)


@pytest.mark.parametrize("expression", SUPPORTED)
def test_edge_cases_have_the_same_answers(both: Both, expression: str) -> None:
    for at in (MIDDLE, START, END + 200_000):
        assert not difference(*both.instant(expression, at))
    if not expression.endswith(("[10m:1m]", "[5m]")):
        assert not difference(*both.ranged(expression, *WHOLE))
        assert not difference(*both.ranged(expression, START + 900_000, START + 930_000, 1_000))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_the_same_values_or_are_refused(both: Both, pattern: str) -> None:
    for sign in ("=~", "!~"):
        assert not difference(*both.instant(f'whole{{zone="north",host{sign}`{pattern}`}}', MIDDLE))


@pytest.mark.parametrize("expression", KNOWN_TO_PROMETHEUS_ALONE)
def test_what_prometheus_knows_and_we_do_not_is_refused(both: Both, expression: str) -> None:
    ours, theirs = both.instant(expression, MIDDLE)
    assert ours is None
    assert theirs is not None


def test_a_numeric_difference_would_be_seen() -> None:
    one: Points = {(labels_of({"a": "1"}), 1): 1.0}
    assert difference(one, {(labels_of({"a": "1"}), 1): 1.00000001})
    assert difference(one, {(labels_of({"a": "2"}), 1): 1.0})
    assert difference(one, {})
    assert difference(one, None)
    assert not difference(one, {(labels_of({"a": "1"}), 1): 1.0 + 1e-12})
