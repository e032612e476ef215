"""Patterns of matchers: equal to another engine on what is supported, and never slower than the value is long."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.matchers import Match, Matcher, matches, named
from ops_mcp.metrics.regexes import LONGEST_PATTERN, pattern_of

ATOMS = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\w", r"\W", r"\.", "1", "-", "ä", "(?:)"])
MARKS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?"])


def _longer(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inside, MARKS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.lists(inside, min_size=1, max_size=3).map("".join),
        st.lists(inside, min_size=2, max_size=3).map("|".join),
        inside.map(lambda text: f"({text})"),
    )


PATTERNS = st.recursive(st.tuples(ATOMS, MARKS).map("".join), _longer, max_leaves=6)
VALUES = st.text("abc1-.ä_\n", max_size=8)


@settings(max_examples=600, deadline=None)
@given(PATTERNS, VALUES)
@example("(a|b)*abb", "ababb")
@example("a{2}b?", "aa")
@example("", "")
@example("|a", "")
def test_a_pattern_matches_what_another_engine_matches(pattern: str, value: str) -> None:
    assert pattern_of(pattern).matches(value) is (re.fullmatch(pattern, value, re.ASCII) is not None)


@given(st.text("abAB[]()|*+?{},^$\\.-:12s", max_size=14), VALUES)
@settings(max_examples=600, deadline=None)
def test_any_text_is_a_pattern_or_is_refused(text: str, value: str) -> None:
    try:
        pattern = pattern_of(text)
    except InvalidArguments:
        return
    assert isinstance(pattern.matches(value), bool)


CASES = [
    ("(?i)größe", "GRÖSSE", False),
    ("(?i)größe", "GRÖßE", True),
    ("(?i)k", "\u212a", True),  # the Kelvin sign is a K
    ("(?i)[a-c]+", "aBc", True),
    ("(?i)[^a-c]+", "aBc", False),
    ("(?s).", "\n", True),
    (".", "\n", False),
    ("[^x]", "\n", True),
    (r"\x41\x{42}\.", "AB.", True),
    (r"\t\n", "\t\n", True),
    ("[[:alpha:][:digit:]]+", "ab12", True),
    ("[[:^alpha:]]", "1", True),
    (r"[\d\-x]+", "1-x", True),
    (r"[^\W]", "_", True),
    (r"[\D]", "1", False),
    ("[]]", "]", True),
    ("[^]]", "]", False),
    ("[a-]", "-", True),
    ("a{,2}", "a{,2}", True),  # no repetition: the text itself
    ("^$", "", True),
    ("a$b", "ab", False),
    (r"\Aa\z", "a", True),
    ("(?P<name>a)(?:b)", "ab", True),
]


@pytest.mark.parametrize(("pattern", "value", "expected"), CASES)
def test_a_pattern_means_what_re2_means_by_it(pattern: str, value: str, expected: bool) -> None:
    assert pattern_of(pattern).matches(value) is expected


UNSUPPORTED = [
    (r"\bx", r"`\b` is not supported"),
    (r"\pL", r"`\p` is not supported"),
    (r"\1", r"`\1` is not supported"),
    (r"\Qx\E", r"`\Q` is not supported"),
    ("(?=x)", "(?…"),
    ("(?!x)", "(?…"),
    ("(?<=x)", "(?…"),
    ("(?>x)", "(?…"),
    ("(?i:x)", "(?…"),
    ("(?m)x", "(?…"),
    ("x**", "a repetition follows a repetition"),
    ("x*{2}", "a repetition follows a repetition"),
    ("x++", "a repetition follows a repetition"),
    ("*x", "repeats nothing"),
    ("{2}", "repeats nothing"),
    ("x{3,2}", "from its least"),
    ("x{1001}", "from its least"),
    ("[b-a]", "ends before it begins"),
    ("[[:nothing:]]", "is one of"),
    ("[a", "ends in the middle"),
    ("(a", "is not closed"),
    ("a)", "closes nothing"),
    ("a\\", "ends in the middle"),
    (r"\x{110000}", "beyond the last"),
    (r"\xZ", "hexadecimal"),
    ("(" * 60 + ")" * 60, "nest more than"),
]


@pytest.mark.parametrize(("pattern", "said"), UNSUPPORTED)
def test_what_a_pattern_cannot_be_is_refused_by_name(pattern: str, said: str) -> None:
    with pytest.raises(InvalidArguments, match=re.escape(said)):
        pattern_of(pattern)


EXPLODING = [
    "(a+)+b",
    "(a*)*b",
    "(a|a)*b",
    "(a|aa)+b",
    "([a-z]+)*=",
    "(.*)(.*)(.*)(.*)(.*)x",
    "(a?){50}a{50}b",
    "(x+x+)+y",
    "(?:(?:a*)*)*b",
]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_a_pattern_that_explodes_elsewhere_reads_each_character_once(pattern: str) -> None:
    """Backtracking would need more steps than there are atoms in the world; this is over in milliseconds."""
    assert pattern_of(pattern).matches("a" * 20_000) is False
    assert pattern_of(pattern).matches("x" * 20_000) is (pattern == "(.*)(.*)(.*)(.*)(.*)x")


def test_a_pattern_that_needs_ever_new_steps_is_refused() -> None:
    """Which letter stood 300 before the end: the states double with every letter, so the steps are counted."""
    needle = pattern_of("(?:a|b)*a(?:a|b){300}")
    values = [f"{number * 7_919:040b}".replace("0", "a").replace("1", "b") * 10 for number in range(10_000)]
    with pytest.raises(InvalidArguments, match="too many steps"):
        any(needle.matches(value) is None for value in values)


def test_a_pattern_that_is_too_long_or_too_large_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="characters long"):
        pattern_of("a" * (LONGEST_PATTERN + 1))
    with pytest.raises(InvalidArguments, match="states"):
        pattern_of("(?:(?:a{1,100}){1,100}){1,100}")


def test_matchers_hold_all_and_take_a_missing_label_for_the_empty_text() -> None:
    labels = labels_of({"a": "1"}, name="m")
    assert matches(named("m", [Matcher("a", Match.equal, "1"), Matcher("b", Match.equal, "")]), labels)
    assert matches(named("m", [Matcher("b", Match.unequal, "x"), Matcher("b", Match.pattern, "x|")]), labels)
    assert not matches(named("m", [Matcher("b", Match.no_pattern, "")]), labels)
    assert not matches(named("n"), labels)


def test_a_pattern_is_refused_when_it_is_compiled_and_not_at_the_first_sample() -> None:
    with pytest.raises(InvalidArguments, match="not supported"):
        compiled(r"x{a=~`\bword`}")
