"""Every example in docs/languages/health.md is so."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from ops_mcp.config import read_inventory
from ops_mcp.deploying.standing import (
    FLAPS_FROM,
    FLAPS_UNTIL,
    REMEMBERED,
    UNASKED,
    after,
    is_too_old,
    wait_seconds,
)
from ops_mcp.deploying.wellbeing import explained_by
from ops_mcp.domain.inventory import MOST_PROBES, Asked, Found, HealthState, HttpAsked, Pace, Thing, name_of
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.names import RECORDED
from tests.deploying.test_wellbeing import nodes
from tests.operations.probes.servers import HOST, found, free_port, listening, saying, silent

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "health.md").read_text(encoding="utf-8")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(Asked)[0])}
COMMON = {"kind", "name", "timeout_seconds"}


def rows(head: str) -> list[list[str]]:
    """The rows of the table that begins with this line."""
    table = PAGE.split(head + "\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def test_every_file_of_the_page_is_an_inventory_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    blocks = re.findall(r"```toml\n# inventory/([a-z]+\.toml)\n(.*?)```", PAGE, flags=re.DOTALL)
    for name, text in blocks:
        (folder / name).write_text(text)
    read = {(thing.service, thing.environment): thing for thing in read_inventory(tmp_path)}
    assert set(read) == {("cache", "production"), ("db", "production"), ("db", "staging"), ("shop", "production")}
    assert [name_of(probe) for probe in read["shop", "production"].probes] == ["front", "ready", "login"]
    assert (read["db", "production"].interval_seconds, read["db", "staging"].expected) == (15, "stopped")


def test_the_page_tells_of_every_field_of_a_thing_and_its_default() -> None:
    told = {code(field)[0]: default for field, default, _ in rows("| field | default | meaning |")}
    ours = {name: field.default for name, field in Thing.model_fields.items()}
    for hidden in ("service", "environment", "bound"):
        del ours[hidden]
    assert {name: default.strip("`") for name, default in told.items()} == {
        name: "none" if default == () else f"{default:g}" if isinstance(default, float | int) else str(default)
        for name, default in ours.items()
    }
    assert f"at most {MOST_PROBES}" in PAGE


@pytest.mark.parametrize("row", rows("| kind | healthy when | fields |"), ids=lambda row: row[0])
def test_the_page_tells_of_every_field_of_a_probe_and_its_default(row: list[str]) -> None:
    kind, _, fields = row
    told = {name: default or None for name, default in re.findall(r"`(\w+)`(?: \(([^)]*)\))?", fields)}
    ours = {n: _written(field.default) for n, field in KINDS[code(kind)[0]].model_fields.items() if n not in COMMON}
    assert told == ours


def test_the_page_tells_of_every_kind() -> None:
    assert {code(row[0])[0] for row in rows("| kind | healthy when | fields |")} == set(KINDS)


def _written(default: Any) -> str | None:
    match default:
        case bool():
            return str(default).lower()
        case float() | int():
            return f"{default:g}"
        case str():
            return default
        case (int(only),):
            return str(only)
        case _:
            return None


@pytest.mark.anyio
@pytest.mark.parametrize("row", rows("| answer to an `http` probe | state | evidence |"), ids=lambda row: row[0])
async def test_an_answer_is_told_as_the_page_says(row: list[str]) -> None:
    answer, state, evidence = row
    terms: dict[str, Any] = {"timeout_seconds": 0.3}
    if answer.endswith("without the text"):
        terms["contains"] = "<title>Shop"
    if answer.endswith("without the claim"):
        terms["claims"] = [{"pointer": "/models", "at_least": 1}]
    if answer == "refused":
        seen = await found(HttpAsked(url=f"http://{HOST}:{free_port()}/"))
    else:
        async with listening(silent if answer == "nothing" else saying(_response(*code(answer)))) as port:
            seen = await found(HttpAsked.model_validate({"url": f"http://{HOST}:{port}/health", **terms}))
    assert (seen.state.value, seen.evidence) == (state, evidence)


def _response(status: str, location: str = "") -> bytes:
    body = '{"models": []}'
    where = f"Location: {location}\r\n" if location else ""
    return f"HTTP/1.1 {status} X\r\n{where}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("row", rows("| findings | state after each |"), ids=lambda row: row[0])
def test_findings_come_to_the_states_that_the_page_says(row: list[str]) -> None:
    findings, states = ([HealthState(word) for word in cell.split(", ")] for cell in row)
    standing = UNASKED
    for number, (finding, state) in enumerate(zip(findings, states, strict=True)):
        standing = after(standing, Found(finding, "seen"), at=NOON + timedelta(seconds=30 * number), pace=Pace())
        assert standing.state is state


def test_the_page_names_the_bounds() -> None:
    assert f"last {REMEMBERED} findings changed sides {FLAPS_FROM} times" in PAGE
    assert f"fewer than {FLAPS_UNTIL} times" in PAGE
    old = timedelta(seconds=3 * Pace().interval_seconds + 30)
    assert not is_too_old(NOON, NOON + old, Pace())
    assert is_too_old(NOON, NOON + old + timedelta(seconds=1), Pace())
    failed = after(UNASKED, Found(HealthState.unhealthy, "seen"), at=NOON, pace=Pace())
    longest = Pace().interval_seconds + 5 + wait_seconds(failed, Pace(), 0.0) + 5 + 2  # two rounds of the worker
    assert longest <= 60


@pytest.mark.parametrize("row", rows("| inventory | explained_by |"), ids=lambda row: row[0])
def test_a_trouble_is_explained_as_the_page_says(row: list[str]) -> None:
    inventory, explains = row
    listed = code(inventory)
    assert (explained_by(listed[0].split()[0], nodes(*listed)) or "nothing") == explains


def test_the_alert_of_the_page_is_an_expression_that_is_understood() -> None:
    (expression,) = re.findall(r"^`(probe_certificate_.*)`\.$", PAGE, flags=re.MULTILINE)
    assert compiled(expression)


def test_the_page_names_the_metrics_of_probes() -> None:
    told = {code(row[0])[0] for row in rows("| metric | |")}
    assert told == {metric.name for metric in RECORDED if "probe" in metric.labels}
