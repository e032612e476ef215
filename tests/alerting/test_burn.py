"""Rules from an objective in one line: the workbook's numbers, and that they fire when the budget burns."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.alerting.burn import TABLE, Subject, burn_rate, burn_rules, parse_objective
from ops_mcp.alerting.exchange import export_rules
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Json
from tests.alerting import promtool
from tests.alerting.makers import any_expression
from tests.alerting.promtool import needs_promtool

SUBJECT = Subject(name="Checkout", environment=EnvironmentName("production"))
LINE = "slo: 99.9% availability over 30d on ratio errors_total/requests_total"


def test_one_line_becomes_the_workbooks_three_rules() -> None:
    made = burn_rules(LINE, SUBJECT, check_expression=any_expression)
    assert [(rule.name, rule.severity, rule.expression) for rule in made.rules] == [
        (
            "CheckoutBurnRate1h",
            Severity.critical,
            (
                "(sum(rate(errors_total[1h])) / sum(rate(requests_total[1h]))) > 14.4 * 0.001"
                " and (sum(rate(errors_total[5m])) / sum(rate(requests_total[5m]))) > 14.4 * 0.001"
                " and sum(increase(requests_total[1h])) >= 100"
            ),
        ),
        (
            "CheckoutBurnRate6h",
            Severity.high,
            (
                "(sum(rate(errors_total[6h])) / sum(rate(requests_total[6h]))) > 6 * 0.001"
                " and (sum(rate(errors_total[30m])) / sum(rate(requests_total[30m]))) > 6 * 0.001"
                " and sum(increase(requests_total[6h])) >= 100"
            ),
        ),
        (
            "CheckoutBurnRate3d",
            Severity.medium,
            (
                "(sum(rate(errors_total[3d])) / sum(rate(requests_total[3d]))) > 1 * 0.001"
                " and (sum(rate(errors_total[6h])) / sum(rate(requests_total[6h]))) > 1 * 0.001"
                " and sum(increase(requests_total[3d])) >= 100"
            ),
        ),
    ]
    assert made.left_out == ()


def test_the_short_window_is_a_twelfth_of_the_long_one() -> None:
    assert [burn.long_seconds for burn in TABLE] == [12 * burn.short_seconds for burn in TABLE]


RATES = [
    ("30d", ["14.4", "6", "1"]),  # the workbook's
    ("28d", ["13.44", "5.6", "0.9333333333"]),
    ("7d", ["3.36", "1.4", "0.2333333333"]),
    ("90d", ["43.2", "18", "3"]),
]


@pytest.mark.parametrize(("period", "rates"), RATES)
def test_for_other_periods_the_rate_follows_from_the_share_of_the_budget(period: str, rates: list[str]) -> None:
    objective = parse_objective(f"99.9% over {period} on ratio a/b")
    assert [burn_rate(burn, objective).quantize(Decimal("1e-10")) for burn in TABLE] == [
        Decimal(rate).quantize(Decimal("1e-10")) for rate in rates
    ]


def test_a_row_that_could_never_fire_is_left_out_and_named() -> None:
    made = burn_rules("90% over 30d on ratio a/b", SUBJECT, check_expression=any_expression)
    assert [rule.name for rule in made.rules] == ["CheckoutBurnRate6h", "CheckoutBurnRate3d"]
    assert "14.4" in made.left_out[0]
    assert "1h" in made.left_out[0]


def test_counters_may_have_matchers_and_count_successes() -> None:
    line = '99.95% availability over 30d on good http_total{code!~"5..", path="/a/b"} / http_total{job="web"} at least 0 events'
    rule = burn_rules(line, SUBJECT, check_expression=any_expression).rules[0]
    assert rule.expression == (
        '(1 - (sum(rate(http_total{code!~"5..", path="/a/b"}[1h])) or vector(0)) / sum(rate(http_total{job="web"}[1h])))'
        " > 14.4 * 0.0005"
        ' and (1 - (sum(rate(http_total{code!~"5..", path="/a/b"}[5m])) or vector(0)) / sum(rate(http_total{job="web"}[5m])))'
        " > 14.4 * 0.0005"
    )


REFUSED = [
    "99.9% on ratio a/b",
    "100% over 30d on ratio a/b",
    "0% over 30d on ratio a/b",
    "99.9% over 1d on ratio a/b",  # shorter than the longest window
    "99.9% over soon on ratio a/b",
    "99.9% over 30d on ratio a",
    "99.9% over 30d on ratio a/b/c",
    "99.9% over 30d on ratio sum(a)/b",
    "99.9% over 30d on ratio a[5m]/b",
    "99.9% over 30d on latency a/b",
    "50% over 1y on ratio a/b",  # no row fits
    "",
]


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_is_not_understood_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        burn_rules(line, SUBJECT, check_expression=any_expression)
    assert refused.value.hint


@given(st.text(max_size=200) | st.text(max_size=60).map(lambda text: f"99.9% over 30d on ratio {text}/{text}"))
def test_any_line_makes_rules_or_is_refused_with_our_error(line: str) -> None:
    try:
        made = burn_rules(line, SUBJECT, check_expression=any_expression)
    except InvalidArguments:
        return
    assert made.rules


@needs_promtool
def test_prometheus_fires_the_page_while_the_budget_burns_and_nothing_before_or_after(tmp_path: Path) -> None:
    """2 % of requests fail from minute 120 to 180, twenty times what 99.9 % allows; before that 0.05 %, half of it.

    At minute 179 the last hour has (1240 - 59.5) failures of 60,000 requests: 1.9675 %.
    """
    rules = burn_rules(LINE, SUBJECT, check_expression=any_expression).rules
    requests = "0+1000x240"
    failures = "0+0.5x120 80+20x59 1261+0.5x60"
    page: Json = {"alertname": "CheckoutBurnRate1h"}
    firing: list[Json] = [
        {
            "exp_labels": {"severity": "critical", "environment": "production", "slo": "Checkout", "window": "1h"},
            "exp_annotations": {
                "summary": "Checkout: the error budget burns 14.4 times too fast",
                "description": "1.968% of events failed in the last 1h. At this rate 2% of the budget of 30d is spent in 1h; "
                "the objective is 99.9%.",
            },
        }
    ]
    moments: list[Json] = [
        {**page, "eval_time": at, "exp_alerts": alerts}
        for at, alerts in (("119m", []), ("125m", []), ("179m", firing), ("190m", []), ("240m", []))
    ]
    tests: Json = {
        "rule_files": ["rules.yml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": "requests_total", "values": requests},
                    {"series": "errors_total", "values": failures},
                ],
                "alert_rule_test": moments,
            }
        ],
    }
    done = promtool.test_rules(tmp_path, export_rules(rules).text, tests)
    assert done.returncode == 0, done.stdout + done.stderr
