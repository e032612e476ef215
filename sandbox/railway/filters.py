"""A reading of Railway's filter language for logs: words, "phrases", @name:value, -, AND, OR and parentheses."""

import re
from collections.abc import Callable

from sandbox.railway.world import Printed

Test = Callable[[Printed], bool]
_TOKEN = re.compile(r'\s*(?:(\()|(\))|(AND\b)|(OR\b)|(-)|"([^"]*)"|@([\w.]+):("[^"]*"|[^\s()]+)|([^\s()"]+))')


def read(text: str) -> Test:
    """The filter as a test of one line. Raises `ValueError` for what has no meaning, as the real one refuses it."""
    tokens = [match for match in _TOKEN.finditer(text) if match.group(0).strip()]
    if "".join(m.group(0) for m in tokens).replace(" ", "") != text.replace(" ", ""):
        raise ValueError("unreadable filter")
    test, rest = _either(tokens)
    if rest:
        raise ValueError("unbalanced filter")
    return test


def _either(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    test, rest = _both(tokens)
    while rest and rest[0].group(4):
        other, rest = _both(rest[1:])
        test = _or(test, other)
    return test, rest


def _both(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    test, rest = _one(tokens)
    while rest and not rest[0].group(4) and not rest[0].group(2):
        other, rest = _one(rest[1:] if rest[0].group(3) else rest)
        test = _and(test, other)
    return test, rest


def _one(tokens: list[re.Match[str]]) -> tuple[Test, list[re.Match[str]]]:
    if not tokens:
        raise ValueError("a filter ends too early")
    first, rest = tokens[0], tokens[1:]
    if first.group(1):
        test, rest = _either(rest)
        if not rest or not rest[0].group(2):
            raise ValueError("a parenthesis is open")
        return test, rest[1:]
    if first.group(5):
        test, rest = _one(rest)
        return (lambda line: not test(line)), rest
    if first.group(7):
        name, value = first.group(7), first.group(8).strip('"')
        return (lambda line: (line.level if name == "level" else "") == value), rest
    wanted = first.group(6) if first.group(6) is not None else first.group(9)
    if wanted is None:
        raise ValueError("a word was expected")
    return (lambda line: wanted.lower() in line.text.lower()), rest


def _or(left: Test, right: Test) -> Test:
    return lambda line: left(line) or right(line)


def _and(left: Test, right: Test) -> Test:
    return lambda line: left(line) and right(line)
