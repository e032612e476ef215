"""Conditions on labels, as silences and inhibitions use them: `service="web"`, `severity=~"high|low"`."""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeAlias

from pydantic import Field, field_validator

from ops_mcp.alerting.labels import Labels, is_label_name, value_of
from ops_mcp.errors import InvalidArguments, OpsError
from ops_mcp.values import Value

MatchesPattern: TypeAlias = Callable[[str, str], bool]
"""Whether a pattern matches the whole of a value: pattern, value. An argument, because this room has no expressions of its own;
what is given must take time linear in the value, since both may come from strangers."""


class Operator(StrEnum):
    """Prometheus's four."""

    equal = "="
    not_equal = "!="
    matching = "=~"
    not_matching = "!~"


class Matcher(Value):
    """A label that an alert does not have counts as empty."""

    name: str
    operator: Operator = Operator.equal
    value: str = Field(max_length=500)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not is_label_name(name):
            raise ValueError("must be a label name")
        return name

    def holds(self, labels: Labels, matches: MatchesPattern) -> bool:
        """Raises what `matches` raises for a pattern that it cannot use."""
        value = value_of(labels, self.name)
        match self.operator:
            case Operator.equal:
                return value == self.value
            case Operator.not_equal:
                return value != self.value
            case Operator.matching:
                return matches(self.value, value)
            case Operator.not_matching:
                return not matches(self.value, value)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator.value}"{escaped}"'


def parse_matcher(text: str) -> Matcher:
    """A matcher from `name="value"` or `name=value`. Raises `InvalidArguments`."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or not is_label_name(found["name"]):
        raise InvalidArguments("A matcher is not understood.", hint='Write it as service="web", or with !=, =~ or !~.')
    quoted, bare = found["quoted"], found["bare"]
    value = bare if quoted is None else _ESCAPED.sub(lambda one: "\n" if one[1] == "n" else one[1], quoted)
    if len(value) > 500:
        raise InvalidArguments("A matcher's value is longer than 500 characters.")
    return Matcher(name=found["name"], operator=Operator(found["operator"]), value=value)


def all_hold(matchers: Iterable[Matcher], labels: Labels, matches: MatchesPattern) -> bool:
    """Whether every matcher holds. One whose pattern cannot be used holds never: better told once too often than not at all."""
    try:
        return all(matcher.holds(labels, matches) for matcher in matchers)
    except OpsError:
        return False


def match_anything(matchers: Iterable[Matcher], matches: MatchesPattern) -> bool:
    """Whether an alert without any label would be matched, so that nothing is asked of it."""
    return all_hold(matchers, (), matches)


_WRITTEN = re.compile(
    r'(?P<name>[A-Za-z0-9_]+)\s*(?P<operator>=~|!~|!=|=)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>(?![=~])[^"\s,{}]*))',
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
