"""Zero bypass: the reviewed table of callers, places and tools, by tools/call on a real server, cell by cell; all counted."""

from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from mcp.types import ResourceTemplateReference

from ops_mcp import tools
from ops_mcp.domain.releases import DeploymentState
from ops_mcp.values import JsonObject
from tests.golden.scene import CEILINGS, PLACES, QUIET, SCORES, Scene, ending, scene
from tests.golden.table import Cell, cells

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEVELLED = ("change", "destroy", "cancel", "cancel_own", "recovery", "watch", "hush")
"""Kinds that have a verdict to ask for first."""

TOOLS = {
    "identity": ("whoami",),
    "read": (
        "services",
        "deployments",
        "deployment",
        "audit",
        "variables",
        "health",
        "logs_search",
        "logs_patterns",
        "logs_anomalies",
        "metrics_query",
        "metrics_list",
        "alert_rules",
        "alert_rule_test",
        "alerts",
        "tasks",
        "task",
    ),
    "record": ("metrics_record", "checkpoint"),
    "watch": ("alert_rule_set", "alert_acknowledge"),
    "hush": ("alert_rule_delete", "alert_silence", "notify"),
    "approval": ("approval",),
    "change": ("deploy", "rollback", "restart", "promote", "scale", "variable_set"),
    "destroy": ("provision",),
    "cancel": ("deployment_cancel",),
    "cancel_own": ("deployment_cancel",),
    "recovery": ("rollback",),
    "sample": ("deploy",),
}
"""Which tools each kind of the table stands for."""

MORE: dict[str, JsonObject] = {
    "scale": {"replicas": 2},
    "variable_set": {"name": "LOG_LEVEL", "value": "debug"},
    "provision": {"template": "redis", "name": "cache"},
    "metrics_query": {"query": "up"},
    "metrics_record": {"name": "queue_depth", "value": 3},
    "checkpoint": {"name": "Ship it", "action": "began"},
    "alert_rule_test": {"expression": "up == 0"},
    "alert_rule_set": {"name": "Down", "expression": "up == 0"},
    "alert_rule_delete": {"name": "Of the environment"},
    "notify": {"channels": ["pager"], "message": "The release is out."},
    "alert_silence": {"matchers": ['alertname="Down"']},
}
"""What some tools want besides service and environment."""


def named(caller: str) -> str:
    return caller.replace("_", "-")


async def arguments(at: Scene, cell: Cell, tool: str, *, request: str = "") -> JsonObject:
    """What the cell's call says. Whatever it points at is put there first."""
    service, environment = PLACES[cell.place]
    if cell.kind == "recovery":
        await at.fail(cell.place)
    match cell.kind, tool:
        case "identity", _:
            return {}
        case (("read" | "approval" | "cancel" | "cancel_own"), ("deployment" | "approval" | "deployment_cancel" | "task")):
            return {"task" if tool == "task" else "id": request or await pointed_at(at, cell, tool)}
        case "read", ("services" | "audit" | "health" | "tasks"):
            return {"environment": environment}
        case _, "alert_acknowledge":
            return {"id": await at.alert(cell.place)}
        case _, ("metrics_query" | "metrics_list" | "alert_silence" | "alert_rule_delete" | "checkpoint" | "notify"):
            if tool == "alert_rule_delete":
                await at.rule(cell.place, str(MORE[tool]["name"]))
            return {"environment": environment, **MORE.get(tool, {})}
        case "sample", _:
            return {"service": "hello", "environment": environment}
        case _, "promote":
            return {"service": service, "environment": environment, "from_environment": await at.origin(cell.place)}
        case _:
            # A rule belongs to one service, so each place has one of its own.
            name: JsonObject = {"name": f"Down in {cell.place}"} if tool == "alert_rule_set" else {}
            return {"service": service, "environment": environment, **MORE.get(tool, {}), **name}


async def pointed_at(at: Scene, cell: Cell, tool: str) -> str:
    if tool == "task":
        return await at.task(cell.place)
    if cell.kind == "read":
        return (await at.serving(cell.place)).id
    return (await at.start(cell.place, owner="setter" if cell.kind == "cancel" else named(cell.caller))).id


async def compare(at: Scene, table: list[Cell], *, toolset: str | None = None) -> list[str]:
    """Make every call of these cells, changes asked for their plan first; the cells that differ."""
    registry = tools.load((toolset,)) if toolset else tools.load()
    requests = dict.fromkeys({cell.place for cell in table if cell.kind == "approval"}, "")
    for place in requests:
        requests[place] = await at.somebodys_request(place)
    wrong: list[str] = []
    for cell in table:
        for tool in filter(registry.__contains__, TOOLS[cell.kind]):
            said = await arguments(at, cell, tool, request=requests[cell.place] if cell.kind == "approval" else "")
            if cell.kind in LEVELLED:
                wrong += await compare_dry_run(at, cell, tool, said)
            answer = await at.call(cell.caller, tool, said)
            if answer.word != cell.answer:
                wrong.append(
                    f"{cell.part} {cell.kind} {tool} {cell.place} {cell.caller}: {answer.word}, not {cell.answer} ({cell.why})"
                )
    return wrong


async def compare_dry_run(at: Scene, cell: Cell, tool: str, said: JsonObject) -> list[str]:
    """A dry run is refused as the real call is, and otherwise tells which verdict that would get."""
    answer = await at.call(cell.caller, tool, {**said, "dry_run": True})
    expected = {"done": "allow", "needs_approval": "ask"}.get(cell.answer, cell.answer)
    found = answer.result["verdict"]["answer"] if answer.word == "done" else answer.word
    return [] if found == expected else [f"dry run of {cell.kind} {tool} {cell.place} {cell.caller}: {found}, not {expected}"]


def test_the_table_names_every_tool_place_ceiling_and_score():
    registry = set(tools.load())
    assert {tool for kind in TOOLS.values() for tool in kind} == registry
    everyone = {f"{ceiling.value}-{score}" for ceiling in CEILINGS for score in SCORES}
    for kind in ("read", "record", "approval", "change", "destroy", "watch", "hush", "cancel", "cancel_own", "recovery"):
        for place in ("sandbox", "staging", "prod_low", "prod_full"):
            of_agents = {c.caller for c in cells("agents") if (c.kind, c.place) == (kind, place)}
            assert of_agents == everyone, (kind, place)
            if kind != "cancel_own":
                of_others = {c.caller for c in cells("others") if (c.kind, c.place) == (kind, place)}
                assert of_others == {"anonymous", "killed", "revoked", "stranger"}, (kind, place)


@pytest.mark.parametrize(
    ("kinds", "toolset"),
    [
        ("identity read approval", None),
        ("record watch hush", None),
        ("change", "core"),
        ("change", "places"),
        ("destroy", None),
        ("recovery", None),
    ],
)
async def test_every_cell_of_agents_and_of_others_is_answered_as_the_table_says(tmp_path: Path, kinds: str, toolset: str | None):
    async with scene(tmp_path) as at:
        for place in ("sandbox", "staging", "prod_low", "prod_full"):
            await at.serve_two_releases(place)
        table = [
            c
            for part in ("agents", "others")
            for c in cells(part)
            if c.kind in (*kinds.split(), "sample") and "quiet" not in c.place
        ]
        assert await compare(at, table, toolset=toolset) == []
        assert await at.decisions() == at.sent


@pytest.mark.parametrize("kind", ["cancel", "cancel_own"])
async def test_every_cell_of_cancelling_is_answered_as_the_table_says(tmp_path: Path, kind: str):
    async with scene(tmp_path) as at:
        ending(at, DeploymentState.cancelled)
        table = [c for part in ("agents", "others") for c in cells(part) if c.kind == kind]
        assert await compare(at, table) == []
        assert await at.decisions() == at.sent


async def test_where_prod_asks_nobody_only_the_level_asks(tmp_path: Path):
    async with scene(tmp_path, environments=QUIET) as at:
        for place in ("quiet_low", "quiet_full"):
            await at.serve_two_releases(place)
        assert await compare(at, [c for c in cells("agents") if "quiet" in c.place]) == []
        assert await at.decisions() == at.sent


async def test_a_toolset_that_is_off_has_no_tools_for_anybody(tmp_path: Path):
    async with scene(tmp_path, toolsets=[]) as at:
        assert (await at.client.list_tools()).tools == []
        wrong: list[str] = []
        for cell in cells("off"):
            for tool in TOOLS[cell.kind]:
                service, environment = PLACES[cell.place]
                said: JsonObject = {} if cell.kind == "identity" else {"service": service, "environment": environment}
                answer = await at.call(cell.caller, tool, said)
                if answer.word != cell.answer:
                    wrong.append(f"{tool} {cell.place} {cell.caller}: {answer.word}, not {cell.answer}")
        assert wrong == []
        assert await at.decisions() == at.sent
        assert at.home.place.asked == []


async def test_decisions_counted_equal_requests_received_whatever_was_asked(tmp_path: Path):
    """Unknown tools, bad arguments, floods, repeated keys, resources and completions: each is one decision in the ledger."""
    async with scene(tmp_path) as at:
        await at.serve_two_releases("staging")
        serving = (await at.serving("staging")).id
        for caller in ("staging-100", "anonymous", "stranger", "killed"):
            await at.call(caller, "no_such_tool", {})
            await at.call(caller, "services", {"servise": "web"})
            await at.call(caller, "deploy", {"service": 7, "environment": ["staging"]})
            await at.call(caller, "deployment", {"id": "dep_00000000"})
            await at.call(caller, "deploy", {"service": "web", "environment": "moon"})
            for uri in ("ops://inventory", f"ops://deployments/{serving}", "ops://approvals/apr_00000000", "ops://moon"):
                await read_resource(at, caller, uri)
            await complete(at, caller)
        key: JsonObject = {"service": "web", "environment": "staging", "idempotency_key": "once"}
        for number in range(3):
            assert (await at.call("staging-100", "deploy", key)).word == "done", number
        assert (await at.call("staging-100", "restart", key)).word == "conflict"
        at.credential[0] = at.callers["staging-140"]
        for _ in range(200):
            at.sent += 1
            with pytest.raises(MCPError):
                await at.client.call_tool("no_such_tool", {})
        assert await at.decisions() == at.sent


async def test_a_status_page_is_three_decisions_because_it_shows_three_tools(tmp_path: Path):
    async with scene(tmp_path) as at:
        at.credential[0] = at.callers["staging-100"]
        await at.client.read_resource("ops://status")
        admitted = [r["tool"] for r in await at.home.records("call.admitted")]
        assert admitted == ["whoami", "services", "health"]


async def read_resource(at: Scene, caller: str, uri: str) -> None:
    at.credential[0], at.sent = at.callers[caller], at.sent + 1
    try:
        await at.client.read_resource(uri)
        at.sent += uri == "ops://inventory"  # it shows what two tools say
    except MCPError as error:
        data: Any = error.data
        assert "dev.ops-mcp/problem" in data or uri == "ops://moon"


async def complete(at: Scene, caller: str) -> None:
    at.credential[0], at.sent = at.callers[caller], at.sent + 1
    reference = ResourceTemplateReference(uri="ops://deployments/{id}")
    try:
        await at.client.complete(reference, {"name": "id", "value": "dep_"})
    except MCPError as error:
        data: Any = error.data
        assert "dev.ops-mcp/problem" in data
