"""How much a query may ask for. What is beyond is refused with the reason, before it is parsed or while it is evaluated."""

import re
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments

LONGEST_TEXT = 8_192
DEEPEST = 100
MOST_OPERATORS = 500
LONGEST_RANGE_MS = 366 * 86_400_000
MOST_PATTERNS, MOST_PATTERN_STATES = 40, 20_000
"""Regular expressions of one query that are more than words, and how large they are together once repetitions are written out."""

MOST_POINTS = 11_000
"""Points of one series in one answer; Prometheus has the same bound."""

# Strings and comments first, so that nothing inside them counts; then what nests. Each alternative is linear.
PARTS = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | `[^`]*`)
      | (?P<comment>\#[^\n]*)
      | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<at>@)
      | (?P<operator>[-+*/%^]|==|!=|=~|!~|>=|<=|>|<)""",
    re.VERBOSE | re.DOTALL,
)
_OPERATOR_WORDS = frozenset({"and", "or", "unless", "atan2"})


class Budget(NamedTuple):
    """Bounds of one evaluation: points of each series, and units of work, each about a microsecond.

    A series looked at for one moment is a unit; a range read for one moment is four, and one more for every eight samples.
    """

    points: int = MOST_POINTS
    work: int = 2_000_000


def check_text(text: str) -> None:
    """Raises `InvalidArguments` where the expression is too long or nests too deep for a parser that recurses."""
    if len(text) > LONGEST_TEXT:
        raise InvalidArguments(f"The expression is {len(text):,} characters long; at most {LONGEST_TEXT:,} are read.")
    levels = [_Level()]
    operators = 0
    for found in PARTS.finditer(text):
        kind = found.lastgroup
        if kind == "at":
            raise InvalidArguments("The `@` modifier is not supported.", hint="Use `offset`, or ask for another moment.")
        if kind == "open":
            levels.append(_Level())
        elif kind == "close" and len(levels) > 1:
            _close(levels)
        elif kind == "operator" or (kind == "word" and found.group().lower() in _OPERATOR_WORDS):
            operators += 1
            levels[-1].operators += 1
    while len(levels) > 1:
        _close(levels)
    _refuse_beyond(levels[0].depth, operators)


def check_steps(start_ms: int, end_ms: int, step_ms: int, points: int) -> None:
    """Raises `InvalidArguments` where a range is turned round, has no step, or has more points than `points`."""
    if step_ms <= 0:
        raise InvalidArguments("`step` must be longer than nothing.", hint="Leave it out, and one is chosen.")
    if end_ms < start_ms:
        raise InvalidArguments("`end` is before `start`.")
    wanted = (end_ms - start_ms) // step_ms + 1
    if wanted > points:
        raise InvalidArguments(
            f"The range has {wanted:,} points for each series; at most {points:,} are computed.",
            hint="Take a longer step or a shorter range.",
        )


def too_much_work(budget: Budget) -> InvalidArguments:
    return InvalidArguments(
        f"The expression would read too many samples: more than {budget.work:,} units of work.",
        hint="Narrow the selectors with labels, shorten the range, or take a longer step.",
    )


class _Level:
    """Inside one pair of brackets: a chain of operators nests as deep as it is long, and what it holds lies deeper still."""

    __slots__ = ("deepest", "operators")

    def __init__(self) -> None:
        self.operators = 0
        self.deepest = 0

    @property
    def depth(self) -> int:
        return self.operators + self.deepest


def _close(levels: list[_Level]) -> None:
    inner = levels.pop().depth + 1
    levels[-1].deepest = max(levels[-1].deepest, inner)


def _refuse_beyond(depth: int, operators: int) -> None:
    if depth > DEEPEST:
        raise InvalidArguments(
            f"The expression nests up to {depth:,} levels deep; at most {DEEPEST} are read.",
            hint="Chains of operators count as nesting. Match several names with one regular expression instead.",
        )
    if operators > MOST_OPERATORS:
        raise InvalidArguments(f"The expression has {operators:,} operators; at most {MOST_OPERATORS} are read.")
