"""A message with its variable parts taken out: numbers, addresses, ids, paths, times, quoted words. No rule knows a system.

Two steps, because most lines differ from an earlier one in digits alone: `collapsed` is one pass and serves as the key of a
cache; `masked` reads what that pass left, word by word, and remembers words.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

VARIABLE = "\0"
"""A variable part, inside. Messages hold no NUL once they are cleaned; one that does has a variable part there, no more."""

SHOWN = "<*>"
LONGEST, LONGEST_WORD, MOST_WORDS = 2048, 256, 48


def collapsed(message: str) -> str:
    """The message with every number, and what belongs to it, written as `0`. What is longer than `LONGEST` is cut at a space."""
    if len(message) > LONGEST:
        message = message[:LONGEST].rpartition(" ")[0] or message[:LONGEST]
    return _collapse("0", message)


def masked(key: str) -> tuple[str, ...]:
    """The words of a collapsed message, variable parts as `VARIABLE`; of a very long one the first `MOST_WORDS`."""
    if '"' in key or "'" in key or "`" in key:
        key = _unquoted(key)
    words = key.split(None, MOST_WORDS)
    if len(words) > MOST_WORDS:
        words[MOST_WORDS:] = [VARIABLE]
    if len(key) > LONGEST_WORD:
        words = [word[:LONGEST_WORD] for word in words]
    return tuple(_joined(map(_masked_word, words)))


def shown(words: tuple[str, ...]) -> str:
    """A template as people read it. Neighbouring variable words are one: how many there were says nothing."""
    return _RUN.sub(SHOWN, " ".join(words)).replace(VARIABLE, SHOWN)


def _unquoted(key: str) -> str:
    """Quoted words are variable, but for the names of JSON fields and the method of an HTTP request."""
    if '"' in key:
        key = _FIELD_NAME.sub(r"\1", _REQUEST.sub(r"\1 \0", key))
    return _QUOTED.sub(VARIABLE, key)


def _joined(words: Iterable[str]) -> list[str]:
    """Lists, dates and numbers with their units become one variable part, so that their length says nothing."""
    found: list[str] = []
    last = ""
    for word in words:
        if VARIABLE in word:
            last = _after_date(found, word) if last.rstrip(",")[-3:] in _OF_DATES else word
            if found and VARIABLE in found[-1] and (one := _as_one(found[-1], last)):
                found[-1] = last = one
                continue
        elif last and last[-1] == VARIABLE and (unit := _UNIT.fullmatch(word)):
            found[-1] = last = last + unit[1]
            if unit[1] == ")" and len(found) > 1 and (one := _as_one(found[-2], last)):
                found[-2:] = [one]
                last = one
            continue
        else:
            last = word
        found.append(last)
    return found


def _after_date(found: list[str], word: str) -> str:
    """The word, with the names of days and months before it taken out: `[Mon Feb 0` is one variable part behind a bracket."""
    while word[0] == VARIABLE and found and (lead := _DATE_WORD.fullmatch(found[-1])) and lead[2] in _OF_DATES:
        found.pop()
        word = _CHAIN.sub(VARIABLE, lead[1] + word)
    return word


def _as_one(last: str, word: str) -> str | None:
    """Two neighbours of a list as one of its items; None where they are no list."""
    if (item := last.rstrip(",;")) == word.rstrip(",;"):
        return word
    if item[-1:] == VARIABLE and (more := _MORE.fullmatch(word)):
        return item + more[1]
    return None


@lru_cache(maxsize=2**15)
def _masked_word(word: str) -> str:
    if word.isalpha() and word not in _LITERALS:
        return _HEX_WORD.sub(VARIABLE, word)
    for mark, shape, written in _WITH_MARK:
        if mark in word:
            word = shape.sub(written, word)
    if "0" in word:
        word = _NUMBER.sub(VARIABLE, word)
    if "=" in word:
        word = _VALUE.sub("=" + VARIABLE, word)
    word = _HEX_WORD.sub(VARIABLE, _LITERAL.sub(VARIABLE, word))
    if VARIABLE in word:
        word = _SIGNED.sub(VARIABLE, _CHAIN.sub(VARIABLE, word))
    return word


_collapse = re.compile(r"[0-9][0-9a-fA-F]*(?:[.:_-][0-9a-fA-F]+(?![0-9A-Za-z]))*").sub

_REQUEST = re.compile(r'"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) [^"]{0,2048}"')
_FIELD_NAME = re.compile(r'"(\w[\w.-]{0,80})"(?= ?:)')
_QUOTED = re.compile(r"""(?<![\w"])"[^"]{0,512}"(?![\w"])|(?<![\w'])'[^']{0,512}'(?![\w'])|(?<![\w`])`[^`]{0,512}`(?![\w`])""")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OF_DATES = frozenset((*_MONTHS, "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
_DATE_WORD = re.compile(r"(|.*[^A-Za-z])([A-Z][a-z][a-z]),?")
_UNIT = re.compile(
    r"(?:bytes?|[kKMGTP]i?[Bb]|B|ns|us|[µμ]s|ms|msecs?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|AM|PM|UTC|GMT)"
    r"([),.;:\]]{0,3})"
)
_MORE = re.compile(r"(?:\0|\[\0\]|\(\0\))([),.;:\]}]{0,3})")
_RUN = re.compile(r"\0(?: \0)+")

_LITERALS = frozenset(("true", "false", "null", "True", "False", "NULL", "nil", "NaN"))
_HEX_WORD = re.compile(r"(?<!\w)(?:[a-f]{8,}|[A-F]{8,})(?!\w)")
_ENDINGS = "com|net|org|edu|gov|mil|info|biz|local|internal|localdomain|lan|arpa"
_LABEL = r"[A-Za-z0-9_][\w-]*\."
_NO_COUNTRY = "is|as|so|py|rs|sh|js|md|ml|pl|cc|io"
"""Two letters at the end of a dotted name that are a file's kind or a word at least as often as a country."""

_WITH_MARK: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("://", re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'<>,;()\[\]{}]+"), VARIABLE),
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), VARIABLE),
    (":", re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?![\w:])"), VARIABLE),  # IPv6, MAC
    ("\\", re.compile(r"(?<![\w\\])(?:[A-Za-z]:|\\\\[\w.$-]+)\\[^\s\"'<>|,;]*"), VARIABLE),  # Windows
    ("/", re.compile(r"0/[A-Z][a-z][a-z]/0"), VARIABLE),  # 20/Nov/2026
    ("/", re.compile(r"(?<![\w<>./*)\]\0-])~?/[^\s\"'<>()\[\]{},;|=&:]*[^\s\"'<>()\[\]{},;|=&:.]"), VARIABLE),
    ("/", re.compile(r"(?<![\w./@-])[\w.@-]+(?:/[\w.@+-]+){2,}"), VARIABLE),
    (
        ".",
        re.compile(
            rf"(?<![\w.-])(?:{_LABEL})+(?:{_ENDINGS}|{_LABEL}(?!(?:{_NO_COUNTRY})(?!\w))[a-z]{{2}})(?![\w-])(?!\.\w)(?::0)?"
        ),
        VARIABLE,
    ),
)
_NUMBER = re.compile(r"(?:(?<![A-Za-z0-9_])[a-fA-F]+|(?<=_)-)?0\w*(?:[._-]+\w+|:\w*0\w*)*")
"""A number with what hangs on it, and hexadecimal from its first letter on; the name in front of it stays: `blk_0`, `eth0`."""

_VALUE = re.compile(r"(?<=[\w\])])=(?![=>])[^\s,;&)\]}|]*")
_LITERAL = re.compile(r"(?<![\w.])(?:true|false|null|True|False|NULL|nil|NaN)(?![\w.])")
_CHAIN = re.compile(r"\0(?:[-,./:;#@x_|+]+\0|\[\0\]|\(\0\))+")
_SIGNED = re.compile(r"(?<!\w)[-+<>~≈]?=?\0")
