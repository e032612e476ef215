"""Templates of labels and annotations: what they show, what they refuse, and that Prometheus shows the same."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.alerting.labels import labels_of
from ops_mcp.alerting.numbers import fixed, go_float, humanize, humanize_1024, humanize_duration, humanize_percentage
from ops_mcp.alerting.templates import LONGEST_TEXT, expanded, parse_template
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Json
from tests.alerting import promtool
from tests.alerting.promtool import needs_promtool

LABELS = labels_of({"instance": "web-1", "path": "/a"})

SHOWN = [
    ("plain text", 1.0, "plain text"),
    ("{{ $labels.instance }} is slow", 1.0, "web-1 is slow"),
    ("{{$labels.instance}}{{ .Labels.path }}", 1.0, "web-1/a"),
    ("[{{ $labels.none }}]", 1.0, "[]"),  # a label that the result has not
    ("{{ $value }}", 0.1, "0.1"),
    ("{{ .Value }}", 999_999.0, "999999"),
    ("{{ .Value }}", 1_000_000.0, "1e+06"),
    ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
    ("{{ humanize $value }}", 0.0123, "12.3m"),
    ("{{ humanize1024 $value }}", 1_610_612_736.0, "1.5Gi"),
    ("{{ humanizeDuration $value }}", 3_725.0, "1h 2m 5s"),
    ("{{ humanizePercentage $value }}", 0.0501, "5.01%"),
    ('{{ printf "%.2f" $value }} ms', 12.3456, "12.35 ms"),
    ('{{ $value | printf "%.0f" }}', 7.4, "7"),
    ("}} alone", 1.0, "}} alone"),
]

REFUSED = [
    ('{{ query "up" }}', "query"),
    ("{{ if eq $value 1.0 }}x{{ end }}", "if"),
    ("{{ $labels.a | toUpper }}", "toUpper"),
    ("{{ $externalLabels.x }}", "$externalLabels.x"),
    ("{{ $value | shout }}", "shout"),
    ("{{- $value }}", "trimming"),
    ("{{ }}", "empty"),
    ("{{ $value", "never closed"),
    ('{{ printf "%s" $value }}', "printf"),
    ("{{ $value | humanize | humanize }}", "which is not supported"),
]


@pytest.mark.parametrize(("text", "value", "shown"), SHOWN)
def test_a_template_shows_labels_and_the_value(text: str, value: float, shown: str) -> None:
    assert expanded(parse_template(text), LABELS, value) == shown


@pytest.mark.parametrize(("text", "named"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse_template(text)
    assert named in refused.value.message


def test_label_values_of_strangers_are_cleaned_and_cut() -> None:
    hostile = labels_of({"a": "\x1b[31mred\x1b[0m\nSECOND LINE\u202e\u200b\x00", "b": "x" * 10_000})
    assert expanded(parse_template("{{ $labels.a }}"), hostile, 1.0) == "red SECOND LINE"
    assert len(expanded(parse_template("{{ $labels.b }}" * 100), hostile, 1.0)) == LONGEST_TEXT


def test_a_label_value_is_never_read_as_a_template() -> None:
    assert expanded(parse_template("{{ $labels.a }}"), labels_of({"a": "{{ $value }}"}), 1.0) == "{{ $value }}"


@given(st.text(max_size=200))
def test_any_text_is_shown_or_refused_with_our_error(text: str) -> None:
    try:
        template = parse_template(text)
    except InvalidArguments:
        assert "{{" in text
    else:
        assert "{{" in text or expanded(template, (), 0.0) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_the_same(value: float) -> None:
    assert float(go_float(value)) == value


FUNCTIONS = {
    "value": ("{{ $value }}", go_float),
    "humanize": ("{{ humanize $value }}", humanize),
    "humanize1024": ("{{ humanize1024 $value }}", humanize_1024),
    "duration": ("{{ humanizeDuration $value }}", humanize_duration),
    "percentage": ("{{ humanizePercentage $value }}", humanize_percentage),
    "two": ('{{ printf "%.2f" $value }}', lambda value: fixed(value, 2)),
}


def the_values() -> list[float]:
    chance = random.Random(7)
    edges = [0.0, 1.0, -1.0, 999.95, 1000.0, 1023.9, 1024.0, 59.99, 60.0, 3600.0, 86400.0, 1e5, 1e6, 1e18, 1e-4, 1e-5]
    edges += [123456.0, 1234567.0, 0.00001234, 99999.5, -59.999, -0.25, 1e-25, 0.1 + 0.2, math.inf, -math.inf, math.nan]
    return edges + [chance.uniform(-1, 1) * 10 ** chance.randint(-12, 18) for _ in range(150)]


@needs_promtool
def test_prometheus_shows_every_number_the_same_way(tmp_path: Path) -> None:
    values = the_values()
    names = {math.inf: "+Inf", -math.inf: "-Inf"}
    written = ["NaN" if math.isnan(value) else names.get(value, repr(value)) for value in values]
    rule: Json = {
        "alert": "Shown",
        "expr": 'probe{i=~".*"}',
        "annotations": {name: template for name, (template, _) in FUNCTIONS.items()}
        | {"label": "[{{ $labels.i }}{{ $labels.no }}]"},
    }
    alerts: list[Json] = [
        {
            "exp_labels": {"i": str(i)},
            "exp_annotations": {
                **{name: expanded(parse_template(template), (), value) for name, (template, _) in FUNCTIONS.items()},
                "label": f"[{i}]",
            },
        }
        for i, value in enumerate(values)
    ]
    tests: Json = {
        "rule_files": ["rules.yml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": f'probe{{i="{i}"}}', "values": text} for i, text in enumerate(written)],
                "alert_rule_test": [{"alertname": "Shown", "eval_time": "0m", "exp_alerts": alerts}],
            }
        ],
    }
    done = promtool.test_rules(tmp_path, json.dumps({"groups": [{"name": "g", "rules": [rule]}]}), tests)
    assert done.returncode == 0, (done.stdout + done.stderr)[:3_000]
