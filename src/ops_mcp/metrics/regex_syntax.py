"""Reading a regular expression in RE2's syntax into a tree. What is not supported is refused by name."""

import re
from typing import Literal, NamedTuple, TypeAlias

from ops_mcp.errors import InvalidArguments

_META = frozenset(r"\.+*?()[]{}^$")
_DEEPEST = 50
_MOST_REPETITIONS = 1_000  # RE2's own bound
_LARGEST = 0x10FFFF
_REPETITION = re.compile(r"\{(\d{1,6})(?:(,)(\d{1,6})?)?\}", re.ASCII)
_GROUP = re.compile(r"\(\?(?:P<[A-Za-z_][A-Za-z0-9_]*>|:)", re.ASCII)
_HEX = re.compile(r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,8})\}", re.ASCII)
_FLAGS = re.compile(r"\(\?([is]+)\)", re.ASCII)

_DIGITS = (("0", "9"),)
_WORDS = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACES = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_PERL = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_POSIX = {
    "alnum": (("0", "9"), ("A", "Z"), ("a", "z")),
    "alpha": (("A", "Z"), ("a", "z")),
    "ascii": (("\x00", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\x00", "\x1f"), ("\x7f", "\x7f")),
    "digit": _DIGITS,
    "graph": (("!", "~"),),
    "lower": (("a", "z"),),
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": (("A", "Z"),),
    "word": _WORDS,
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

Ranges: TypeAlias = tuple[tuple[str, str], ...]


class Chars(NamedTuple):
    """A set of characters: those within `ranges`, or all others; with `folded`, in either case."""

    ranges: Ranges
    negated: bool = False
    folded: bool = False

    def holds(self, char: str) -> bool:
        found = self._within(char) or (self.folded and any(self._within(other) for other in _other_cases(char)))
        return found is not self.negated

    def _within(self, char: str) -> bool:
        return any(first <= char <= last for first, last in self.ranges)


class Chain(NamedTuple):
    parts: "tuple[Node, ...]"


class Choice(NamedTuple):
    branches: "tuple[Node, ...]"


class Repeated(NamedTuple):
    """`most` is None where there is no end. Greedy or not makes no difference to what matches whole."""

    part: "Node"
    least: int
    most: int | None


class End(NamedTuple):
    """`^` or `$`."""

    side: Literal["start", "end"]


Node: TypeAlias = Chars | Chain | Choice | Repeated | End


def is_literal(text: str) -> bool:
    """Whether the pattern is plain words separated by `|`."""
    return _META.isdisjoint(text)


def tree_of(text: str) -> Node:
    """Raises `InvalidArguments` for what is unsupported or malformed."""
    reader = _Reader(text)
    tree = reader.choice(0)
    if not reader.is_done:
        raise _wrong("`)` closes nothing")
    return tree


class _Reader:
    """Recursive descent over the text; depth is bounded."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        flags = _FLAGS.match(text)
        self._flags = frozenset(flags[1]) if flags else frozenset[str]()
        self._at = flags.end() if flags else 0

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._text)

    def choice(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise _wrong(f"groups nest more than {_DEEPEST} deep")
        branches = [self._chain(depth)]
        while self._take("|"):
            branches.append(self._chain(depth))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _chain(self, depth: int) -> Node:
        parts: list[Node] = []
        while not self.is_done and self._text[self._at] not in "|)":
            parts.append(self._repeated(depth))
        return Chain(tuple(parts))

    def _repeated(self, depth: int) -> Node:
        part = self._atom(depth)
        counts = self._repetition()
        if counts is None:
            return part
        if self._repetition() is not None:
            raise _wrong("a repetition follows a repetition")
        least, most = counts
        if max(least, most or 0) > _MOST_REPETITIONS or (most is not None and most < least):
            raise _wrong(f"a repetition goes from its least to at most {_MOST_REPETITIONS:,} times")
        return Repeated(part, least, most)

    def _repetition(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                self._take("?")
                return counts
        found = _REPETITION.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        self._take("?")
        least = int(found[1])
        return least, (int(found[3]) if found[3] else None if found[2] else least)

    def _atom(self, depth: int) -> Node:
        char = self._next()
        match char:
            case "(":
                return self._group(depth)
            case "[":
                return self._class()
            case ".":
                return Chars((), negated=True) if "s" in self._flags else Chars((("\n", "\n"),), negated=True)
            case "^":
                return End("start")
            case "$":
                return End("end")
            case "*" | "+" | "?" | "{" if char != "{" or _REPETITION.match(self._text, self._at - 1):
                raise _wrong("a repetition repeats nothing")
            case "\\":
                return self._escaped()
            case _:
                return self._chars(((char, char),))

    def _group(self, depth: int) -> Node:
        if self._text.startswith("?", self._at):
            found = _GROUP.match(self._text, self._at - 1)
            if found is None:
                raise _wrong("`(?…` is supported as `(?:`, `(?P<name>`, and as `(?i)` or `(?s)` at the beginning; it is not else")
            self._at = found.end()
        inside = self.choice(depth + 1)
        if not self._take(")"):
            raise _wrong("`(` is not closed")
        return inside

    def _escaped(self) -> Node:
        char = self._next()
        if char in "Az":
            return End("start" if char == "A" else "end")
        if char.lower() in _PERL:
            return Chars(_PERL[char.lower()], negated=char.isupper())
        code = self._code(char)
        return self._chars(((code, code),))

    def _code(self, char: str) -> str:
        """The one character that `\\` and what follows stands for."""
        if char == "x":
            found = _HEX.match(self._text, self._at)
            if found is None:
                raise _wrong("`\\x` is followed by two hexadecimal digits, or by more in braces")
            self._at = found.end()
            number = int(found[1] or found[2], 16)
            if number > _LARGEST:
                raise _wrong("a character beyond the last one")
            return chr(number)
        if char in _CONTROL:
            return _CONTROL[char]
        if char.isalnum() or not char.isascii():
            raise _wrong(f"`\\{char}` is not supported" if char.isascii() else "that escape is not supported")
        return char

    def _class(self) -> Node:
        negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        while not ranges or not self._take("]"):
            ranges.extend(self._class_item(first=not ranges))
        return Chars(tuple(ranges), negated=negated, folded="i" in self._flags)

    def _class_item(self, *, first: bool) -> Ranges:
        if self._text.startswith("[:", self._at):
            return self._named_class()
        char = self._next()
        if char == "\\" and (escape := self._next()).lower() in _PERL:
            ranges = _PERL[escape.lower()]
            return _others(ranges) if escape.isupper() else ranges
        if char == "\\":
            self._at -= 1
            char = self._code(self._next())
        elif char == "-" and not first and not self._text.startswith("]", self._at):
            raise _wrong("`-` stands between two characters, or first or last in its class")
        if not self._text.startswith("-", self._at) or self._text.startswith("-]", self._at):
            return ((char, char),)
        self._at += 1
        last = self._next()
        if last == "\\":
            last = self._code(self._next())
        if last < char:
            raise _wrong("a range of characters ends before it begins")
        return ((char, last),)

    def _named_class(self) -> Ranges:
        end = self._text.find(":]", self._at)
        name = self._text[self._at + 2 : end] if end >= 0 else ""
        if name.removeprefix("^") not in _POSIX:
            raise _wrong("a class in `[:…:]` is one of " + ", ".join(_POSIX))
        self._at = end + 2
        ranges = _POSIX[name.removeprefix("^")]
        return _others(ranges) if name.startswith("^") else ranges

    def _chars(self, ranges: Ranges) -> Chars:
        return Chars(ranges, folded="i" in self._flags)

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _next(self) -> str:
        if self.is_done:
            raise _wrong("it ends in the middle")
        self._at += 1
        return self._text[self._at - 1]


def _others(ranges: Ranges) -> Ranges:
    """Every character that is in none of these, which are in order."""
    found: list[tuple[str, str]] = []
    begin = 0
    for first, last in ranges:
        if begin < ord(first):
            found.append((chr(begin), chr(ord(first) - 1)))
        begin = ord(last) + 1
    return (*found, (chr(begin), chr(_LARGEST)))


def _other_cases(char: str) -> tuple[str, ...]:
    """The characters that differ from this one in case alone: what RE2 calls its simple folds."""
    folded = char.casefold()
    base = folded if len(folded) == 1 else char.lower()
    return tuple(other for other in (base, base.upper(), char.lower(), char.upper()) if len(other) == 1)


def _wrong(what: str) -> InvalidArguments:
    return InvalidArguments(
        f"A regular expression cannot be read: {what}.",
        hint=r"As in RE2: characters, `.`, classes, groups, `|`, `*`, `+`, `?`, `{n,m}`, `^`, `$`, `\d`, `\w` and `\s`.",
    )
