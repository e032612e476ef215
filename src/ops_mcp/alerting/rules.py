"""Alert rules: what is watched, when it is an alert, who is told, and what may be done about it."""

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from ops_mcp.alerting.labels import ALERTNAME, ENVIRONMENT, OURS, SERVICE, SEVERITY, Labels, is_label_name
from ops_mcp.alerting.severity import AnySeverity, Severity
from ops_mcp.alerting.templates import parse_template, shows_value
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Json, Value

LONGEST_EXPRESSION = 4_000
MOST_LABELS = 32
LONGEST_LABEL = 500
LONGEST_WAIT_SECONDS = 30 * 86_400
OUR_ANNOTATIONS = "ops_mcp_"
"""Exported files carry our own fields in annotations of this prefix, so that no rule may use it for something else."""

RULE_NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9 _.:/()-]{0,98}[A-Za-z0-9)])?$"

CheckExpression: TypeAlias = Callable[[str], object]
"""Raises `InvalidArguments` for a query that cannot be evaluated. An argument, because this room does not know the language."""

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


def _milliseconds(seconds: float) -> float:
    """As precise as rule files are, so that an exported rule reads back equal."""
    return round(seconds, 3)


Seconds: TypeAlias = Annotated[float, Field(ge=0, le=LONGEST_WAIT_SECONDS), AfterValidator(_milliseconds)]


class Remedy(StrEnum):
    """What the worker may submit when a rule fires."""

    restart = "restart"
    rollback = "rollback"


class Remediation(Value):
    """`agent` is whom the operator lets it run as; as long as there is none, nothing is done and a person is told."""

    remedy: Remedy
    agent: AgentName | None = Field(default=None, pattern=NAME_PATTERN)


class Rule(Value):
    """One rule. `name` is unique within `environment` and becomes the label `alertname`.

    `service` is what the alert is about and what a remediation works on; without one, the result's own label `service` says it.
    `sources` are those who may report this alert from outside: only theirs can start the remediation, and a rule that has sources
    needs no expression. Labels and annotations may hold templates (`alerting.templates`).
    """

    name: str = Field(pattern=RULE_NAME)
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    service: ServiceName | None = Field(default=None, pattern=NAME_PATTERN)
    expression: str = Field(default="", max_length=LONGEST_EXPRESSION)
    for_seconds: Seconds = 0.0
    keep_firing_for_seconds: Seconds = 0.0
    severity: AnySeverity = Severity.medium
    labels: dict[str, str] = Field(default={}, max_length=MOST_LABELS)
    annotations: dict[str, str] = Field(default={}, max_length=MOST_LABELS)
    channels: tuple[Name, ...] = Field(default=(), max_length=16)
    remediation: Remediation | None = None
    sources: tuple[Name, ...] = Field(default=(), max_length=16)

    @field_validator("expression")
    @classmethod
    def _is_one_text(cls, expression: str) -> str:
        _refuse_hidden(expression)
        return expression.strip()

    @field_validator("labels")
    @classmethod
    def _identify(cls, labels: dict[str, str]) -> dict[str, str]:
        for name, text in labels.items():
            if name in OURS or name.startswith("__"):
                raise ValueError(f"{name[:40]} is set by the rule's own fields")
            if len(text) > LONGEST_LABEL:
                raise ValueError(f"{_shown(name)} is longer than {LONGEST_LABEL} characters")
            _refuse_bad(name, text)
            if shows_value(parse_template(text)):
                raise ValueError(
                    f"{_shown(name)} shows $value, which would make every new value another alert; use an annotation"
                )
        return labels

    @field_validator("annotations")
    @classmethod
    def _describe(cls, annotations: dict[str, str]) -> dict[str, str]:
        for name, text in annotations.items():
            if name.startswith(OUR_ANNOTATIONS):
                raise ValueError(f"names beginning with {OUR_ANNOTATIONS} are ours")
            _refuse_bad(name, text)
        return annotations

    @field_validator("channels", "sources")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _can_fire(self) -> "Rule":
        if not self.expression and not self.sources:
            raise ValueError("an expression is needed, or sources that report this alert")
        return self


def parse_rule(fields: Json, *, check_expression: CheckExpression, where: str = "The rule") -> Rule:
    """A rule from plain fields. Raises `InvalidArguments` naming the field, never its value."""
    try:
        rule = Rule.model_validate(fields)
    except ValidationError as error:
        raise refused(error, where, tuple(Rule.model_fields)) from error
    return checked(rule, check_expression=check_expression)


def checked(rule: Rule, *, check_expression: CheckExpression) -> Rule:
    """The same rule, once its expression is known to be one. Raises what `check_expression` raises."""
    if rule.expression:
        check_expression(rule.expression)
    return rule


def own_labels(rule: Rule) -> Labels:
    """The labels that a rule lays over every result, templates not yet filled in. An empty one takes the result's away."""
    own = {ALERTNAME: rule.name, SEVERITY: rule.severity.value, ENVIRONMENT: str(rule.environment)}
    if rule.service is not None:
        own[SERVICE] = rule.service
    return tuple(sorted({**rule.labels, **own}.items()))


def as_edited(new: Rule, old: Rule | None) -> Rule:
    """`new` as somebody who is not an operator may store it: with the agent that the operator assigned to `old`, or with none.

    The assignment was made for one condition and one deed. Whoever changes when, where or what loses it, and an agent cannot
    write one for itself.
    """
    if new.remediation is None:
        return new
    was = old.remediation if old is not None and _same_deed(new, old) else None
    return new.evolve(remediation=Remediation(remedy=new.remediation.remedy, agent=was.agent if was is not None else None))


def refused(error: ValidationError, where: str, fields: tuple[str, ...]) -> InvalidArguments:
    """The first thing that pydantic found wrong, as the error that callers know."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    at = ".".join(str(part) if isinstance(part, int) else _shown(part) for part in first["loc"])
    said = "is unknown" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    named = at.split(".", maxsplit=1)[0]
    return InvalidArguments(
        f"{where}: {at + ': ' if at else ''}{said}.",
        hint=f"Fields are: {', '.join(fields)}.",
        details={"fields": [named]} if named else {},
    )


def _same_deed(new: Rule, old: Rule) -> bool:
    deeds = [
        (
            rule.name,
            rule.environment,
            rule.service,
            rule.expression,
            rule.for_seconds,
            rule.labels,
            rule.sources,
            rule.remediation.remedy if rule.remediation is not None else None,
        )
        for rule in (new, old)
    ]
    return deeds[0] == deeds[1]


def _refuse_bad(name: str, text: str) -> None:
    """A name that is no label name, hidden characters, or a template that is not supported."""
    if not is_label_name(name):
        raise ValueError("names begin with a letter or _ and go on with letters, digits and _")
    _refuse_hidden(text)
    try:
        parse_template(text)
    except InvalidArguments as error:
        raise ValueError(f"{_shown(name)}: {error.message.removesuffix('.')}") from error


def _refuse_hidden(text: str) -> None:
    if any(char not in "\n\t" and (unicodedata.category(char) in ("Cc", "Cs") or _DIRECTION.match(char)) for char in text):
        raise ValueError("control and direction characters are not allowed")


def _shown(name: str) -> str:
    """A field's name in a message; a stranger's text that is no name is not repeated."""
    return name if len(name) <= 64 and is_label_name(name) else "(not a name)"


_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e0fff\ufeff\u2028\u2029]")
