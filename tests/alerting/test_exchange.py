"""Rules as Prometheus rule files and back."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_mcp.alerting.durations import duration_seconds, duration_text
from ops_mcp.alerting.exchange import Defaults, export_rules, import_rules
from ops_mcp.alerting.rules import LONGEST_WAIT_SECONDS, Remediation, Remedy, Rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments
from tests.alerting import promtool
from tests.alerting.makers import any_expression
from tests.alerting.promtool import needs_promtool

DEFAULTS = Defaults(EnvironmentName("staging"))

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
RULE_NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9 _.:/()-]{0,30}[A-Za-z0-9)])?", fullmatch=True)
LABEL_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: (
        name not in {"alertname", "alertstate", "severity", "environment", "service"} and not name.startswith(("__", "ops_mcp_"))
    )
)
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Cn"), include_characters="\n\t"), max_size=40
).filter(lambda text: "{{" not in text and not any(0xE0000 <= ord(char) <= 0xE0FFF for char in text))
YAML_TRAPS = st.sampled_from(
    [
        "yes",
        "no",
        "on",
        "~",
        "null",
        "1.10",
        "0x10",
        "1e3",
        "12:30:45",
        "2026-11-20",
        "- a",
        "a: b",
        "# c",
        "'",
        '"',
        "&a",
        "*a",
        "!t",
        "%",
        "|",
        ">",
        "{a: b}",
        "[a]",
        " leading",
        "trailing ",
        "\n",
        "a\n b\n",
        "=",
        "<<",
        "é",
        "日本",
        "😀",
        "\\n",
    ]
)
TEMPLATES = st.sampled_from(
    ["{{ $labels.instance }} is {{ $value | humanize }}", '{{ printf "%.1f" $value }}%', "{{ $labels.a }}"]
)
QUERIES = st.sampled_from(
    [
        "up == 0",
        'sum by (job) (rate(errors_total{code=~"5.."}[5m])) > 0.05',
        "a\n  > 1\n  and b",
        "x # why\n> 2",
        'absent(up{job="a\'b"})',
    ]
)
SECONDS = st.integers(0, LONGEST_WAIT_SECONDS * 1000).map(lambda ms: ms / 1000) | st.sampled_from([0.0, 60.0, 3600.0])
REMEDIATIONS = st.none() | st.builds(Remediation, remedy=st.sampled_from(Remedy), agent=st.none() | NAMES.map(AgentName))


def rules(texts: st.SearchStrategy[str] = TEXTS | YAML_TRAPS | TEMPLATES) -> st.SearchStrategy[Rule]:
    return st.builds(
        Rule,
        name=RULE_NAMES,
        environment=NAMES,
        service=st.none() | NAMES,
        expression=QUERIES,
        for_seconds=SECONDS,
        keep_firing_for_seconds=SECONDS,
        severity=st.sampled_from(Severity),
        labels=st.dictionaries(LABEL_NAMES, TEXTS | YAML_TRAPS, max_size=3),
        annotations=st.dictionaries(LABEL_NAMES, texts, max_size=3),
        channels=st.lists(NAMES, max_size=3),
        remediation=REMEDIATIONS,
        sources=st.lists(NAMES, max_size=2),
    )


RULE_LISTS = st.lists(rules(), max_size=3, unique_by=lambda rule: (rule.environment, rule.name))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULE_LISTS)
def test_what_was_exported_reads_back_equal(given_rules: list[Rule]) -> None:
    text = export_rules(given_rules).text
    expected = tuple(sorted(given_rules, key=lambda rule: rule.environment))
    assert import_rules(text, DEFAULTS, check_expression=any_expression).rules == expected


@needs_promtool
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(given_rules=st.lists(rules(), min_size=5, max_size=15, unique_by=lambda rule: (rule.environment, rule.name)))
def test_prometheus_accepts_every_exported_file(tmp_path: Path, given_rules: list[Rule]) -> None:
    (tmp_path / "rules.yml").write_text(export_rules(given_rules).text, encoding="utf-8")
    done = promtool.run("check", "rules", "rules.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(given_rules)} rules found" in done.stdout


def test_a_file_of_somebody_else_becomes_our_rules() -> None:
    found = import_rules(
        """
        groups:
          - name: web
            interval: 30s
            rules:
              # Comments, folded text and numbers without quotes are as people write them.
              - alert: HighErrorRate
                expr: >
                  rate(errors_total[5m])
                  > 0.05
                for: 10m
                labels:
                  severity: page
                  service: web
                  shard: 7
                annotations:
                  summary: "{{ $labels.instance }} fails"
              - alert: Quiet
                expr: absent(up)
        """,
        DEFAULTS,
        check_expression=any_expression,
    )
    first, second = found.rules
    assert first == Rule(
        name="HighErrorRate",
        environment=EnvironmentName("staging"),
        service="web",  # type: ignore[arg-type]
        expression="rate(errors_total[5m]) > 0.05",
        for_seconds=600,
        severity=Severity.critical,
        labels={"shard": "7"},
        annotations={"summary": "{{ $labels.instance }} fails"},
    )
    assert (second.severity, second.for_seconds) == (Severity.medium, 0.0)
    assert found.notes == ("Group 1: its interval has no meaning here; all rules are evaluated at one interval.",)


ALERT = "groups: [{name: g, rules: [{alert: A, expr: up == 0, %s}]}]"
REFUSED = [
    ("groups: [{name: g, limit: 5, rules: []}]", "Group 1: limit is not supported"),
    ("groups: [{name: g, rules: [{record: a, expr: b}]}]", "recording rules"),
    (ALERT % "runbook: x", "rule 1: runbook is not supported"),
    (ALERT % "labels: {severity: whatever}", "rule 1: severity: must be critical"),
    (ALERT % "labels: {alertname: B}", "alertname is set by the rule's own fields"),
    (ALERT % "labels: {a: '{{ $value }}'}", "a shows $value"),
    (ALERT % "annotations: {a: '{{ query \"up\" }}'}", "a: A template has {{ query … }}"),
    (ALERT % "annotations: {ops_mcp_remediation: shell}", "remediation.remedy"),
    (ALERT % "annotations: {ops_mcp_agent: ada}", "remediation.remedy"),  # an agent for nothing
    (ALERT % "annotations: {ops_mcp_other: x}", "ops_mcp_ are ours"),
    (ALERT % "for: soon", "for is no duration"),
    (ALERT % "for: [5m]", "for is no duration"),
    (ALERT % "labels: [a]", "labels is not a mapping"),
    ("groups: [{name: g, rules: [{expr: up}]}]", "alert is missing"),
    ("groups: [{name: g, rules: [{alert: A, expr: up}, {alert: A, expr: up}]}]", "called A"),
    ("- a", "The file is not a mapping"),
    ("groups: &a []", "an anchor or alias at line 1"),
    ("groups: [{name: g, rules: [*a]}]", "an anchor or alias"),
    ("groups: !!python/object:os.system []", "a tag"),
    ("groups: []\ngroups: []", "a key twice in one mapping at line 2"),
    ("groups: []\n---\ngroups: []", "a second document"),
    ("groups: [" + "[" * 20 + "]" * 20 + "]", "more than 8 levels"),
    ("groups: [" + "a," * 200_000 + "]", "more than 200,000 entries"),
    ("groups: [", "not YAML at line"),
    ("groups: \x00", "not YAML"),
    ("#" * 1_100_000, "larger than"),
]


@pytest.mark.parametrize(("text", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_is_not_understood_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        import_rules(text, DEFAULTS, check_expression=any_expression)
    assert named in refused.value.message


def test_a_bad_expression_is_refused_by_whoever_knows_the_language() -> None:
    def nothing_is_a_query(expression: str) -> None:
        raise InvalidArguments(f"not a query: {len(expression)}")

    with pytest.raises(InvalidArguments, match="not a query"):
        import_rules(ALERT % "for: 1m", DEFAULTS, check_expression=nothing_is_a_query)


def test_no_file_is_written_that_could_not_be_read_again() -> None:
    rules_of_all = [Rule(name=f"R{i}", environment=EnvironmentName("staging"), expression="x" * 1_000) for i in range(1_100)]
    with pytest.raises(InvalidArguments, match="larger than"):
        export_rules(rules_of_all)


def test_rules_that_only_sources_report_are_named_as_left_out() -> None:
    rule = Rule.model_validate({"name": "FromGrafana", "environment": "staging", "sources": ["grafana"]})
    assert export_rules([rule]) == ("groups: []\n", ("staging/FromGrafana",))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: "groups:\n" + raw.decode("latin-1")))
def test_any_text_is_read_or_refused_with_our_error(text: str) -> None:
    try:
        import_rules(text, DEFAULTS, check_expression=any_expression)
    except InvalidArguments as error:
        said = error.message
    else:
        said = ""
    assert len(said) < 500


@given(SECONDS)
def test_a_duration_reads_back_the_same(seconds: float) -> None:
    assert duration_seconds(duration_text(seconds)) == seconds


DURATIONS: list[tuple[str, Any]] = [
    ("0", 0.0),
    ("0s", 0.0),
    ("90s", 90.0),
    ("1h30m", 5_400.0),
    ("1d1h", 90_000.0),
    ("1w", 604_800.0),
    ("250ms", 0.25),
    ("1y", 31_536_000.0),
    ("", None),
    ("5", None),
    ("m5", None),
    ("1m1h", None),
    ("-5m", None),
    ("1.5h", None),
    ("5 m", None),
    ("٥m", None),
    ("9" * 30 + "s", None),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations_are_those_of_prometheus(text: str, seconds: float | None) -> None:
    assert duration_seconds(text) == seconds


def test_an_expression_that_is_none_is_refused_by_the_place_of_its_rule() -> None:
    def check(expression: str) -> None:
        if expression == "up ==":
            raise InvalidArguments("The expression is no PromQL.", hint="An example: up == 0.")

    text = "groups: [{name: g, rules: [{alert: A, expr: up}, {alert: B, expr: 'up =='}]}]"
    with pytest.raises(InvalidArguments) as refused:
        import_rules(text, Defaults(environment=EnvironmentName("staging")), check_expression=check)
    assert refused.value.message == "Group 1, rule 2: expr: The expression is no PromQL."
    assert refused.value.hint == "An example: up == 0."
