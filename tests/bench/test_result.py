"""How a measurement becomes a claim that is met or not."""

import json
from pathlib import Path

from bench.definitions import tokens
from bench.result import Result, at_least, at_most, save, table


def test_a_ratio_above_its_bar_is_not_met() -> None:
    slow = at_most("call", 2.0, "ms", 1.4, baseline=1.0)
    assert (slow.ratio, slow.met) == (2.0, False)
    assert at_most("call", 1.4, "ms", 1.4, baseline=1.0).met


def test_a_rate_below_its_bar_is_not_met() -> None:
    assert at_least("rate", 150, "calls/s", 1.6, baseline=100).met is False
    assert at_least("rate", 300_000, "records/s", 300_000).met


def test_the_table_shouts_what_was_not_met() -> None:
    assert " NO" in table([at_most("call", 2.0, "ms", 1.4, baseline=1.0)])


def test_saving_some_results_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    save([Result("a", 1, "ms"), Result("b", 2, "ms")], file)
    save([Result("b", 3, "ms")], file)
    assert [(r["name"], r["value"]) for r in json.loads(file.read_text(encoding="utf-8"))] == [("a", 1), ("b", 3)]


def test_definitions_are_counted_in_bytes_by_four_and_without_output_schemas() -> None:
    tool = {"name": "é", "description": "", "inputSchema": {}, "outputSchema": {"type": "object"}}
    shown = '{"name":"é","description":"","inputSchema":{}}'
    assert tokens([tool]) == len(shown.encode()) / 4
