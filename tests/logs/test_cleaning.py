"""What strangers write becomes harmless text, bounded, in time that does not explode."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.governance.redaction import plain
from ops_mcp.logs.cleaning import cleaned

WRITTEN = (
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b]0;title\x07after", "after"),
    ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("a\0b\x08c\x7f", "abc"),
    ("tab\tstays", "tab\tstays"),
    ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ("right\u202eleft\u2066x\u2069", "rightleftx"),  # bidirectional
    ("zero\u200bwidth\ufeff", "zerowidth"),
    ("tag\U000e0041s", "tags"),
    ("größe 漢字 🙂", "größe 漢字 🙂"),
    (b"bytes \xff\xfe", "bytes \ufffd\ufffd"),
    (b"caf\xc3\xa9", "café"),
)


@pytest.mark.parametrize(("raw", "text"), WRITTEN)
def test_a_line_is_made_harmless(raw: str | bytes, text: str) -> None:
    assert cleaned(raw, 100) == text


def test_a_long_line_is_cut_and_says_so() -> None:
    assert cleaned("x" * 100, 100) == "x" * 100
    assert cleaned("x" * 101, 100) == "x" * 99 + "…"
    assert cleaned("\0" * 1000 + "x", 100) == "…"  # more than four times the limit is not looked at


def test_10_mb_of_anything_take_no_time() -> None:
    began = time.process_time()
    for piece in ("x", "\x1b[", "\x1b]", "\0", "\u202e", "ü\n"):
        assert len(cleaned(piece * (10_000_000 // len(piece)), 65_536)) <= 65_536
    assert time.process_time() - began < 5


@given(st.text(max_size=60) | st.text(alphabet="\x1b[]m;\x07\\\x9b\u202e\u2028\r\na0", max_size=60))
def test_logs_and_replies_are_cleaned_alike(text: str) -> None:
    """The same promise in two rooms that may not know each other."""
    assert cleaned(text, 1000) == plain(text, 1000)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_become_text_within_the_limit_that_is_clean_already(raw: bytes, limit: int) -> None:
    text = cleaned(raw, limit)
    assert len(text) <= limit
    assert cleaned(text, limit) == text
