"""Rules: what is accepted, what is refused and how it is said, and who may assign an agent."""

import pytest

from ops_mcp.alerting.rules import Remediation, Remedy, Rule, as_edited, parse_rule
from ops_mcp.alerting.severity import Severity, severity_of
from ops_mcp.domain.identity import AgentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Json
from tests.alerting.makers import a_rule, any_expression

BASE = {"name": "HighErrors", "environment": "production", "expression": "errors > 5"}

REFUSED: list[tuple[dict[str, Json], str]] = [
    ({"name": ""}, "name:"),
    ({"name": "a\nb"}, "name:"),
    ({"environment": "Prod!"}, "environment:"),
    ({"service": "../x"}, "service:"),
    ({"expression": ""}, "an expression is needed"),
    ({"expression": "x" * 4_001}, "expression:"),
    ({"expression": "up\u202e == 0"}, "expression: control and direction"),
    ({"for_seconds": -1}, "for_seconds:"),
    ({"for_seconds": 1e9}, "for_seconds:"),
    ({"severity": "urgent"}, "severity: must be critical"),
    ({"labels": {"severity": "low"}}, "severity is set by the rule's own fields"),
    ({"labels": {"__name__": "x"}}, "__name__ is set by"),
    ({"labels": {"a-b": "x"}}, "names begin with a letter"),
    ({"labels": {"a": "{{ $value }}"}}, "a shows $value"),
    ({"labels": {"a": "x\x00"}}, "control and direction"),
    ({"annotations": {"a": "{{ query `up` }}"}}, "{{ query"),
    ({"annotations": {"ops_mcp_agent": "ada"}}, "are ours"),
    ({"annotations": {"a": "x" * 2_001}}, "a: A template is 2,001 characters long"),
    ({"channels": ["#ops"]}, "channels.0:"),
    ({"remediation": {"remedy": "shell"}}, "remediation.remedy:"),
    ({"secret_field": "hunter2"}, "secret_field: is unknown"),
    ({"hunter2 is my password": 1}, "(not a name): is unknown"),
]


@pytest.mark.parametrize(("fields", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_wrong_with_a_rule_is_named_and_its_value_is_not_repeated(fields: dict[str, Json], said: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse_rule({**BASE, **fields}, check_expression=any_expression)
    assert said in refused.value.message
    assert "hunter2" not in refused.value.message
    assert "expression" in refused.value.hint


def test_an_expression_is_judged_by_whoever_knows_the_language() -> None:
    asked: list[str] = []
    parse_rule({**BASE, "expression": "  up == 0 "}, check_expression=asked.append)
    parse_rule({"name": "Outside", "environment": "production", "sources": ["grafana"]}, check_expression=asked.append)
    assert asked == ["up == 0"]


SEVERITIES = [
    ("critical", "critical"),
    ("SEV1", "critical"),
    ("P0", "critical"),
    ("EMERGENCY", "critical"),
    ("page", "critical"),
    ("high", "high"),
    ("sev2", "high"),
    ("p1", "high"),
    ("medium", "medium"),
    ("SEV3", "medium"),
    ("P2", "medium"),
    ("WARN", "medium"),
    ("warning", "medium"),
    ("low", "low"),
    ("SEV4", "low"),
    ("P3", "low"),
    ("INFO", "low"),
]


@pytest.mark.parametrize(("word", "severity"), SEVERITIES)
def test_every_scale_has_the_same_four_steps(word: str, severity: str) -> None:
    assert severity_of(word) is Severity(severity)
    assert Rule.model_validate({**BASE, "severity": word}).severity is Severity(severity)


def test_severities_are_ordered_worst_first() -> None:
    assert sorted(Severity, key=lambda severity: severity.rank) == [
        Severity.critical,
        Severity.high,
        Severity.medium,
        Severity.low,
    ]


RESTART = {"remedy": "restart"}
ASSIGNED = a_rule(service="web", remediation={"remedy": "restart", "agent": "healer"})
EDITS: list[tuple[dict[str, object], str | None]] = [
    # what somebody who is no operator stores over the rule, and the agent that it still has
    ({}, "healer"),
    ({"severity": "low", "annotations": {"a": "b"}, "channels": ["pager"]}, "healer"),  # tells more, does the same
    ({"expression": "vector(1)"}, None),
    ({"for_seconds": 60}, None),
    ({"service": "billing"}, None),
    ({"environment": "staging"}, None),
    ({"labels": {"service_of": "x"}}, None),
    ({"sources": ["anyone"]}, None),
    ({"remediation": {"remedy": "rollback"}}, None),
    ({"remediation": {"remedy": "restart", "agent": "root"}}, "healer"),  # what it writes itself is not read
]


@pytest.mark.parametrize(("changes", "agent"), EDITS)
def test_whoever_changes_the_condition_or_the_deed_loses_the_assigned_agent(
    changes: dict[str, object], agent: str | None
) -> None:
    edited = as_edited(a_rule(**{"service": "web", "remediation": RESTART, **changes}), ASSIGNED)
    assert edited.remediation is not None
    assert edited.remediation.agent == agent


def test_nobody_assigns_an_agent_to_a_new_rule_by_writing_it() -> None:
    assert as_edited(ASSIGNED, None).remediation == Remediation(remedy=Remedy.restart)
    assert as_edited(a_rule(remediation=RESTART), a_rule()).remediation == Remediation(remedy=Remedy.restart)
    assert as_edited(a_rule(), ASSIGNED).remediation is None


def test_an_assigned_agent_is_part_of_the_rule() -> None:
    assert ASSIGNED.remediation == Remediation(remedy=Remedy.restart, agent=AgentName("healer"))
