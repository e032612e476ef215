"""Templates in labels and annotations: the small part of Prometheus's template language that shows labels and the value.

    {{ $labels.NAME }}   {{ .Labels.NAME }}                  a label of the result; nothing where it has none
    {{ $value }}         {{ .Value }}                        the value, as Go prints it
    {{ $value | F }}     {{ F $value }}                      F: humanize, humanize1024, humanizeDuration, humanizePercentage
    {{ $value | printf "%.2f" }}   {{ printf "%.2f" $value }}  with 0 to 9 decimals

Anything else is refused by name: queries, other functions, conditions, variables, trimmed blanks.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

from ops_mcp.alerting.labels import Labels, value_of
from ops_mcp.alerting.numbers import fixed, go_float, humanize, humanize_1024, humanize_duration, humanize_percentage
from ops_mcp.alerting.plain import plain
from ops_mcp.errors import InvalidArguments

LONGEST_TEMPLATE = 2_000
LONGEST_TEXT = 4_000

Show: TypeAlias = Callable[[float], str]


class LabelPart(NamedTuple):
    """A place where a label of the result is shown."""

    name: str


class ValuePart(NamedTuple):
    """A place where the value is shown."""

    show: Show


Part: TypeAlias = str | LabelPart | ValuePart
Template: TypeAlias = tuple[Part, ...]


def parse_template(text: str) -> Template:
    """The parts of a template. Raises `InvalidArguments` naming what is not supported."""
    if len(text) > LONGEST_TEMPLATE:
        raise InvalidArguments(f"A template is {len(text):,} characters long; at most {LONGEST_TEMPLATE:,} are read.")
    parts: list[Part] = []
    at = 0
    while (opened := text.find("{{", at)) >= 0:
        closed = text.find("}}", opened)
        if closed < 0:
            raise _refused("`{{` that is never closed")
        parts.extend((text[at:opened], _action(text[opened + 2 : closed])))
        at = closed + 2
    parts.append(text[at:])
    return tuple(part for part in parts if part != "")


def expanded(template: Template, labels: Labels, value: float) -> str:
    """The template's text for one result. Label values are cleaned and cut, and so is the whole."""
    text = "".join(_shown(part, labels, value) for part in template)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def shows_value(template: Template) -> bool:
    """Whether the text changes with the value."""
    return any(isinstance(part, ValuePart) for part in template)


def is_plain(template: Template) -> bool:
    """Whether the text is the same for every result."""
    return all(isinstance(part, str) for part in template)


def _shown(part: Part, labels: Labels, value: float) -> str:
    match part:
        case str():
            return part
        case LabelPart(name):
            return plain(value_of(labels, name))
        case ValuePart(show):
            return show(value)


_LABEL = re.compile(r"(?:\$labels|\.Labels)\.([a-zA-Z_][a-zA-Z0-9_]*)", re.ASCII)
_VALUE = r"(?:\$value|\.Value)"
_FUNCTION = r'(printf\s+"%\.(\d)f"|[a-zA-Z][a-zA-Z0-9]*)'
_PIPED = re.compile(rf"{_VALUE}\s*\|\s*{_FUNCTION}", re.ASCII)
_APPLIED = re.compile(rf"{_FUNCTION}\s+{_VALUE}", re.ASCII)
_WORD = re.compile(r"[$.]?[a-zA-Z_][a-zA-Z0-9_.]*", re.ASCII)

_FUNCTIONS: Mapping[str, Show] = {
    "humanize": humanize,
    "humanize1024": humanize_1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": humanize_percentage,
}


def _action(inside: str) -> Part:
    """What stands between two pairs of braces."""
    inside = inside.strip(" \t\r\n")
    if found := _LABEL.fullmatch(inside):
        return LabelPart(found[1])
    if re.fullmatch(_VALUE, inside):
        return ValuePart(go_float)
    found = _PIPED.fullmatch(inside) or _APPLIED.fullmatch(inside)
    if found is None:
        raise _refused(_what_it_is(inside))
    if found[2] is not None:
        return ValuePart(partial(fixed, decimals=int(found[2])))
    if found[1] not in _FUNCTIONS:
        raise _refused(f"the function {found[1][:40]}")
    return ValuePart(_FUNCTIONS[found[1]])


def _what_it_is(inside: str) -> str:
    """A name for what is refused: its first word that is not ours, as far as it has one."""
    if inside.startswith("-") or inside.endswith("-"):
        return "trimming of blanks with {{- and -}}"
    if not inside:
        return "an empty {{ }}"
    ours = {"$value", ".Value", *_FUNCTIONS}
    words = [word for word in _WORD.findall(inside) if word not in ours and not _LABEL.fullmatch(word)]
    if words:
        return f"{{{{ {words[0][:40]} … }}}}"
    return "what one of its {{ }} holds"


def _refused(what: str) -> InvalidArguments:
    return InvalidArguments(
        f"A template has {what}, which is not supported.",
        hint="Supported are {{ $labels.NAME }}, {{ $value }}, and $value with humanize, humanize1024, humanizeDuration, "
        'humanizePercentage or printf "%.2f".',
    )
