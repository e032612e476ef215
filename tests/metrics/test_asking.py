"""Whether a question is PromQL or words, by what is recorded."""

import pytest

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.asking import asked, names_asked, near
from ops_mcp.metrics.compiling import compiled

PROMQL = [
    ("up", ("up",)),
    ("cpu > 0.9", ("cpu",)),
    ("sum(up)", ()),
    ("absent(up)", ("up",)),
    ("rate(jobs_total[5m])", ()),
    ('latency{service="web"}', ()),
    ("up{} offset 5m", ()),
]
WORDS = [
    ("cpu", (), "process_cpu_ratio"),
    ("cpu > 0.9", (), "process_cpu_ratio > 0.9"),
    ("cpu > 90%", ("cpu_other",), "process_cpu_ratio > 0.9"),
    ("avg(cpu)", (), "avg_over_time(process_cpu_ratio[5m])"),
    ("avg(cpu) over 1h", (), "avg_over_time(process_cpu_ratio[1h])"),
    ("absent(up) for 10m", ("up",), "absent(probe_success)"),
    ("checkout_seconds > 300ms for 2m", ("checkout_seconds",), "checkout_seconds > 0.3"),
    (
        "p95(latency)",
        (),
        "histogram_quantile(0.95, sum by (service, environment, le) (rate(service_request_duration_seconds_bucket[5m])))",
    ),
]
REFUSED = [
    ("memory > 5", (), "compared with a size"),
    ("cpu > 5KB", (), "compared with a share"),
    ("p95(cpu_ratio) > 5%", (), "no PromQL|not supported"),
    ("checkout_seconds > 300 % for 2m", (), "no PromQL"),
    ("sum(", (), "no PromQL"),
    ("cpu >", (), "expected a number"),
]


@pytest.mark.parametrize(("question", "recorded"), PROMQL)
def test_what_is_promql_stays_as_it_is(question: str, recorded: tuple[str, ...]) -> None:
    found = asked(question, compiled, recorded=recorded)
    assert (found.expression, found.words) == (question, None)


@pytest.mark.parametrize(("question", "recorded", "becomes"), WORDS)
def test_words_become_promql(question: str, recorded: tuple[str, ...], becomes: str) -> None:
    found = asked(question, compiled, recorded=recorded)
    assert found.words is not None
    assert found.expression == becomes
    compiled(found.expression)


@pytest.mark.parametrize(("question", "recorded", "said"), REFUSED)
def test_what_is_neither_is_refused_as_what_it_looks_like(question: str, recorded: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidArguments, match=said):
        asked(question, compiled, recorded=recorded)


def test_names_that_are_not_there_are_told_with_those_close_to_them() -> None:
    recorded = ["requests_total", "queue_depth", "a_very_long_name"]
    names = names_asked(compiled("rate(request_total[5m]) / depth + queue_depth + zzz"))
    assert names == ["depth", "queue_depth", "request_total", "zzz"]
    assert near(names, recorded) == (
        "Nothing is recorded as depth; close to it: queue_depth."
        " Nothing is recorded as request_total; close to it: requests_total."
        " Nothing is recorded as zzz."
    )
