"""What a question about metrics means: PromQL, or words that become PromQL."""

import re
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.conditions import Condition, Unreadable, condition, quantity
from ops_mcp.metrics.labels import NAME
from ops_mcp.metrics.matchers import Match, Matchers
from ops_mcp.metrics.query import Query, selections
from ops_mcp.metrics.subjects import FUNCTIONS, PERCENTILE
from ops_mcp.metrics.vocabulary import WORDS

_WORDS = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*", re.ASCII)
_ONLY_PROMQL = re.compile(r"[{\[@]")
_MOST_NEAR = 3
_MOST_COMPARED = 5


class Asked(NamedTuple):
    """The expression to evaluate; `words` is what it was made of, if it was."""

    expression: str
    words: Condition | None = None


def may_be_words(text: str) -> bool:
    """Whether the question names a word of conditions, so that it matters which metrics there are."""
    return any(found in WORDS for found in _WORDS.findall(text))


def asked(text: str, compiled: Callable[[str], object], *, recorded: Collection[str]) -> Asked:
    """`recorded` are the metrics that there are: a question that is PromQL over these alone is never read as words.

    Raises `InvalidArguments` for what is neither, saying what keeps it from being the one that it looks like.
    """
    try:
        compiled(text)
    except InvalidArguments as wrong:
        return _of_words(text, recorded, otherwise=wrong)
    if not any(word in WORDS and word not in recorded for word in _WORDS.findall(text)):
        return Asked(text)
    try:
        return _of_words(text, recorded)
    except Unreadable:
        return Asked(text)


def names_asked(query: Query) -> list[str]:
    """The metrics that a query selects by name."""
    found = (_name_of(selection.matchers) for selection in selections(query, 0, 0))
    return sorted({name for name in found if name})


def near(names: Iterable[str], recorded: Collection[str]) -> str:
    """For an empty answer: which of these names nothing is recorded of, and which names are close to them. May take a second."""
    said: list[str] = []
    missing = [name for name in names if name not in recorded]
    for name in missing[:_MOST_COMPARED]:
        close = (
            get_close_matches(name, recorded, n=_MOST_NEAR, cutoff=0.5) or sorted(n for n in recorded if name in n)[:_MOST_NEAR]
        )
        said.append(f"Nothing is recorded as {name}" + (f"; close to it: {', '.join(close)}." if close else "."))
    beyond = len(missing) - len(said)
    return " ".join([*said, f"Nor are {beyond} others."] if beyond > 0 else said)


def _of_words(text: str, recorded: Collection[str], *, otherwise: InvalidArguments | None = None) -> Asked:
    """What does not even look like words is complained of as what it is `otherwise`."""
    try:
        try:
            words = quantity(text, recorded=recorded)
        except Unreadable:
            words = condition(text, recorded=recorded)
    except Unreadable as wrong:
        if otherwise is not None and not _looks_like_words(text):
            raise otherwise from wrong
        raise
    return Asked(words.expression, words)


def _looks_like_words(text: str) -> bool:
    first, *others = [*_WORDS.findall(text), ""]
    if _ONLY_PROMQL.search(text):
        return False
    takes = first in FUNCTIONS or PERCENTILE.fullmatch(first) is not None
    return first in WORDS or (takes and others[0] in WORDS)


def _name_of(matchers: Matchers) -> str:
    return next((one.value for one in matchers if one.name == NAME and one.match is Match.equal), "")
