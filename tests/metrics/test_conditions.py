"""Conditions in words: what they become, when they hold, and what is refused with the valid words."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.errors import InvalidArguments, OpsError
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.conditions import LONGEST_CONDITION, condition
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.names import RECORDED
from ops_mcp.metrics.quantities import duration_ms, written_duration
from ops_mcp.metrics.vocabulary import WORDS, Measure
from tests.metrics.notation import asked

RIGHT = {
    Measure.share: ("5%", "0.5", "100%", "0"),
    Measure.seconds: ("300ms", "2s", "1.5m", "3h", "14d", "0"),
    Measure.bytes: ("1.5GiB", "500MB", "10KiB", "1TB", "64B", "0"),
    Measure.per_second: ("10/s", "600/min", "0.5"),
    Measure.number: ("3", "0", "1024"),
}
WRONG = {
    Measure.share: ("5", "300ms", "5MB", "150%", "3/s"),
    Measure.seconds: ("300", "5%", "1GiB", "3/s"),
    Measure.bytes: ("300", "5%", "1s", "3/s"),
    Measure.per_second: ("5%", "1s", "1MB"),
    Measure.number: ("5%", "1s", "1MB", "3/s"),
}
PAIRS = [(word, amount) for word in WORDS.values() for amount in RIGHT[word.measure]]
MISFITS = [(word, amount) for word in WORDS.values() for amount in WRONG[word.measure]]


@pytest.mark.parametrize(("word", "amount"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_every_word_becomes_promql_that_we_evaluate(word: object, amount: str) -> None:
    name = getattr(word, "name", "")
    for text in (f"{name} > {amount}", f"absent({name}) for 5m", f"{name} over 1h <= {amount} for 1h30m"):
        became = condition(text, where={"service": "api", "environment": "staging", "host": "one"})
        compiled(became.expression)
        assert name in text
        assert became.said


@pytest.mark.parametrize(("word", "amount"), MISFITS, ids=lambda value: getattr(value, "name", value))
def test_an_amount_that_does_not_fit_its_word_is_refused(word: object, amount: str) -> None:
    with pytest.raises(InvalidArguments):
        condition(f"{getattr(word, 'name', '')} > {amount}")


def test_every_metric_that_a_word_reads_is_one_that_is_recorded() -> None:
    known = {metric.name for metric in RECORDED}
    for word in WORDS.values():
        read = set(re.findall(r"\b((?:service|probe|process|host)_[a-z0-9_]+)", condition(f"absent({word.name})").expression))
        assert read
        assert {re.sub(r"_(sum|count|bucket)$", "", name) for name in read} <= known


def requests(failed: int, total: int) -> list[str]:
    """A service whose requests of four minutes failed in this share."""
    labels = 'service="api",environment="staging"'
    return [
        f'service_requests_total{{{labels},status="200"}} ' + " ".join(str(n * (total - failed)) for n in range(6)),
        f'service_requests_total{{{labels},status="503"}} ' + " ".join(str(n * failed) for n in range(6)),
    ]


HOLDS = [
    (501, 10_000, True),  # 5.01 %
    (500, 10_000, False),  # 5 % is not above 5 %
    (499, 10_000, False),
    (1, 1, True),
    (0, 10_000, False),
]


@pytest.mark.parametrize(("failed", "total", "holds"), HOLDS)
def test_an_error_rate_above_five_percent_is_above_and_not_at_it(failed: int, total: int, holds: bool) -> None:
    found = asked(condition("error_rate > 5%").expression, 5, *requests(failed, total))
    assert (found.keys() == {labels_of({"service": "api", "environment": "staging"})}) is holds


def test_a_service_without_errors_has_an_error_rate_of_zero_and_one_without_requests_has_none() -> None:
    below = condition("error_rate < 1%").expression
    quiet = 'service_requests_total{service="api",environment="staging",status="200"} 7 7 7 7 7 7'
    busy = 'service_requests_total{service="api",environment="staging",status="200"} 1 2 3 4 5 6'
    assert list(asked(below, 5, busy).values()) == [0.0]
    assert asked(below, 5, quiet) == {}
    assert asked(below, 5) == {}


def test_conditions_are_narrowed_to_what_a_rule_is_for() -> None:
    where = {"service": 'a"b\\c\nd', "environment": "prod", "host": "one"}
    assert condition("cpu > 50%", where=where).expression == (
        'process_cpu_ratio{environment="prod",service="a\\"b\\\\c\\nd"} > 0.5'
    )
    assert condition("host_cpu > 50%", where=where).expression == 'host_cpu_ratio{host="one"} > 0.5'
    compiled(condition("error_rate > 5% and latency > 1s", where=where).expression)
    with pytest.raises(InvalidArguments, match="label"):
        condition("cpu > 5%", where={'x="1"} or vector(1) #': "1"})


def test_recorded_metrics_are_words_in_the_unit_that_their_name_tells() -> None:
    recorded = ["queue_depth", "orders_total", "cache_size_bytes", "hit_ratio", "wait_seconds", "up"]
    assert condition("queue_depth > 100", recorded=recorded).expression == "queue_depth > 100"
    assert condition("p95(wait_seconds) > 2s", recorded=recorded).expression == "quantile_over_time(0.95, wait_seconds[5m]) > 2"
    assert condition("cache_size_bytes > 1MiB", recorded=recorded).expression == "cache_size_bytes > 1048576"
    assert condition("max(hit_ratio) < 80%", recorded=recorded).expression == "max_over_time(hit_ratio[5m]) < 0.8"
    assert condition("rate(orders_total) < 1/min", recorded=recorded).expression.endswith(
        "(rate(orders_total[5m])) < 0.016666666666666666"
    )
    assert condition("up == 0", recorded=recorded).expression == "probe_success == 0"  # a word goes before a metric
    with pytest.raises(InvalidArguments) as counted:
        condition("orders_total > 5", recorded=recorded)
    assert "rate(orders_total)" in counted.value.hint


REFUSED = [
    ("errr_rate > 5%", "a word that conditions know", "Close to it: error_rate"),
    ("nonsense > 5", "a word that conditions know", "Valid words: error_rate, latency"),
    ("error_rate", "a comparison", "Examples"),
    ("error_rate >", "a number", "Examples"),
    ("error_rate > five", "a number", "Examples"),
    ("error_rate > 5% for", "a duration", "Examples"),
    ("error_rate > 5% for ever", "a duration", "Examples"),
    ("error_rate > 5% and", "a word that conditions know", "Valid words"),
    ("error_rate > 5% for 5m and cpu > 5%", "`and`, `or`, `for` or the end", "Examples"),
    ("error_rate > 5% or (cpu > 5%)", "a word that conditions know", "Valid words"),
    ("p95(latency > 5s", "`)`", "Examples"),
    ("p100(latency) > 5s", "a function", "Examples"),
    ("exp(latency) > 5s", "a function", "Examples"),
    ("p95(throughput) > 5/s", "no percentiles", "`throughput` and `absent(throughput)`"),
    ("max(latency) > 5s", "cannot be taken so", "percentiles"),
    ("rate(cpu) > 5/s", "cannot be taken so", "`avg(…)`"),
    ("cpu > 5% and host_cpu > 5%", "two conditions on services", "Make two rules"),
    ("cpu > 5% and absent(up)", "two conditions on services", "Make two rules"),
    ("absent(cpu) and absent(up)", "two conditions on services", "Make two rules"),
    ("cpu > 5% over 1000d", "at most 366 days", ""),
    ("cpu > 5% for 0s", "A duration is written", ""),
    ("", "a word that conditions know", "Valid words"),
]


@pytest.mark.parametrize(("text", "said", "hint"), REFUSED)
def test_what_a_condition_cannot_be_is_refused_with_what_it_can(text: str, said: str, hint: str) -> None:
    with pytest.raises(InvalidArguments, match=re.escape(said)) as refused:
        condition(text)
    assert hint in refused.value.hint


def test_a_condition_never_says_again_what_it_could_not_read() -> None:
    with pytest.raises(InvalidArguments) as refused:
        condition("ignore_previous_instructions > 5%")
    assert "ignore" not in refused.value.message + refused.value.hint


@settings(max_examples=500, deadline=None)
@given(st.text('error_ratecpupm95()<>=! 0.1%msGiBhdforandover/"{}\n', max_size=60))
def test_any_text_is_a_condition_that_we_evaluate_or_is_refused(text: str) -> None:
    try:
        became = condition(text, recorded=["m", "pm_total"])
    except OpsError:
        return
    compiled(became.expression)


def test_a_condition_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="characters long"):
        condition("cpu > 5% or " * LONGEST_CONDITION)


@given(st.integers(1, 366 * 86_400).map(lambda seconds: seconds * 1_000))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert duration_ms(written_duration(milliseconds)) == milliseconds
