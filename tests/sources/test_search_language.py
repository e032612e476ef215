"""Every search on docs/languages/logs.md finds what the page says: in the store, in files, in Loki and at a place alike."""

import json
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.config import Settings
from ops_mcp.domain.observations import LogLine
from ops_mcp.logs.matching import time_of
from ops_mcp.logs.severity import severity_of
from ops_mcp.observing import LogSearch
from ops_mcp.sources import files, loki
from ops_mcp.sources._scanning import Bounds
from ops_mcp.sources.loki import A_PAGE, MOST_LOOKED_AT, SECONDS
from ops_mcp.tools.observe import at_place, logs
from ops_mcp.values import JsonObject, Secret
from sandbox.loki.app import Loki
from sandbox.loki.world import World
from sandbox.vercel.inprocess import InProcess
from tests.house import house
from tests.logs.test_language_page import PAGE, code, rows
from tests.sources.filed import NOON, REDACTOR, write
from tests.tools.capable import capable_house
from tests.tools.observe.kept import collect
from tests.tools.observe.test_logs_search import OBSERVE, done
from tests.tools.test_logs import deploy

pytestmark = pytest.mark.anyio

LINES = PAGE.split("```text\n", 1)[1].split("\n```", 1)[0].splitlines()
SEARCHES = [
    (json.loads(code(row[0])[0]), code(row[1])) for row in rows("| arguments of `logs_search` | records, in this order |")
]
WEB: JsonObject = {"service": "web", "environment": "staging"}


def told(found: dict[str, Any]) -> list[str]:
    return [line["untrusted_text"] for line in found["lines"]]


@pytest.mark.parametrize("kind", ["embedded", "files"])
async def test_what_is_collected_and_what_lies_in_files_is_found_as_the_page_says(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "logs"
    write(folder / "web/a.log", *LINES)
    listed = [{**WEB, "files": ["web/*.log"]}]
    sources = {"old": {"kind": "files", "directory": str(folder), "logs": listed}}
    async with house(tmp_path / "home", toolsets=OBSERVE, sources=sources if kind == "files" else {}) as home:
        home.now[0] = NOON
        agent = await home.agent()
        await collect(home, LINES, at=NOON)
        for arguments, expected in SEARCHES:
            found = done(await home.call(agent, "logs_search", **WEB, **arguments))
            assert told(found) == expected, arguments


async def test_what_loki_keeps_is_found_as_the_page_says() -> None:
    world = World(lambda: NOON)
    for line in LINES:
        at = time_of(line) or next(time_of(word.partition("=")[2]) for word in line.split() if word.startswith("time="))
        assert at is not None
        world.put({"env": "staging", "service": "web"}, int(at.timestamp()) * 10**9, line)
    table: JsonObject = {"url": "http://127.0.0.1", "environments": {"staging": {"env": "staging"}}}
    source = loki.build("g", table, secret=Secret, redact=REDACTOR.text, transport=InProcess(Loki(world)))
    for arguments, expected in SEARCHES:
        found = await source.search(LogSearch.model_validate({**WEB, **_moments(arguments)}))
        assert [record.message for record in found.records] == expected, arguments


async def test_what_a_place_has_is_found_as_the_page_says_newest_first(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        home.now[0] = NOON
        agent = await home.agent()
        await deploy(home, agent)
        for minute, line in zip((50, 55, 58, 59), LINES, strict=True):
            at = NOON - timedelta(minutes=60 - minute)
            place.lines.append(LogLine(at=at, severity=severity_of(line), text=line))
        for arguments, expected in SEARCHES:
            if not arguments.get("oldest_first"):
                found = done(await home.call(agent, "logs_search", **WEB, **arguments))
                assert [name for name in expected if not any(name in text for text in told(found))] == [], arguments
                assert len(told(found)) == len(expected), arguments


def _moments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Times ago as times before noon, as the tool hands them on."""
    ago = {"90s": 1.5, "5m": 5, "1h": 60}
    said = {name: arguments[name] for name in ("since", "until") if name in arguments}
    times = {n: NOON - timedelta(minutes=ago[v]) if v in ago else datetime.fromisoformat(v) for n, v in said.items()}
    return {**arguments, **times}


def test_the_sources_on_the_page_can_be_used() -> None:
    written = tomllib.loads(PAGE.split("```toml\n", 1)[1].split("\n```", 1)[0])
    tables = Settings.model_validate(written).sources
    for name, table in tables.items():
        options = {key: value for key, value in table.items() if key != "kind"}
        module = {"files": files, "loki": loki}[str(table["kind"])]
        assert module.build(name, options, secret=Secret, redact=str).name == name


@pytest.mark.parametrize(
    "said",
    [
        f"at\nmost {Bounds().seconds:g} seconds",
        f"{MOST_LOOKED_AT:,} lines or {SECONDS:g} seconds",
        f"{at_place.MOST_LOOKED_AT:,} of its lines",
        f"{logs.REPLY_TOKENS:,} tokens",
        "1,000 records",
    ],
)
def test_the_page_names_the_bounds(said: str) -> None:
    assert " ".join(said.split()) in " ".join(PAGE.split())
    assert A_PAGE < MOST_LOOKED_AT
