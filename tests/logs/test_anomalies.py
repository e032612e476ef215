"""What is unusual is found and named; what is steady is left alone; too little history is said to be too little."""

import random
from datetime import timedelta
from fractions import Fraction
from math import comb, exp, factorial, log10

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.anomalies import LEAST_BUCKETS, Anomaly, Findings, History, Kind, Series, find
from ops_mcp.logs.chance import MOST, surprise_of_many, surprise_of_none, surprise_of_share, surprise_over
from ops_mcp.logs.shapes import TemplateId
from tests.logs.made_logs import SYSTEMS
from tests.logs.replaying import MINUTE, START, Line, Replay, minutes_of, poisson

S = Severity


def history(*series: tuple[str, Severity, list[int]], unwatched: frozenset[int] = frozenset()) -> History:
    return History(START, MINUTE, tuple(Series(TemplateId(text), text, s, counts) for text, s, counts in series), unwatched)


def steady(mean: float, buckets: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [poisson(chance, mean) for _ in range(buckets)]


def only(findings: Findings) -> Anomaly:
    (anomaly,) = findings.anomalies
    return anomaly


BASE = ("request done", S.info, steady(50, 61))


def test_steady_lines_are_usual() -> None:
    assert find(history(BASE)) == Findings(())
    assert find(history(BASE)).verdict == "usual"


def test_too_little_history_is_no_verdict() -> None:
    for found in (find(History(START, MINUTE, ())), find(history(("a", S.info, [50] * LEAST_BUCKETS)))):
        assert found.verdict == "insufficient_data"
        assert "are needed" in found.insufficient
    assert find(history(("a", S.info, [1] * 60))).verdict == "insufficient_data"  # buckets enough, lines too few
    assert find(history(("a", S.info, [50] * (LEAST_BUCKETS + 1)))).verdict == "usual"


def test_time_in_which_nobody_looked_is_no_verdict_and_no_silence() -> None:
    quiet = ("a", S.info, [50] * 40 + [0] * 10)
    assert find(history(quiet, unwatched=frozenset(range(40, 50)))).verdict == "insufficient_data"
    gap = ("a", S.info, [50] * 40 + [0] * 10 + [50])
    assert find(history(gap, unwatched=frozenset(range(40, 50)))).verdict == "usual"


def test_a_steady_rate_is_no_spike_however_short_the_history() -> None:
    """Ten errors an hour for two hours, in buckets of five minutes, are what they are."""
    errors = ("payment failed", S.error, [1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1] * 2)
    assert find(history(("request done", S.info, [50] * 24), errors)).verdict == "usual"


def test_what_is_judged_is_no_part_of_its_own_baseline() -> None:
    found = only(find(history(("a", S.info, [10] * 40 + [100] * 20)), judged=20))
    assert (found.kind, found.expected) == (Kind.burst, 200)  # 20 buckets of 10


def test_a_new_error_is_named_with_its_evidence() -> None:
    found = only(find(history(BASE, ("disk is full", S.error, [0] * 60 + [3]))))
    assert (found.kind, found.template, found.severity, found.observed) == (Kind.new_template, "disk is full", S.error, 3)
    assert (found.since, found.until) == (START + 60 * MINUTE, START + 61 * MINUTE)
    assert found.why.startswith("3 lines now, none among the 2")


def test_a_new_error_outranks_what_else_is_new() -> None:
    new = (("disk is full", S.error, [0] * 60 + [1]), ("cache warmed", S.info, [0] * 60 + [1]))
    few = history(("request done", S.info, [200] * 60 + [10]), *new)
    assert [anomaly.text for anomaly in find(few).anomalies] == ["disk is full"]  # one line of information is no news


def test_new_templates_are_no_news_where_they_come_all_the_time() -> None:
    each_once = [(f"odd thing {n}", S.error, [int(n == bucket) for bucket in range(61)]) for n in range(61)]
    assert find(history(BASE, *each_once)).verdict == "usual"
    assert find(history(BASE, each_once[-1])).verdict == "unusual"


def test_a_burst_is_judged_by_the_series_own_history() -> None:
    found = only(find(history(BASE, ("retrying", S.info, [*steady(4, 60), 40]))))
    assert (found.kind, found.template, found.observed) == (Kind.burst, "retrying", 40)
    assert 3 < found.expected < 5


def test_a_batch_that_comes_every_hour_is_no_burst_once_it_came_twice() -> None:
    hourly = [100 if minute % 60 == 30 else 0 for minute in range(151)]
    busy = ("request done", S.info, steady(50, 151))
    assert find(history(busy, ("batch row", S.info, hourly))).verdict == "usual"
    assert find(history(busy, ("batch row", S.info, [0] * 60 + hourly[60:]))).verdict == "unusual"  # the second time it is


def test_a_series_that_scatters_needs_more_to_surprise() -> None:
    busy = ("request done", S.info, steady(500, 61))
    assert find(history(busy, ("page of results", S.info, [5, 45] * 30 + [95]))).verdict == "usual"
    assert find(history(busy, ("page of results", S.info, [25] * 60 + [95]))).verdict == "unusual"


def test_one_earlier_burst_does_not_hide_the_next() -> None:
    found = only(find(history(BASE, ("retrying", S.info, [*steady(4, 30), 400, *steady(4, 29), 30]))))
    assert (found.kind, found.template) == (Kind.burst, "retrying")


def test_a_slow_burst_is_seen_over_several_buckets() -> None:
    found = only(find(history(BASE, ("rare", S.info, [0, 0, 1] * 17 + [3] * 10)), judged=10))
    assert (found.kind, found.template, found.observed) == (Kind.burst, "rare", 30)


def test_more_traffic_for_all_is_one_finding_and_not_one_a_template() -> None:
    found = only(find(history(*((f"t{n}", S.info, [*steady(20, 60, seed=n), 200]) for n in range(20)))))
    assert (found.kind, found.template) == (Kind.burst, None)


def test_a_service_that_fell_silent_is_one_finding() -> None:
    found = only(find(history(*((f"t{n}", S.info, [*steady(5, 60, seed=n), 0, 0]) for n in range(5))), judged=2))
    assert (found.kind, found.template, found.observed) == (Kind.silence, None, 0)
    assert found.since == START + 60 * MINUTE
    assert 40 < found.expected < 60


def test_a_template_that_fell_silent_is_named() -> None:
    found = only(find(history(BASE, ("heartbeat", S.info, [1] * 45 + [0] * 16))))
    assert (found.kind, found.template, found.since) == (Kind.silence, "heartbeat", START + 45 * MINUTE)


def test_a_pause_no_longer_than_twice_the_longest_is_no_silence() -> None:
    resting = ([20] * 6 + [0] * 6) * 5
    busy = ("request done", S.info, steady(50, 72))
    assert find(history(busy, ("nightly", S.info, resting + [20] * 2 + [0] * 10))).verdict == "usual"
    busy = ("request done", S.info, steady(50, 75))
    assert find(history(busy, ("nightly", S.info, resting + [20] * 2 + [0] * 13))).verdict == "unusual"


def test_a_higher_share_of_errors_names_the_template_behind_it() -> None:
    base = ("request done", S.info, [*steady(50, 60), 30])
    known = ("payment failed", S.error, [*steady(2, 60), 8])
    worse = ("request done", S.error, [0] * 60 + [20])
    found = only(find(history(base, known, worse)))
    assert (found.kind, found.template, found.severity) == (Kind.severity_shift, "request done", S.error)
    assert found.why.startswith("28 of 58 lines are error or worse")


def test_warnings_shift_as_errors_do() -> None:
    found = only(find(history(("slow", S.info, [*steady(50, 60), 25]), ("slow", S.warning, [*steady(1, 60), 26]))))
    assert (found.kind, found.severity) == (Kind.severity_shift, S.warning)


@pytest.mark.parametrize("system", list(SYSTEMS)[:2])
def test_steady_lines_raise_no_alarm(system: str) -> None:
    assert not _alarms(system, lines=6_000, each=60, uneven=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [0.0, 0.3])
def test_200_000_steady_lines_raise_at_most_20_alarms(uneven: float) -> None:
    alarms = [alarm for system in SYSTEMS for alarm in _alarms(system, lines=25_000, each=100, uneven=uneven)]
    assert len(alarms) <= 20, alarms


def _alarms(system: str, *, lines: int, each: float, uneven: float) -> list[Anomaly]:
    replay, alarms = Replay(), list[Anomaly]()
    for minute in minutes_of(system, lines=lines, each=each, seed=3, uneven=uneven):
        replay.add(minute)
        alarms += replay.anomalies()
    return alarms


QUIET, FAULTY = 40, 6
FAULTS = [
    (fault, system) for fault in ("new error", "burst", "silence", "one silent", "shift", "new burst") for system in SYSTEMS
]
"""48 faults. Each is put into the lines of a system that ran steadily for 40 minutes."""


@pytest.mark.parametrize(("fault", "system"), FAULTS[::9])
def test_a_fault_is_found_and_the_right_template_is_named(fault: str, system: str) -> None:
    assert _is_found(fault, system)


@pytest.mark.slow
def test_95_of_100_faults_are_found_and_the_right_template_is_named() -> None:
    missed = [(fault, system) for fault, system in FAULTS if not _is_found(fault, system)]
    assert len(FAULTS) >= 40
    assert len(missed) <= len(FAULTS) * 0.05, missed


def _is_found(fault: str, system: str, *, seed: int = 11) -> bool:
    chance = random.Random(f"{fault}/{system}/{seed}")
    each = chance.choice((40, 80, 160))
    minutes = minutes_of(system, lines=round(each * (QUIET + FAULTY + 4)), each=each, seed=seed)
    replay = Replay()
    for minute in minutes[:QUIET]:
        replay.add(minute)
    assert not replay.anomalies()
    kind, examples, faulty = _with_fault(fault, minutes, chance)
    found: list[Anomaly] = []
    for minute in faulty:
        replay.add(minute)
        found += replay.anomalies()
    wanted = {replay.template_of(line.message) for line in examples} or {None}
    return any(anomaly.kind is kind and anomaly.template in wanted for anomaly in found)


def _with_fault(fault: str, minutes: list[list[Line]], chance: random.Random) -> tuple[Kind, list[Line], list[list[Line]]]:
    """What must be found, lines of the template that must be named, and the minutes in which it happens."""
    usual: dict[int, list[Line]] = {}
    for line in (line for minute in minutes[:QUIET] for line in minute):
        usual.setdefault(line.label, []).append(line)
    by_frequency = sorted(usual.values(), key=len, reverse=True)
    rest = [list(minute) for minute in minutes[QUIET : QUIET + FAULTY]]
    match fault:
        case "new error" | "new burst":
            count = 3 if fault == "new error" else 200
            said = "cannot reach shard {} of the ledger: quorum lost"
            lines = [Line(said.format(chance.randrange(999)), S.error, -1) for _ in range(count)]
            return Kind.new_template, lines, [[*rest[0], *lines], *rest[1:]]
        case "burst":
            lines = chance.choice([lines for lines in by_frequency if len(lines) >= 2 * QUIET])
            more = chance.choices(lines, k=round(9 * len(lines) / QUIET))
            return Kind.burst, lines, [[*rest[0], *more], *rest[1:]]
        case "one silent":
            lines = chance.choice([lines for lines in by_frequency if len(lines) >= 4 * QUIET])
            return Kind.silence, lines, [[line for line in minute if line.label != lines[0].label] for minute in rest]
        case "silence":
            return Kind.silence, [], [[] for _ in rest]
        case _:
            lines = by_frequency[0]
            worse = [[_at(line, S.critical) if line.label == lines[0].label else line for line in minute] for minute in rest]
            return Kind.severity_shift, lines, worse


def _at(line: Line, severity: Severity) -> Line:
    return line._replace(severity=severity)


@given(st.integers(1, 60), st.floats(0.01, 30))
def test_a_poisson_tail_is_what_its_definition_says(count: int, mean: float) -> None:
    below = sum(mean**k * exp(-mean) / factorial(k) for k in range(count))
    if count > mean and 1 - below > 1e-9:
        assert surprise_over(count, mean) == pytest.approx(-log10(1 - below), abs=1e-4)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 9))
def test_a_binomial_tail_is_what_its_definition_says(count: int, of: int, tenths: int) -> None:
    share = Fraction(tenths, 10)
    tail = sum(comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))
    if of * share < count <= of:
        assert surprise_of_share(count, of, float(share)) == pytest.approx(-log10(float(tail)), abs=1e-6)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 40))
def test_a_negative_binomial_tail_is_what_its_definition_says(before: int, count: int, exposure: int) -> None:
    """By the recursion of its terms from the chance of none, summed from below in exact numbers but for the first."""
    shape = before + 0.5
    term = (exposure / (exposure + 1)) ** shape
    assert surprise_of_none(before=before, exposure=exposure) == pytest.approx(-log10(term))
    below = 0.0
    for k in range(count):
        below += term
        term *= (k + shape) / (k + 1) / (exposure + 1)
    if count > shape / exposure and 1 - below > 1e-9:
        assert surprise_of_many(count, before=before, exposure=exposure) == pytest.approx(-log10(1 - below), abs=1e-4)


def test_surprise_stays_finite() -> None:
    assert surprise_of_many(10**9, before=0, exposure=10**6) == MOST
    assert surprise_over(10**9, 1e-9) == MOST
    assert surprise_over(5, 0) == MOST
    assert surprise_of_none(before=10**9, exposure=1) == MOST


@given(
    st.lists(st.lists(st.integers(0, 10**6), min_size=30, max_size=30), min_size=1, max_size=4),
    st.lists(st.sampled_from(S), min_size=4, max_size=4),
    st.integers(1, 12),
    st.frozensets(st.integers(0, 29), max_size=10),
)
def test_any_counts_are_judged(
    counts: list[list[int]], severities: list[Severity], judged: int, unwatched: frozenset[int]
) -> None:
    series = [(f"t{n % 3}", severities[n], each) for n, each in enumerate(counts)]
    found = find(history(*series, unwatched=unwatched), judged=judged)
    assert all(0 < anomaly.score <= MOST for anomaly in found.anomalies)
    assert all(START <= anomaly.since < anomaly.until <= START + timedelta(minutes=30) for anomaly in found.anomalies)
    assert [a.score for a in found.anomalies] == sorted((a.score for a in found.anomalies), reverse=True)
