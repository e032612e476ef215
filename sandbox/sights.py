"""Scenes of the demonstration in which agents look: logs, metrics, health, an alert that fires and ends, and one that heals."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio
import tomli_w

from sandbox.story import NotTrue, Story
from sandbox.world import AgentSession, Reply, World

PLACE = {"service": "webshop", "environment": "staging"}
PATIENCE_SECONDS = 60
EVERY_SECOND = 1.0

DOWN = "ShopDown"
QUEUE = "QueueTooLong"


class House(Protocol):
    """What these scenes use of the demonstration."""

    story: Story
    world: World
    ports: dict[str, int]


def settings(house: House) -> dict[str, Any]:
    """Short paces, so that the demonstration ends soon (defaults are 15 and 30 seconds), and a file that is told of alerts."""
    return {
        "metrics": {"every_seconds": EVERY_SECOND},
        "alerts": {
            "every_seconds": EVERY_SECOND,
            "routes": {"default": {"group_wait_seconds": 0.0, "group_interval_seconds": EVERY_SECOND}},
        },
        "channels": {"on-call": {"kind": "file", "path": str(house.world.home / "on-call.jsonl")}},
    }


def watch(house: House) -> None:
    """The inventory's own probe of the shop, beside the one that releases are verified with."""
    probe = {"kind": "http", "url": f"http://127.0.0.1:{house.ports['staging']}/health"}
    thing = {"probes": [probe], "interval_seconds": EVERY_SECOND, "recheck_seconds": EVERY_SECOND}
    folder = house.world.config / "inventory"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "webshop.toml").write_text(tomli_w.dumps({"staging": thing}), encoding="utf-8")


async def sets_a_rule(house: House, agent: AgentSession) -> None:
    story = house.story
    story.scene("The agent sets an alert on what it deployed")
    rule = {"name": DOWN, **PLACE, "expression": 'probe_success{service="webshop"} == 0', "severity": "high"}
    planned = await agent.call("alert_rule_set", **rule, channels=["on-call"], dry_run=True)
    story.check("A dry run shows the rule's plan and stores nothing", true=planned.done, evidence=_words(planned, "summary"))
    made = await agent.call("alert_rule_set", **rule, channels=["on-call"], annotations={"summary": "The shop does not answer"})
    story.check("The rule is stored", true=made.done, evidence=rule["expression"])
    health = await until(lambda: agent.call("health", **PLACE), lambda seen: '"healthy"' in seen.text)
    story.check(
        "The shop's health is probed every second and known", true=health is not None, evidence=_words(health, "evidence")
    )


async def the_alert_fired_and_ended(house: House, agent: AgentSession) -> None:
    story = house.story
    story.scene("The bad release had fired the alert, and the rollback ended it")
    ended = await until(
        lambda: agent.call("alerts", **PLACE, ended=True), lambda seen: DOWN in seen.text and "resolved" in seen.text
    )
    story.check(
        "The alert fired while v3 ran, and ended when v2 was back", true=ended is not None, evidence=_words(ended, "state")
    )
    told = await _until_told(house, DOWN, "resolved")
    states = [str(notice["body"]["status"]) for notice in told]
    story.check(
        "Who is on call was told of both, in order",
        true=states[:1] == ["firing"] and states[-1:] == ["resolved"],
        evidence=", ".join(states),
    )


async def searches_logs(house: House, agent: AgentSession) -> None:
    story = house.story
    story.scene("The agent finds out why")
    wanted = {**PLACE, "since": "1h", "severity": "error"}
    found = await until(
        lambda: agent.call("logs_search", **wanted, text="catalogue"), lambda seen: "catalogue.unreadable" in seen.text
    )
    story.check(
        "The lines of the release that is gone are still there to be searched",
        true=found is not None,
        evidence=_words(found, "untrusted_text"),
    )
    patterns = await until(lambda: agent.call("logs_patterns", **wanted), lambda seen: "catalogue.unreadable" in seen.text)
    story.check(
        "All of them come to one pattern, with how often it came",
        true=patterns is not None,
        evidence=_pattern(patterns),
    )


async def heals(house: House, agent: AgentSession) -> None:
    story, world = house.story, house.world
    story.scene("An alert that heals")
    rule = {"name": QUEUE, **PLACE, "expression": "queue_depth > 100", "remediation": "restart", "channels": ["on-call"]}
    made = await agent.call("alert_rule_set", **rule)
    story.check("An agent may name a remedy, and not who carries it out", true=made.done, evidence=_words(made, "note"))
    world.must("alerts", "assign", QUEUE, "builder", "--environment", "staging", "--operator", "olivia")
    story.say("The operator assigns the remedy to the agent builder, within its ceiling and budget.")
    before = await _started(agent)
    recorded = await agent.call("metrics_record", **PLACE, name="queue_depth", value=250)
    queried = await agent.call("metrics_query", environment="staging", query="max(queue_depth)")
    story.check(
        "The agent records a metric of its own, and queries it in PromQL",
        true=recorded.done and "250" in queried.text,
        evidence=f"max(queue_depth) = {_first(queried, 'value')}",
    )
    restarted = await until(lambda: _restarted(world), bool)
    story.check(
        "The alert fires, and the worker restarts the shop as that agent, through the same gate",
        true=restarted is not None,
        evidence=str(restarted),
    )
    after = await until(lambda: _started(agent), lambda seen: seen is not None and seen != before)
    story.check(
        "It is another process now",
        true=after is not None,
        evidence=f"process_start_time_seconds went from {before} to {after}",
    )
    await agent.call("metrics_record", **PLACE, name="queue_depth", value=3)
    ended = await until(
        lambda: agent.call("alerts", **PLACE, ended=True), lambda seen: QUEUE in seen.text and "resolved" in seen.text
    )
    story.check("The queue is short again, and the alert ends", true=ended is not None)
    figures = world.must("figures", "--json").data
    story.check("What it took is counted from stored facts", true=figures["incidents"] >= 1, evidence=_counted(figures))


async def until(ask: Callable[[], Awaitable[Any]], is_so: Callable[[Any], bool], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """The first answer that is so, or None when time is up."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        answer = await ask()
        if is_so(answer):
            return answer
        await anyio.sleep(0.3)
    return None


async def _started(agent: AgentSession) -> float | None:
    """When the shop's process was started, as it is sampled."""
    query = 'max(process_start_time_seconds{service="webshop"})'
    found = _first(await agent.call("metrics_query", environment="staging", query=query), "value")
    return float(found) if isinstance(found, int | float) else None


async def _restarted(world: World) -> str:
    """What the ledger says of the remedy, once it succeeded."""
    for record in world.must("audit", "search", "--kind", "healing.settled", "--json").data["records"]:
        said = record["body"]["data"]
        if said.get("outcome") == "succeeded":
            return f"record {record['number']}: healing.settled, {said.get('remedy', 'restart')} {said['outcome']}"
    return ""


async def _until_told(house: House, rule: str, status: str) -> list[dict[str, Any]]:
    """The notices of a rule, once one has this status."""
    file = house.world.home / "on-call.jsonl"

    async def told() -> list[dict[str, Any]]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [notice for line in lines if rule in line and (notice := json.loads(line))]

    found = await until(told, lambda notices: any(notice["body"].get("status") == status for notice in notices))
    if found is None:
        raise NotTrue(f"{file} holds a notice of {rule} that is {status}")
    return list(found)


def _counted(figures: dict[str, Any]) -> str:
    detect, resolve = (figures[f"time_to_{what}"]["mean_seconds"] for what in ("detect", "resolve"))
    return f"{figures['incidents']} incidents: found within {detect:.0f} s, ended after {resolve:.0f} s on average"


def _pattern(reply: Reply | None) -> str:
    patterns = reply.data["patterns"] if reply is not None else []
    said = [f"{one['lines']} lines: {one['untrusted_pattern']}" for one in patterns if "catalogue" in one["untrusted_pattern"]]
    return said[0] if said else ""


def _first(reply: Reply | None, name: str) -> Any:
    return _found(reply.data, name) if reply is not None else None


def _words(reply: Reply | None, name: str) -> str:
    return str(_first(reply, name) or "")[:200]


def _found(data: object, name: str) -> Any:
    """The first value called `name`, outermost first."""
    if isinstance(data, list):
        return next((found for item in data if (found := _found(item, name)) is not None), None)
    if not isinstance(data, dict):
        return None
    return data[name] if name in data else next((f for inner in data.values() if (f := _found(inner, name)) is not None), None)
