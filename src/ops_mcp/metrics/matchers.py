"""Which label sets a selector means."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, TypeAlias, assert_never

from ops_mcp.metrics.labels import NAME, Labels, quoted, value_of
from ops_mcp.metrics.regexes import pattern_of


class Match(StrEnum):
    equal = "="
    unequal = "!="
    pattern = "=~"
    no_pattern = "!~"


class Matcher(NamedTuple):
    """One condition on one label. A label that is not there has the empty value; a pattern matches the whole value."""

    name: str
    match: Match
    value: str

    def holds(self, value: str) -> bool:
        """Raises `InvalidArguments` where the pattern is unsupported or too costly."""
        match self.match:
            case Match.equal:
                return value == self.value
            case Match.unequal:
                return value != self.value
            case Match.pattern:
                return pattern_of(self.value).matches(value)
            case Match.no_pattern:
                return not pattern_of(self.value).matches(value)
            case _:
                assert_never(self.match)

    def __str__(self) -> str:
        return f"{self.name}{self.match}{quoted(self.value)}"


Matchers: TypeAlias = tuple[Matcher, ...]
"""All of them hold."""


def named(name: str, matchers: Iterable[Matcher] = ()) -> Matchers:
    """The matchers of a selector that begins with a metric's name."""
    return (Matcher(NAME, Match.equal, name), *matchers)


def matches(matchers: Matchers, labels: Labels) -> bool:
    return all(matcher.holds(value_of(labels, matcher.name)) for matcher in matchers)
