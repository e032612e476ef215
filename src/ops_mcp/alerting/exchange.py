"""Our rules as Prometheus rule files, and rule files as our rules. What was exported reads back equal.

One group per environment. `severity`, `environment` and `service` travel as labels, because that is what our alerts carry; the
channels, the remediation, its agent and the sources travel as annotations beginning with `ops_mcp_`, which Prometheus passes on
and otherwise ignores. A field that we do not know is refused by name, never dropped.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ops_mcp.alerting.durations import duration_seconds, duration_text
from ops_mcp.alerting.labels import ENVIRONMENT, SERVICE, SEVERITY, is_label_name
from ops_mcp.alerting.plain import plain
from ops_mcp.alerting.rules import OUR_ANNOTATIONS, CheckExpression, Rule, parse_rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.alerting.yaml_text import Node, read_yaml, write_yaml
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Json, JsonObject

MOST_RULES = 5_000

_CHANNELS, _REMEDIATION, _AGENT, _SOURCES = (OUR_ANNOTATIONS + name for name in ("channels", "remediation", "agent", "sources"))
_OURS = (_CHANNELS, _REMEDIATION, _AGENT, _SOURCES)
_GROUP_FIELDS = ("name", "interval", "rules")
_RULE_FIELDS = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")


class Export(NamedTuple):
    """A rule file. `left_out` names the rules that Prometheus could not evaluate: those that only sources report."""

    text: str
    left_out: tuple[str, ...]


class Import(NamedTuple):
    """Rules in the file's order. `notes` say what of the file has no meaning here."""

    rules: tuple[Rule, ...]
    notes: tuple[str, ...]


class Defaults(NamedTuple):
    """What a rule without the label gets."""

    environment: EnvironmentName
    severity: Severity = Severity.medium


def export_rules(rules: Iterable[Rule]) -> Export:
    """The rules as YAML, environments in the order of their names, each one's rules in the order given."""
    groups: dict[str, list[Node]] = {}
    left_out: list[str] = []
    for rule in rules:
        if rule.expression:
            groups.setdefault(rule.environment, []).append(_written(rule))
        else:
            left_out.append(f"{rule.environment}/{rule.name}")
    node: Node = {"groups": [{"name": name, "rules": groups[name]} for name in sorted(groups)]}
    return Export(write_yaml(node), tuple(left_out))


def import_rules(text: str, defaults: Defaults, *, check_expression: CheckExpression) -> Import:
    """The rules of a file. Raises `InvalidArguments` naming the group, the rule and the field."""
    file = _mapping(read_yaml(text), "The file", ("groups",))
    rules: list[Rule] = []
    notes: list[str] = []
    for number, node in enumerate(_list(file.get("groups"), "groups"), start=1):
        group = _mapping(node, f"Group {number}", _GROUP_FIELDS)
        if group.get("interval") is not None:
            notes.append(f"Group {number}: its interval has no meaning here; all rules are evaluated at one interval.")
        for position, row in enumerate(_list(group.get("rules"), f"Group {number}: rules"), start=1):
            rules.append(_read(row, f"Group {number}, rule {position}", defaults, check_expression))
            if len(rules) > MOST_RULES:
                raise InvalidArguments(f"The file has more than {MOST_RULES:,} rules.", hint="Split it into several files.")
    _refuse_twins(rules)
    return Import(tuple(rules), tuple(notes))


def _written(rule: Rule) -> Node:
    service = {SERVICE: str(rule.service)} if rule.service is not None else {}
    fields: dict[str, Node] = {"alert": rule.name, "expr": rule.expression}
    if rule.for_seconds:
        fields["for"] = duration_text(rule.for_seconds)
    if rule.keep_firing_for_seconds:
        fields["keep_firing_for"] = duration_text(rule.keep_firing_for_seconds)
    fields["labels"] = {SEVERITY: rule.severity.value, ENVIRONMENT: str(rule.environment), **service, **rule.labels}
    annotations: dict[str, Node] = {**rule.annotations, **_our_annotations(rule)}
    if annotations:
        fields["annotations"] = annotations
    return fields


def _our_annotations(rule: Rule) -> dict[str, str]:
    remedy = rule.remediation.remedy.value if rule.remediation is not None else ""
    agent = (rule.remediation.agent if rule.remediation is not None else None) or ""
    ours = {_CHANNELS: ",".join(rule.channels), _SOURCES: ",".join(rule.sources), _REMEDIATION: remedy, _AGENT: str(agent)}
    return {name: text for name, text in ours.items() if text}


def _read(node: Node, where: str, defaults: Defaults, check_expression: CheckExpression) -> Rule:
    if isinstance(node, dict) and "record" in node:
        raise InvalidArguments(f"{where}: recording rules are not supported.", hint="Take `record` rules out of the file.")
    row = _mapping(node, where, _RULE_FIELDS)
    labels = _texts(row.get("labels"), f"{where}: labels")
    annotations = _texts(row.get("annotations"), f"{where}: annotations")
    ours = {name: annotations.pop(name) for name in _OURS if name in annotations}
    fields: JsonObject = {
        "name": _text(row.get("alert"), f"{where}: alert"),
        "expression": _text(row.get("expr"), f"{where}: expr"),
        "for_seconds": _duration(row.get("for"), f"{where}: for"),
        "keep_firing_for_seconds": _duration(row.get("keep_firing_for"), f"{where}: keep_firing_for"),
        "severity": labels.pop(SEVERITY, defaults.severity.value),
        "environment": labels.pop(ENVIRONMENT, str(defaults.environment)),
        "service": labels.pop(SERVICE, None),
        "labels": dict[str, Json](labels),
        "annotations": dict[str, Json](annotations),
        "channels": _names(ours.get(_CHANNELS)),
        "sources": _names(ours.get(_SOURCES)),
        "remediation": _remediation(ours),
    }

    def check(expression: str) -> None:
        try:
            check_expression(expression)
        except InvalidArguments as error:
            raise InvalidArguments(f"{where}: expr: {error.message}", hint=error.hint, details=error.details) from error

    return parse_rule(fields, check_expression=check, where=where)


def _remediation(ours: Mapping[str, str]) -> Json:
    if _REMEDIATION not in ours:
        return {"remedy": ""} if _AGENT in ours else None  # an agent for nothing is refused as any other bad remedy
    return {"remedy": ours[_REMEDIATION], "agent": ours.get(_AGENT)}


def _names(text: str | None) -> list[Json]:
    return [*text.split(",")] if text else []


def _refuse_twins(rules: Iterable[Rule]) -> None:
    """Prometheus tells rules of one name apart by their labels; here the name is the key."""
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        key = (str(rule.environment), rule.name)
        if key in seen:
            raise InvalidArguments(
                f"Two rules in {rule.environment} are called {rule.name}.",
                hint="Give each a name of its own within its environment.",
            )
        seen.add(key)


def _mapping(node: Node, where: str, known: tuple[str, ...]) -> Mapping[str, Node]:
    if not isinstance(node, dict):
        raise InvalidArguments(f"{where} is not a mapping.", hint=f"Its fields are: {', '.join(known)}.")
    for name in node:
        if name not in known:
            shown = plain(name, 40) if is_label_name(name) else "(not a name)"
            raise InvalidArguments(f"{where}: {shown} is not supported.", hint=f"Fields are: {', '.join(known)}.")
    return node


def _list(node: Node, where: str) -> list[Node]:
    if node is None:
        return []
    if not isinstance(node, list):
        raise InvalidArguments(f"{where} is not a list.")
    return node


def _text(node: Node, where: str) -> str:
    if not isinstance(node, str):
        raise InvalidArguments(f"{where} is missing or no text.")
    return node


def _texts(node: Node, where: str) -> dict[str, str]:
    if node is None:
        return {}
    if not isinstance(node, dict):
        raise InvalidArguments(f"{where} is not a mapping.")
    return {name: "" if value is None else _text(value, where) for name, value in node.items()}


def _duration(node: Node, where: str) -> float:
    if node is None:
        return 0.0
    seconds = duration_seconds(node) if isinstance(node, str) else None
    if seconds is None:
        raise InvalidArguments(f"{where} is no duration.", hint="Write it as 30s, 5m or 1h30m.")
    return seconds
