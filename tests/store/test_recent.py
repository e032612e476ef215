"""Rows that are told again without asking: only for the state of the file in which they were asked for, and not for long."""

from ops_mcp.store.recent import FRESH_SECONDS, Recent


class Watch:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rows_are_told_again_while_the_file_is_seen_unchanged() -> None:
    recent = Recent(Watch())
    recent.seen(1)
    recent.keep("q", [("a",)], asked_in=recent.state)
    recent.seen(1)
    assert recent.rows("q") == [("a",)]
    assert recent.rows("another") is None


def test_rows_are_asked_for_again_once_the_file_has_changed() -> None:
    recent = Recent(Watch())
    recent.seen(1)
    recent.keep("q", [("a",)], asked_in=recent.state)
    recent.seen(2)
    assert recent.rows("q") is None


def test_rows_that_were_asked_for_before_a_change_are_not_taken_for_newer_ones() -> None:
    recent = Recent(Watch())
    recent.seen(1)
    asked_in = recent.state
    recent.seen(2)
    recent.keep("q", [("before",)], asked_in=asked_in)
    assert recent.rows("q") is None


def test_rows_are_asked_for_again_when_nobody_has_looked_at_the_file_for_a_while() -> None:
    watch = Watch()
    recent = Recent(watch)
    recent.seen(1)
    recent.keep("q", [("a",)], asked_in=recent.state)
    watch.now += FRESH_SECONDS * 1.01
    assert recent.rows("q") is None


def test_nothing_is_told_from_memory_before_the_writer_has_seen_the_file() -> None:
    recent = Recent(Watch())
    recent.keep("q", [("a",)], asked_in=recent.state)
    assert recent.rows("q") is None
