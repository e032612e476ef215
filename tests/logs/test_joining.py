"""Lines that belong together become one text; none is lost, none is joined that begins anew; how much is joined has bounds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.logs.joining import Joined, Joiner, headline

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def joined(text: str, **bounds: int) -> list[str]:
    return [found.text for found in all_of(Joiner(**bounds), text.split("\n"))]


def all_of(joiner: Joiner, lines: list[str]) -> list[Joined]:
    found = [joiner.add(line, NOON) for line in lines]
    return [each for each in (*found, joiner.close()) if each is not None]


LOGGED = "2026-11-20 12:00:00 ERROR shop: order 7 failed"
AFTER = "2026-11-20 12:00:01 INFO shop: order 8 done"
PYTHON = """\
Traceback (most recent call last):
  File "/app/shop.py", line 3, in pay
    raise ValueError("no money")
ValueError: no money"""
CHAINED = f"""\
{PYTHON}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/shop.py", line 9, in order
    raise OrderFailed from error
shop.OrderFailed: order 7"""
JAVA = """\
java.lang.IllegalStateException: no money
\tat com.example.Shop.pay(Shop.java:3)
\tat com.example.Shop.main(Shop.java:9)
Caused by: java.io.IOException: gone
\t... 2 more"""
GO = """\
panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again

goroutine 1 [running]:
main.pay({0x1, 0x2}, 0x3)
\t/app/shop.go:12 +0x1d
created by main.main in goroutine 6
\t/app/shop.go:5 +0x85
exit status 2"""
NODE = """\
/app/shop.js:3
  throw new Error('no money');
  ^

Error: no money
    at pay (/app/shop.js:3:9)
    at Object.<anonymous> (/app/shop.js:9:1) {
  code: 'EMONEY'
}

Node.js v22.4.0"""
NODE_LOGGED = """\
Error: connect ECONNREFUSED 127.0.0.1:5432
    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1607:16) {
  errno: -111,
}"""
GENERIC = "Config loaded:\n  port: 8080\n\tdebug: no"
PRETTY = '{\n  "a": 1\n}'

TRACES = {
    "python": PYTHON,
    "python, chained": CHAINED,
    "python, logged": f"{LOGGED}\n{PYTHON}",
    "java": JAVA,
    "java, uncaught": f'Exception in thread "main" {JAVA}',
    "java, logged": f"{LOGGED}\n{JAVA}",
    "go": GO,
    "node": NODE,
    "node, logged": NODE_LOGGED,
    "generic": GENERIC,
    "json over several lines": PRETTY,
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_a_trace_is_one_text_between_the_lines_around_it(trace: str) -> None:
    assert joined(f"{AFTER}\n{trace}\n{AFTER}") == [AFTER, trace, AFTER]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_two_traces_in_a_row_are_two_texts_once_a_line_stands_between_them(trace: str) -> None:
    assert joined(f"{trace}\n{AFTER}\n{trace}") == [trace, AFTER, trace]


def test_lines_that_begin_anew_stay_apart() -> None:
    lines = (
        "2026-11-20T12:00:00Z a",
        "Nov 20 12:00:00 host app: a",
        "<34>Nov 20 12:00:00 host app: a",
        "[Fri Nov 20 12:00:00 2026] [error] a",
        '10.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1',
        '{"msg": "a"}',
        "E1120 12:00:00.000000 1 a.go:1] a",
        "ERROR a",
        "a",
        "Error: a",
        "ValueError: a",
        "at last",
        "b",
    )
    assert joined("\n".join(lines)) == list(lines)


@pytest.mark.parametrize("trace", [PYTHON, CHAINED, JAVA, GO, NODE], ids=["python", "chained", "java", "go", "node"])
def test_a_trace_that_breaks_off_anywhere_ends_where_a_line_begins_anew(trace: str) -> None:
    lines = trace.split("\n")
    for kept in range(1, len(lines)):
        begun = "\n".join(lines[:kept])
        assert joined(f"{begun}\n{AFTER}") == [begun.rstrip("\n"), AFTER]


def test_a_trace_does_not_join_a_line_that_cannot_report_it() -> None:
    assert joined(f"{AFTER}\n{PYTHON}") == [AFTER, PYTHON]
    assert joined(f"{AFTER}\n{JAVA}") == [AFTER, JAVA]


def test_a_line_that_comes_late_begins_anew() -> None:
    joiner = Joiner(patience=timedelta(seconds=2))
    assert joiner.add("a", NOON) is None
    assert joiner.expired(NOON + timedelta(seconds=2)) is None
    assert joiner.add("  b", NOON + timedelta(seconds=2)) is None
    late = NOON + timedelta(seconds=5)
    assert joiner.add("  c", late) == Joined("a\n  b", NOON, 2, continues=False)
    assert joiner.expired(late + timedelta(seconds=3)) == Joined("  c", late, 1, continues=False)
    assert joiner.expired(late + timedelta(seconds=9)) is None
    assert joiner.close() is None


def test_a_text_that_grows_too_long_goes_on_in_the_next() -> None:
    found = all_of(Joiner(most_lines=3), ["head", *(f"  {n}" for n in range(4)), "other"])
    assert found == [
        Joined("head\n  0\n  1", NOON, 3, continues=False),
        Joined("  2\n  3", NOON, 2, continues=True),
        Joined("other", NOON, 1, continues=False),
    ]


def test_a_text_stays_within_its_bytes() -> None:
    found = all_of(Joiner(most_bytes=100), ["head", *["  " + "ü" * 20] * 5])
    assert max(len(each.text.encode()) for each in found) <= 100
    assert sum(each.lines for each in found) == 6


def test_a_line_of_10_mb_is_cut() -> None:
    found = all_of(Joiner(), ["x" * 10_000_000, "y"])
    assert len(found[0].text.encode()) <= 65_536
    assert found[0].text.endswith("…")
    assert found[1].text == "y"


@given(
    st.lists(st.sampled_from(["a", "  b", "", PYTHON[:34], "ValueError: x", "panic: x", "}", "{", AFTER]) | st.text()),
    st.integers(1, 5),
    st.integers(8, 60),
)
def test_no_line_is_lost_and_every_text_is_bounded(lines: list[str], most_lines: int, most_bytes: int) -> None:
    lines = [line.replace("\n", " ") for line in lines]
    found = all_of(Joiner(most_lines=most_lines, most_bytes=most_bytes), lines)
    assert sum(each.lines for each in found) == len(lines)
    assert all(each.lines <= most_lines and len(each.text.encode(errors="surrogatepass")) <= most_bytes for each in found)
    if all(len(line.encode(errors="surrogatepass")) < most_bytes for line in lines):
        assert "".join("".join(each.text.split("\n")) for each in found) == "".join(lines)


HEADLINES = (
    ("one line", "one line"),
    (PYTHON, "ValueError: no money"),
    (CHAINED, "shop.OrderFailed: order 7"),
    (f"{LOGGED}\n{PYTHON}", f"{LOGGED} ValueError: no money"),
    (JAVA, "java.lang.IllegalStateException: no money"),
    (f"{LOGGED}\n{JAVA}", f"{LOGGED} java.lang.IllegalStateException: no money"),
    (GO, GO.split("\n", maxsplit=1)[0]),
    (NODE, "Error: no money"),
    (GENERIC, "Config loaded:"),
    ("\n\n a\n  b", " a"),
)


@pytest.mark.parametrize(("text", "said"), HEADLINES)
def test_the_headline_says_what_a_text_is_about(text: str, said: str) -> None:
    assert headline(text) == said


@given(st.text())
def test_a_headline_is_one_line(text: str) -> None:
    assert "\n" not in headline(text)
