"""The part of LogQL that is simulated: a stream selector and line filters. Whatever else is a parse error, as from Loki."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple


class ParseError(Exception):
    """Answered as 400 with its text."""


class Query(NamedTuple):
    streams: Callable[[Mapping[str, str]], bool]
    line: Callable[[str], bool]


_OPERATOR = re.compile(r"\s*(=~|!~|!=|=)\s*")
_FILTER = re.compile(r"\s*(\|=|\|~|!=|!~)\s*")
_NAME = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_DIGITS = {"x": 2, "u": 4, "U": 8}
_NOT_IN_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|P=|>)|\\[1-9]")


def parse(text: str) -> Query:
    """Raises `ParseError`."""
    reader = _Reader(text)
    matchers = reader.selector()
    filters = reader.filters()
    return Query(
        lambda labels: all(matches(labels.get(name, "")) for name, matches in matchers),
        lambda line: all(holds(line) for holds in filters),
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def selector(self) -> list[tuple[str, Callable[[str], bool]]]:
        self._need("{")
        found: list[tuple[str, Callable[[str], bool]]] = []
        selective = False
        while True:
            name = self._match(_NAME, "a label")[1]
            operator = self._match(_OPERATOR, "an operator")[1]
            value = self._string()
            matches = _matcher(operator, value)
            selective = selective or not matches("")
            found.append((name, matches))
            if not self._take(","):
                break
        self._need("}")
        if not selective:
            raise ParseError("parse error : queries require at least one matcher that does not have an empty-compatible value")
        return found

    def filters(self) -> list[Callable[[str], bool]]:
        found: list[Callable[[str], bool]] = []
        while self.text[self.at :].strip():
            operator = self._match(_FILTER, "a line filter")[1]
            value = self._string()
            if operator in ("|=", "!="):
                found.append(lambda line, value=value, wanted=operator == "|=": (value in line) is wanted)  # type: ignore[misc]
            else:
                pattern = _compiled(value)
                found.append(lambda line, p=pattern, wanted=operator == "|~": bool(p.search(line)) is wanted)  # type: ignore[misc]
        return found

    def _string(self) -> str:
        """A Go string: between back-ticks as it is, or between quotes with escapes."""
        rest = self.text[self.at :].lstrip()
        self.at = len(self.text) - len(rest)
        if rest.startswith("`"):
            end = rest.find("`", 1)
            if end < 0:
                raise self._wrong("literal not terminated")
            self.at += end + 1
            return rest[1:end]
        self._need('"')
        parts: list[str] = []
        while (char := self._next()) != '"':
            if char == "\n":
                raise self._wrong("newline in string")
            parts.append(self._escaped() if char == "\\" else char)
        return "".join(parts)

    def _escaped(self) -> str:
        char = self._next()
        if char in _ESCAPES:
            return _ESCAPES[char]
        digits = self.text[self.at : self.at + _DIGITS.get(char, 0)]
        self.at += len(digits)
        try:
            code = int(digits, 16)
        except ValueError as error:
            raise self._wrong("invalid char escape") from error
        if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            raise self._wrong("escape is invalid Unicode code point")
        return chr(code)

    def _match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self._wrong(f"expecting {what}")
        self.at = found.end()
        return found

    def _take(self, sign: str) -> bool:
        rest = self.text[self.at :].lstrip()
        if not rest.startswith(sign):
            return False
        self.at = len(self.text) - len(rest) + len(sign)
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self._wrong(f"unexpected input, expecting {sign}")

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise self._wrong("literal not terminated")
        self.at += 1
        return self.text[self.at - 1]

    def _wrong(self, what: str) -> ParseError:
        return ParseError(f"parse error at line 1, col {self.at + 1}: syntax error: {what}")


def _matcher(operator: str, value: str) -> Callable[[str], bool]:
    if operator in ("=", "!="):
        return lambda found: (found == value) is (operator == "=")
    pattern = _compiled(value)
    return lambda found: bool(pattern.fullmatch(found)) is (operator == "=~")


def _compiled(value: str) -> re.Pattern[str]:
    if _NOT_IN_RE2.search(value):
        raise ParseError("parse error : error parsing regexp: invalid or unsupported Perl syntax")
    try:
        return re.compile(value)
    except re.error as error:
        raise ParseError(f"parse error : error parsing regexp: {error}") from error
