"""What lines say of how bad they are. Each case says why it is one."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.severity import severity_of

LOGHUB = Path(__file__).parents[3] / "shared" / "loghub"

CASES = (
    # JSON: the field decides, whatever the message says.
    ('{"level":"error","msg":"x"}', "error"),
    ('{"severity":"WARNING","message":"an ERROR was handled"}', "warning"),
    ('{"lvl":"dbg"}', "debug"),
    ('{"level":30,"msg":"pino writes numbers"}', "info"),
    ('{"level":"60"}', "critical"),
    ('{"level":7}', "unknown"),  # a number of no known logger
    ('{"level":true}', "unknown"),
    ('{"level":"loud"}', "unknown"),
    ('{"msg":"ERROR"}', "unknown"),  # a message is no field
    ('{"ctx":{"level":"error"}}', "unknown"),  # of the context, not of the line
    ('2026-11-20T12:10:00.123456789Z {"level":"fatal"}', "critical"),  # behind the time that a container engine puts in front
    ('{"level":"error","msg":"cut of', "unknown"),  # no JSON any more
    # logfmt
    ('time=2026-11-20T12:10:00Z level=warn msg="an ERROR was handled"', "warning"),
    ('lvl=eror msg="x"', "error"),  # as log15 writes it
    ("url=/search?level=error took=3ms", "unknown"),  # a query string
    ("noise-level=error", "unknown"),  # another name
    # Words that lead the line, or stand in brackets
    ("ERROR no route", "error"),
    ("2026-11-20 12:10:00,123 - WARN  [main:QuorumPeer@1] - x", "warning"),
    ("[2026-11-20 12:10:00] [error] x", "error"),
    ("2026/11/20 12:10:00 [crit] 12#0: x", "critical"),
    ("<info> ready", "info"),
    ("main | Warning | x", "warning"),
    ("INFO:     127.0.0.1:1 - ready, no ERROR", "info"),  # the first one leads
    ("WARNING:root:hello", "warning"),
    ("error: no such file", "error"),
    ("2026-11-20T12:10:00Z notice: x", "info"),
    ("npm ERR! code 1", "error"),
    ("\x1b[31mERROR\x1b[0m x", "error"),  # coloured
    ("\x1b[32minfo\x1b[39m: x", "info"),
    ("E1120 12:10:00.1 1 x.go:1] y", "error"),  # klog
    # A raised error says so itself
    ("Traceback (most recent call last):", "error"),
    ("TypeError: x is not a function", "error"),
    ("java.lang.IllegalStateException: x", "error"),
    ("panic: runtime error", "critical"),
    # Syslog's priority: 11 is user.err, 165 local4.notice, 999 no priority
    ("<11>Nov 20 12:10:00 host app: x", "error"),
    ("<165>1 2026-11-20T12:10:00Z host app - - - x", "info"),
    ("<34>su: x", "critical"),
    ("<999>x", "unknown"),
    # Nothing says so
    ("", "unknown"),
    ('127.0.0.1 - - [20/Nov/2026:12:10:00 +0000] "GET /ERROR HTTP/1.1" 500 12', "unknown"),  # a status, and a path
    ('"GET /a HTTP/1.1" 200 "ERROR Reader/1.0"', "unknown"),  # a visitor's own words
    ("GET /a 500 error", "unknown"),
    ("5 errors found", "unknown"),
    ("an error-free day", "unknown"),
    ("the error: x", "unknown"),  # prose
    ("user 'ERROR' logged in", "unknown"),
    ("Critical section entered", "unknown"),
)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_line_is_as_bad_as_it_says(text: str, expected: str) -> None:
    assert severity_of(text) is Severity(expected)


@given(st.text(max_size=300) | st.text(alphabet='{}[]":<>=|ERORlevel,0123456789 \n', max_size=300))
def test_no_text_is_too_strange(text: str) -> None:
    severity_of(text)


@pytest.mark.parametrize(
    "text", ['{"level":' + "9" * 9000 + "}", "{" * 9000, '{"a":' * 9000, '{"level":"' + "9" * 9000 + '"}', "[" * 90000]
)
def test_a_hostile_line_costs_little_and_says_nothing(text: str) -> None:
    assert severity_of(text) is Severity.unknown


@given(st.sampled_from([word for word in Severity if word is not Severity.unknown]))
def test_our_own_words_are_understood_in_every_form(word: Severity) -> None:
    forms = (f'{{"level":"{word}"}}', f"level={word} x", f"[{word}] x", f"{word}: x", f"{word.upper()} x")
    assert {severity_of(form) for form in forms} == {word}


@pytest.mark.parametrize(
    ("system", "words"), [("Apache", {"notice": "info"}), ("Zookeeper", {"warn": "warning"}), ("HDFS", {"warn": "warning"})]
)
def test_logs_of_real_systems_are_read_as_they_are_labelled(system: str, words: dict[str, str]) -> None:
    lines, labels = LOGHUB / system / f"{system}_2k.log", LOGHUB / system / f"{system}_2k.log_structured.csv"
    if not lines.exists():
        pytest.skip("the labelled logs are not beside the project (../shared/loghub)")
    with labels.open(encoding="utf-8") as rows, lines.open(encoding="utf-8") as texts:
        labelled = [row["Level"].lower() for row in csv.DictReader(rows)]
        read = [severity_of(text.rstrip("\n")).value for text in texts]
    assert len(read) == 2000
    assert read == [words.get(label, label) for label in labelled]
