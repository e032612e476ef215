"""Pages of metrics from strangers: read within bounds, what is malformed left out and counted; and written for others to read."""

import math
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.errors import ProviderError
from ops_mcp.metrics.exposition import Bounds, Exposed, Family, Page, page_text, parsed
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.names import RECORDED, Kind

PROMTOOL = shutil.which("promtool")

PAGE = rb"""
# HELP http_requests_total The total number of \\ requests,\n in two lines "quoted".
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",}    3 1395066363000

# A comment, and escapes in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
	spaced  { a = "1" , b="2" }	NaN
# TYPE rpc_duration_seconds histogram
rpc_duration_seconds_bucket{le="0.1"} 5
rpc_duration_seconds_bucket{le="+Inf"} 9
rpc_duration_seconds_sum 1.5e-3
rpc_duration_seconds_count 9
"""


def test_a_page_of_the_documented_format_is_read_whole() -> None:
    page = parsed(PAGE)
    found = {sample.labels: sample for sample in page.samples}
    assert len(found) == 10
    assert page.left_out == 0
    post = found[labels_of({"method": "post", "code": "200"}, name="http_requests_total")]
    assert (post.value, post.at_ms) == (1027.0, 1395066363000)
    path = labels_of(
        {"path": "C:\\DIR\\FILE.TXT", "error": 'Cannot find file:\n"FILE.TXT"'}, name="msdos_file_access_time_seconds"
    )
    assert found[path].value == 1.458255915e9
    assert found[labels_of({"problem": "division by zero"}, name="something_weird")] == (
        labels_of({"problem": "division by zero"}, name="something_weird"),
        math.inf,
        -3982045,
    )
    assert math.isnan(found[labels_of({"a": "1", "b": "2"}, name="spaced")].value)
    assert page.families == (
        Family("http_requests_total", Kind.counter, 'The total number of \\ requests,\n in two lines "quoted".'),
        Family("rpc_duration_seconds", Kind.histogram),
    )


LEFT_OUT = [
    (b"1abc 1", "no metric's name"),
    (b"abc", "no value"),
    (b"abc one", "no value"),
    (b"abc 1_000", "no value"),
    (b"abc 0x10", "no value"),
    (b"abc 1 2 3", "more than a value and a time"),
    (b"abc 1 2.5", "its time"),
    (b'abc 1 # {trace="1"} 1', "more than a value and a time"),
    (b'abc{a="1" 1', "labels are malformed"),
    (b'abc{a="1" b="2"} 1', "labels are malformed"),
    (b"abc{a=1} 1", "labels are malformed"),
    (b'abc{1a="1"} 1', "labels are malformed"),
    (b'abc{a="1",a="2"} 1', "a label is there twice"),
    (b'abc{__name__="other"} 1', "a label is there twice"),
    (b'abc{a="\xff"} 1', "no UTF-8"),
    (b'abc{a="' + b"x" * 2_000 + b'"} 1', "a label is too long"),
    (b"a" * 300 + b" 1", "a name is longer"),
    (b"abc " + b"1" * 20_000, "longer than"),
    (b"abc{" + b",".join(b'l%d="1"' % n for n in range(60)) + b"} 1", "more than 48 labels"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), LEFT_OUT)
def test_a_malformed_line_is_left_out_counted_and_not_repeated(line: bytes, reason: str) -> None:
    page = parsed(b"before 1\n" + line + b"\nafter 2\n")
    assert [sample.value for sample in page.samples] == [1.0, 2.0]
    assert page.left_out == 1
    assert page.reasons[0].startswith("line 2: ")
    assert reason in page.reasons[0]


def test_a_series_that_is_there_twice_keeps_its_first_value() -> None:
    page = parsed(b'a{x="1",y="2"} 1\na{y="2",x="1"} 2\n')
    assert [sample.value for sample in page.samples] == [1.0]
    assert page.left_out == 1


def test_a_target_adds_its_labels_and_keeps_them() -> None:
    page = parsed(b'a{service="mine",x="1"} 1\n', target={"service": "api", "environment": "prod"})
    assert page.samples[0].labels == labels_of(
        {"service": "api", "environment": "prod", "exported_service": "mine", "x": "1"}, name="a"
    )


def test_lines_may_end_in_a_carriage_return_and_the_last_one_in_nothing() -> None:
    assert [sample.value for sample in parsed(b"a 1\r\nb 2").samples] == [1.0, 2.0]


def test_a_page_that_is_too_long_is_refused_whole() -> None:
    with pytest.raises(ProviderError, match="at most 10 are read"):
        parsed(b"a 1\n" * 10, bounds=Bounds(page=10))


def test_series_beyond_the_bound_are_left_out_and_counted() -> None:
    page = parsed(b"".join(b"a%d 1\n" % n for n in range(30)), bounds=Bounds(series=20))
    assert len(page.samples) == 20
    assert page.left_out == 10
    assert len(page.reasons) == 5


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=200), st.text('abc{}="\\\n ,#1.eNaInf+-HELPTYPE', max_size=120).map(str.encode)))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    page = parsed(content)
    assert len(page.samples) + page.left_out <= content.count(b"\n") + 1


NAMES = st.from_regex(r"\A[a-zA-Z_:][a-zA-Z0-9_:]{0,10}\Z")
LABELS = st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,6}\Z"), st.text(min_size=1, max_size=12), max_size=4)
SAMPLES = st.builds(
    lambda name, labels, value, at: Exposed(labels_of(labels, name=name), value, at),
    NAMES,
    LABELS,
    st.floats(allow_nan=False),
    st.none() | st.integers(-(10**14), 10**14),
)
FAMILIES = st.builds(Family, NAMES, st.sampled_from(Kind), st.text(max_size=30).map(str.strip))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(SAMPLES, max_size=8, unique_by=lambda s: (s.labels, s.at_ms)),
    st.lists(FAMILIES, max_size=3, unique_by=lambda f: f.name),
)
def test_a_page_reads_back_as_it_was_written(samples: list[Exposed], families: list[Family]) -> None:
    page = Page(tuple(samples), tuple(families))
    again = parsed(page_text(page).encode())
    assert again.left_out == 0, again.reasons
    assert set(again.samples) == set(samples)
    assert {(f.name, f.kind, f.help) for f in again.families} == {(f.name, f.kind, f.help) for f in families}


@pytest.mark.skipif(PROMTOOL is None, reason="needs the program `promtool` on PATH (Debian's package prometheus)")
def test_prometheus_finds_our_metrics_well_named_and_our_text_well_formed() -> None:
    assert PROMTOOL is not None
    samples: list[Exposed] = []
    for metric in RECORDED:
        labels = dict.fromkeys(metric.labels, 'a"b\\c\nd ä')
        if metric.kind is Kind.histogram:
            samples += [Exposed(labels_of({**labels, "le": le}, name=f"{metric.name}_bucket"), 1.0) for le in ("0.1", "+Inf")]
            samples += [Exposed(labels_of(labels, name=metric.name + end), 1.0) for end in ("_sum", "_count")]
        else:
            samples.append(Exposed(labels_of(labels, name=metric.name), 0.25))
    page = Page(tuple(samples), tuple(Family(metric.name, metric.kind, metric.help) for metric in RECORDED))
    judged = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=page_text(page).encode(), capture_output=True, timeout=30, check=False
    )
    assert (judged.returncode, judged.stderr.decode()) == (0, "")
