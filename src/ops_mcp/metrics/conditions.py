"""Conditions in words, such as `p95(latency) > 300ms for 5m`: read, and written as PromQL over the metrics of `names`."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import is_label_name, is_metric_name, quoted
from ops_mcp.metrics.quantities import Amount, duration_ms, in_measure, written_duration
from ops_mcp.metrics.subjects import FUNCTIONS, PERCENTILE, Subject, subject
from ops_mcp.metrics.vocabulary import WORDS, About, Place, Word, recorded_word

LONGEST_CONDITION = 500
DEFAULT_WINDOW_MS = 300_000

_TOKENS = re.compile(
    r"""\s*(?:(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,15})?)(?P<unit>%|/min|/s|[A-Za-z]{1,3}(?![A-Za-z0-9_(]))?
           |(?P<sign>>=|<=|==|!=|>|<|\(|\))
           |(?P<word>[A-Za-z_:][A-Za-z0-9_:]*))""",
    re.VERBOSE | re.ASCII,
)
_SPAN = re.compile(r"\s*(?P<span>(?:[0-9]{1,6}[dhms])+)(?![A-Za-z0-9_])", re.ASCII)
_COMPARISONS = (">", ">=", "<", "<=", "==", "!=")
_OF_HOSTS = frozenset({"host", "mountpoint"})
_EXAMPLES = "`error_rate > 5%`, `p95(latency) > 300ms for 5m`, `cpu > 90% and memory > 1.5GiB`, `absent(up) for 10m`"


class Condition(NamedTuple):
    """What a condition became: the expression, how long it must hold, and each part of it in words."""

    text: str
    expression: str
    for_ms: int
    meanings: tuple[str, ...]

    @property
    def said(self) -> str:
        """One sentence for the answer to whoever wrote the condition."""
        held = f", held for {written_duration(self.for_ms)}" if self.for_ms else ""
        return f"{'; '.join(self.meanings)}{held}. As PromQL: {self.expression}"


def quantity(text: str, *, recorded: Collection[str] = ()) -> Condition:
    """What a word or a function of one means, such as `p95(latency) over 10m`. Raises as `condition` does."""
    if len(text) > LONGEST_CONDITION:
        raise InvalidArguments(f"The text is {len(text):,} characters long; at most {LONGEST_CONDITION} are read.")
    return _Reader(text, {}, recorded).quantity()


def condition(text: str, *, where: Mapping[str, str] | None = None, recorded: Collection[str] = ()) -> Condition:
    """What `text` means. `where` narrows services or hosts by labels; `recorded` are further metrics that it may name.

    Raises `InvalidArguments` for an unknown word, naming the valid ones, and for a unit that does not fit its word.
    """
    if len(text) > LONGEST_CONDITION:
        raise InvalidArguments(f"The condition is {len(text):,} characters long; at most {LONGEST_CONDITION} are read.")
    if not all(is_label_name(name) for name in where or {}):
        raise InvalidArguments("`where` has a label whose name is none.", hint="Names are of letters, digits and `_`.")
    return _Reader(text, where or {}, recorded).condition()


class Unreadable(InvalidArguments):
    """The text has not the form of a condition, and may be something else."""


class _Reader:
    """Reads from left to right; `and` binds closer than `or`, here as in PromQL."""

    def __init__(self, text: str, where: Mapping[str, str], recorded: Collection[str]) -> None:
        self._text = text
        self._at = 0
        self._where = where
        self._recorded = recorded

    def condition(self) -> Condition:
        before, said = self._clause()
        parts, meanings = [before.expression], [said]
        while (joiner := self._keyword("and", "or")) is not None:
            clause, said = self._clause()
            parts.append(_joined(joiner, before, clause))
            meanings.append(f"{joiner} {said}")
            before = clause
        for_ms = self._span() if self._keyword("for") else 0
        if self._text[self._at :].strip():
            raise self._expected("`and`, `or`, `for` or the end")
        expression = parts[0] if len(parts) == 1 else " ".join([f"({parts[0]})", *parts[1:]])
        return Condition(self._text, expression, for_ms, tuple(meanings))

    def quantity(self) -> Condition:
        function, word = self._named()
        found = subject(function, word, Place("", written_duration(self._over() or DEFAULT_WINDOW_MS)))
        if self._text[self._at :].strip():
            raise self._expected("`over`, a comparison or the end")
        return Condition(self._text, found.expression, 0, (found.means,))

    def _clause(self) -> tuple[Subject, str]:
        """One comparison, as a subject whose expression holds it, and in words."""
        function, word = self._named()
        window_ms = self._over()
        compared = None if function == "absent" else self._comparison()
        window_ms = window_ms or self._over() or DEFAULT_WINDOW_MS
        found = subject(function, word, Place(self._matchers(word.about), written_duration(window_ms)))
        if compared is None or found.measure is None:
            return found, found.means
        sign, amount = compared
        beside = f"{sign} {in_measure(amount, found.measure, word.name)}"
        return found._replace(expression=f"{found.expression} {beside}"), f"{found.means} {beside}"

    def _over(self) -> int:
        return self._span() if self._keyword("over") else 0

    def _comparison(self) -> tuple[str, Amount]:
        sign = self._taken("sign", *_COMPARISONS)
        if sign is None:
            raise self._expected("a comparison: " + ", ".join(f"`{one}`" for one in _COMPARISONS))
        return sign, self._amount()

    def _named(self) -> tuple[str, Word]:
        """A word, or a function with a word in brackets."""
        began = self._at
        name = self._taken("word")
        if name is None or self._taken("sign", "(") is None:
            self._at = began
            return "", self._word()
        if name not in FUNCTIONS and PERCENTILE.fullmatch(name) is None:
            self._at = began
            raise self._expected(f"a function: {', '.join(FUNCTIONS)}, or a percentile such as p95")
        word = self._word()
        if self._taken("sign", ")") is None:
            raise self._expected("`)`")
        return name, word

    def _word(self) -> Word:
        began = self._at
        name = self._taken("word") or ""
        if name in WORDS:
            return WORDS[name]
        if name in self._recorded and is_metric_name(name):
            return recorded_word(name)
        near = get_close_matches(name, [*WORDS, *self._recorded], n=3)
        self._at = began
        hint = f"Close to it: {', '.join(near)}. " if near else ""
        raise self._expected("a word that conditions know", hint + "Valid words: " + ", ".join(WORDS) + ".")

    def _matchers(self, about: About) -> str:
        """Services are narrowed by all labels but those of hosts, and hosts by theirs alone."""
        wanted = [name for name in self._where if (name in _OF_HOSTS) is (about is About.host)]
        return ",".join(f"{name}={quoted(self._where[name])}" for name in sorted(wanted))

    def _amount(self) -> Amount:
        found = self._next(_TOKENS)
        if found is None or found["amount"] is None:
            raise self._expected("a number such as `5%`, `300ms`, `1.5GiB` or `10`")
        self._at = found.end()
        return Amount(Decimal(found["amount"]), found["unit"] or "")

    def _span(self) -> int:
        found = self._next(_SPAN)
        if found is None:
            raise self._expected("a duration such as `5m`")
        self._at = found.end()
        return duration_ms(found["span"])

    def _keyword(self, *words: str) -> str | None:
        return self._taken("word", *words)

    def _taken(self, kind: str, *only: str) -> str | None:
        """The next token, if it is of this kind and, where some are named, one of them."""
        found = self._next(_TOKENS)
        if found is None or found[kind] is None or (only and found[kind] not in only):
            return None
        self._at = found.end()
        return found[kind]

    def _next(self, shape: re.Pattern[str]) -> re.Match[str] | None:
        return shape.match(self._text, self._at)

    def _expected(self, what: str, hint: str = "") -> Unreadable:
        return Unreadable(
            f"The condition cannot be read at character {self._at + 1}: expected {what}.", hint=hint or f"Examples: {_EXAMPLES}."
        )


def _joined(joiner: str, before: Subject, after: Subject) -> str:
    """`and` takes what both sides tell of the same service or host."""
    if joiner == "or":
        return f"or ({after.expression})"
    if before.about is None or before.about is not after.about:
        raise InvalidArguments(
            "`and` joins two conditions on services, or two on hosts.",
            hint="Make two rules of it, or write PromQL with `and on (…)`.",
        )
    return f"and on ({', '.join(before.about.labels)}) ({after.expression})"
