"""Metrics on a terminal: drawn where they are asked for, listed where they are not, and what runs with what it uses."""

import math
from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from ops_mcp.cli.chart import chart, short, spark
from ops_mcp.config import load
from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation
from ops_mcp.store.metrics.store import MetricStore
from tests.cli.conftest import START, Terminal


def record(terminal: Terminal, name: str, values: Sequence[float], **labels: str) -> None:
    """A sample a minute, the last of them now."""
    config = load({"HOME": str(terminal.root)})

    async def keep() -> None:
        store = MetricStore(config.metrics_path, config.settings.metrics, lambda: START)
        found = labels_of({"environment": "sandbox", **labels}, name=name)
        times = [int((START - timedelta(minutes=ago)).timestamp() * 1000) for ago in range(len(values) - 1, -1, -1)]
        assert await store.keep([Observation(found, at, value) for at, value in zip(times, values, strict=True)]) == 0
        await store.aclose()

    anyio.run(keep)


def test_a_metric_is_drawn_with_its_scale_and_what_words_became(terminal: Terminal) -> None:
    record(terminal, "process_cpu_ratio", [0.5] * 30 + [1.0] * 30, service="web")
    told = terminal("metrics", "cpu", "--environment", "sandbox", "--since", "1h")
    assert told.code == 0, told.err
    assert "As PromQL: process_cpu_ratio" in told.out
    assert 'process_cpu_ratio{environment="sandbox", service="web"}' in told.out
    rows = [line for line in told.out.splitlines() if "│" in line]
    assert len(rows) == 8
    assert rows[0].startswith("1 │ ")
    assert rows[0].rstrip().endswith("█")
    assert rows[-1].count("█") > 40


def test_json_has_every_point_and_null_where_there_is_none(terminal: Terminal) -> None:
    record(terminal, "depth", [1.0, 2.0], service="web")
    terminal.passes(timedelta(microseconds=123_987))
    data = terminal("metrics", "depth", "--environment", "sandbox", "--since", "15m", "--json").data
    assert data["expression"] == "depth"
    assert data["series"][0]["values"][0] is None
    assert data["series"][0]["values"][-1] == 2.0


def test_without_a_query_what_there_is_is_listed(terminal: Terminal) -> None:
    record(terminal, "depth", [1.0], service="web")
    record(terminal, "host_load1", [1.0], host="h")
    told = terminal("metrics", "--environment", "sandbox")
    assert told.code == 0, told.err
    assert [line.split()[0] for line in told.out.splitlines()] == ["metric", "depth", "host_load1"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("metrics", "up"), 2, "--environment is missing"),
        (("metrics", "up", "--environment", "nowhere"), 4, "no environment"),
        (("metrics", "sum(", "--environment", "sandbox"), 2, "no PromQL"),
        (("metrics", "up", "--environment", "sandbox", "--since", "yesterday"), 2, "duration"),
        (("metrics", "up", "--environment", "sandbox", "--since", "2030-01-01"), 2, "not in the past"),
    ],
)
def test_what_cannot_be_drawn_is_said(terminal: Terminal, arguments: tuple[str, ...], code: int, said: str) -> None:
    told = terminal(*arguments)
    assert (told.code, said in told.err) == (code, True), told


def test_control_characters_of_labels_never_reach_the_terminal(terminal: Terminal) -> None:
    record(terminal, "depth", [1.0], said="\x1b[2J")
    told = terminal("metrics", "depth", "--environment", "sandbox")
    assert "\x1b" not in told.out
    assert "\\x1b[2J" in told.out


def test_top_prints_once_where_nobody_watches(terminal: Terminal) -> None:
    config = load({"HOME": str(terminal.root)})
    (config.config_dir / "services").mkdir(exist_ok=True)
    (config.config_dir / "services" / "web.toml").write_text('[sandbox]\nprovider = "local"\n')
    record(terminal, "process_cpu_ratio", [0.25], service="web")
    record(terminal, "process_resident_memory_bytes", [2e9], service="web")
    record(terminal, "service_requests_total", [0.0, 60.0, 120.0], service="web", status="200")
    told = terminal("top")
    assert told.code == 0, told.err
    head, row = told.out.splitlines()
    assert head.split() == ["service", "environment", "health", "cpu", "memory", "requests/s", "evidence"]
    assert row.split()[:6] == ["web", "sandbox", "unknown", "25.0%", "2G", "0.4"]
    (service,) = terminal("top", "--json").data["services"]
    assert service["cpu"] == 0.25


def test_a_chart_fills_from_the_bottom_and_leaves_gaps_empty() -> None:
    assert chart([0.0, 0.5, None, 1.0], width=10, height=2) == ["1 │   █", "0 │▁█ █"]
    assert chart([None, float("nan")], width=10, height=2) == ["(nothing)"]
    assert chart([5.0] * 100, width=10, height=2) == ["5 │" + "█" * 10, "0 │" + "█" * 10]


def test_no_peak_is_lost_where_there_are_more_values_than_columns() -> None:
    values: list[float | None] = [0.0] * 99
    values[41] = 8.0
    assert spark(values, width=10).count("█") == 1
    assert spark([], width=10) == ""


NUMBERS = [
    (None, "-"),
    (0.123456, "0.1235"),
    (12_345, "12.35k"),
    (2.5e9, "2.5G"),
    (math.inf, "∞"),
    (math.nan, "-"),
    (-3e6, "-3M"),
]


@pytest.mark.parametrize(("value", "said"), NUMBERS)
def test_numbers_are_short(value: float | None, said: str) -> None:
    assert short(value) == said
