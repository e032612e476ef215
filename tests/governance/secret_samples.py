"""Texts that match a pattern, for showing that what a published rule finds is redacted here too."""

import re._constants as kinds  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import string
from functools import cache
from random import Random
from typing import Any

_PLAIN = string.ascii_lowercase + string.digits + string.ascii_uppercase


def sample(pattern: str, random: Random) -> str:
    """One text that `pattern` should match; letters and digits are preferred, repeats are short but long enough."""
    return "".join(_each(_parsed(pattern), random))


@cache
def _parsed(pattern: str) -> Any:
    return parser.parse(pattern)


def _each(parsed: Any, random: Random) -> list[str]:
    return [_one(kind, argument, random) for kind, argument in parsed]


def _one(kind: Any, argument: Any, random: Random) -> str:
    if kind is kinds.LITERAL:
        return chr(argument)
    if kind is kinds.NOT_LITERAL:
        return random.choice([c for c in _PLAIN if ord(c) != argument])
    if kind is kinds.ANY:
        return "."
    if kind is kinds.IN:
        return random.choice(_allowed(argument))
    if kind is kinds.BRANCH:
        return "".join(_each(random.choice(argument[1]), random))
    if kind is kinds.SUBPATTERN:
        return "".join(_each(argument[-1], random))
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        low, high, inner = argument
        times = low if kind is kinds.MIN_REPEAT or low == 0 else random.randint(low, min(high, low + 8))
        return "".join("".join(_each(inner, random)) for _ in range(times))
    return ""


def _allowed(members: Any) -> str:
    negated = members[0][0] is kinds.NEGATE
    found = {c for member in members for c in string.printable if _belongs(c, *member)}
    chosen = [c for c in string.printable if (c in found) is not negated]
    return "".join([c for c in chosen if c in _PLAIN] or chosen)


def _belongs(character: str, kind: Any, argument: Any) -> bool:
    if kind is kinds.LITERAL:
        return ord(character) == argument
    if kind is kinds.RANGE:
        return argument[0] <= ord(character) <= argument[1]
    if kind is kinds.CATEGORY:
        word = character.isalnum() or character == "_"
        return {
            kinds.CATEGORY_WORD: word,
            kinds.CATEGORY_NOT_WORD: not word,
            kinds.CATEGORY_DIGIT: character.isdigit(),
            kinds.CATEGORY_NOT_DIGIT: not character.isdigit(),
            kinds.CATEGORY_SPACE: character.isspace(),
            kinds.CATEGORY_NOT_SPACE: not character.isspace(),
        }[argument]
    return False
