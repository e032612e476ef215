"""Every example in docs/languages/logs.md is so."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.anomalies import LEAST_BUCKETS, LEAST_LINES, History, Kind, Series, find
from ops_mcp.logs.formats import LONGEST_VALUE, MOST_FIELDS
from ops_mcp.logs.joining import MOST_BYTES, MOST_LINES, Joiner
from ops_mcp.logs.masking import collapsed, masked, shown
from ops_mcp.logs.records import LONGEST_MESSAGE, LONGEST_RAW, Source, parse
from ops_mcp.logs.shapes import TemplateId
from ops_mcp.logs.templates import MOST_SHAPES, Miner

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "logs.md").read_text(encoding="utf-8")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def rows(head: str) -> list[tuple[str, ...]]:
    """The rows of the table that begins with this line; the code of a cell without its backticks."""
    table = PAGE.split(head + "\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in table]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


@pytest.mark.parametrize(
    "row", rows("| form | line | severity | message | fields |"), ids=lambda row: f"{row[0]}: {row[3]}" if row else ""
)
def test_a_line_is_read_as_the_page_says(row: tuple[str, ...]) -> None:
    _, line, severity, message, fields = row
    record = parse(code(line)[0], Source("shop", "staging"), arrived=NOON)
    assert record.severity is Severity(severity)
    assert [record.message] == code(message)
    assert ", ".join(f"{name}={value}" for name, value in record.fields.items()) == "".join(code(fields))
    assert record.time in (NOON, NOON - timedelta(seconds=2)) or record.time.replace(microsecond=0) == NOON - timedelta(seconds=2)


BLOCKS = re.findall(r"```log\n(.*?)\n```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_one_record(block: str) -> None:
    joiner = Joiner()
    for line in block.split("\n"):
        assert joiner.add(line, NOON) is None
    ended = joiner.close()
    assert ended is not None
    assert ended.text == block


def test_blocks_one_after_the_other_are_as_many_records() -> None:
    assert len(BLOCKS) == 5
    joiner = Joiner()
    found = [joiner.add(line, NOON) for block in BLOCKS for line in block.split("\n")]
    assert [each.text for each in (*found, joiner.close()) if each] == BLOCKS


@pytest.mark.parametrize("row", rows("| message | pattern |"))
def test_a_value_is_known_by_its_look(row: tuple[str, ...]) -> None:
    message, pattern = row
    assert [shown(masked(collapsed(code(message)[0])))] == code(pattern)


@pytest.mark.parametrize("row", rows("| messages | patterns |"))
def test_a_value_is_known_by_its_company(row: tuple[str, ...]) -> None:
    miner = Miner()
    for message in code(row[0]):
        miner.add(message, NOON)
    assert {template.text for template in miner.patterns().templates} == set(code(row[1]))


@pytest.mark.parametrize("row", rows("| pattern | severity | lines a minute in that hour | lines in the next | finding |"))
def test_what_is_unusual_is_what_the_page_says(row: tuple[str, ...]) -> None:
    pattern, severity, before, now, finding = row
    series = (
        Series(TemplateId("base"), "request done", Severity.info, [50] * 61),
        Series(TemplateId("this"), code(pattern)[0], Severity(severity), [int(before)] * 60 + [int(now)]),
    )
    found = find(History(NOON, timedelta(minutes=1), series)).anomalies
    assert {anomaly.kind for anomaly in found} == set(map(Kind, code(finding)))
    assert {anomaly.template for anomaly in found} <= {"this"}


@pytest.mark.parametrize(
    "bound",
    [MOST_BYTES, MOST_LINES, LONGEST_RAW, LONGEST_MESSAGE, MOST_FIELDS, LONGEST_VALUE, MOST_SHAPES, LEAST_BUCKETS, LEAST_LINES],
)
def test_the_page_names_the_bounds(bound: int) -> None:
    assert f"{bound:,}" in PAGE
