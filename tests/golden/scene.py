"""A real server over a real house, in which every cell of the table can be called; and the count of what was decided."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from mcp import Client as McpClient
from mcp import MCPError
from mcp.types import CallToolResult

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.call import call
from ops_mcp.domain.calls import ApprovalId
from ops_mcp.domain.identity import AgentName, Client, Credential, Level, NoToken, Token
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentState, HealthVerdict
from ops_mcp.operator.verbs import Kill, RevokeAgent, SetAgent
from ops_mcp.server import build
from ops_mcp.store import alerts, approvals, deployments
from ops_mcp.store.alerts import rules
from ops_mcp.store.database import Transaction
from ops_mcp.store.people import stored_approval
from ops_mcp.values import Json, JsonObject, Secret
from tests.house import House, house
from tests.tools.capable import CapablePlace, furnish

PROBLEM = "dev.ops-mcp/problem"

PLACES = {
    "sandbox": ("web", "sandbox"),
    "staging": ("web", "staging"),
    "prod_low": ("docs", "production"),
    "prod_full": ("web", "production"),
    "quiet_low": ("docs", "production"),
    "quiet_full": ("web", "production"),
}
"""Service and environment of the table's places. The quiet ones are those of a house where prod asks nobody."""

QUIET = """\
[environments.sandbox]
tier = "sandbox"
[environments.staging]
tier = "staging"
[environments.production]
tier = "prod"
approval = "never"
"""
"""The operator's file where prod asks nobody."""

CEILINGS = (Level.sandbox, Level.staging, Level.prod_low, Level.prod)
SCORES = (50, 100, 140, 170)
ROOMY: dict[str, Any] = {
    "toolsets": ["core", "observe", "alerts", "supervise", "places"],
    "channels": {"pager": {"kind": "file", "path": "/nowhere/pager.jsonl"}},
    "telling": {"wait_seconds": 0},
    "budgets": {"read": {}, "work": {}, "recovery": {}, "anonymous": {}, "everyone": {}},
    "rates": {name: {"per_minute": 1_000_000, "burst": 100_000} for name in ("read", "record", "change", "destroy")},
    "approvals": {"open_per_agent": 10_000, "answer_minutes": 600_000},
}
"""Settings with every toolset, under which neither a budget, a rate nor the cap on open requests decides a cell."""


class Answered:
    """What came back over the protocol: `word` is `done` or the problem's code."""

    def __init__(self, word: str, result: Mapping[str, Any], problem: Mapping[str, Any]) -> None:
        self.word, self.result, self.problem = word, result, problem


@dataclass
class Scene:
    """A server, one client whose credential a test may exchange, and the house behind them."""

    home: House
    client: McpClient
    credential: list[Credential]
    callers: dict[str, Credential]
    sent: int = 0
    disturbed: set[str] = field(default_factory=set[str])

    async def call(self, caller: str, tool: str, arguments: JsonObject) -> Answered:
        """One tools/call over MCP, a second after the last one, so that floods do not begin."""
        await self._restore(caller)
        self.home.advance(seconds=2)
        self.credential[0] = self.callers[caller]
        self.sent += 1
        try:
            answered = answer_of(await self.client.call_tool(tool, arguments))
        except MCPError as error:
            data: dict[str, Any] = error.data or {}
            answered = Answered(str(data[PROBLEM]["code"]), {}, data[PROBLEM])
        if answered.word in ("done", "not_permitted"):
            self.disturbed.add(caller)
        return answered

    async def _restore(self, caller: str) -> None:
        """A cell is about a score; what the cell before did to it is put right."""
        _, _, score = caller.partition("-")
        if caller in self.disturbed and score:
            await self.home.order(SetAgent(name=AgentName(_named(caller)), score=int(score), reason="the next cell"))
            self.disturbed.discard(caller)

    async def serve_two_releases(self, place: str) -> None:
        """An earlier healthy release, and a healthy one that serves."""
        for ref in ("next", "main"):
            await self.deploy(place, ref)

    async def deploy(self, place: str, ref: str = "main") -> Deployment:
        """Have `setter` deploy, with a person's approval where one is wanted."""
        service, environment = PLACES[place]
        self.home.advance(seconds=1)
        for _ in range(2):
            self.sent += 1
            outcome = await self.home.call(self.callers["setter"], "deploy", service=service, environment=environment, ref=ref)
            if not isinstance(outcome, NeedsApproval):
                assert isinstance(outcome, Done), outcome
                break
            await self.home.answer(outcome.approval.id)
        return await self.serving(place)

    async def origin(self, place: str) -> str:
        """Another environment, where the same service serves healthy, to be promoted from."""
        service, environment = PLACES[place]
        name = "staging" if environment == "sandbox" else "sandbox"
        if await self.home.app.deployments.serving(ServiceName(service), EnvironmentName(name)) is None:
            self.sent += 1
            outcome = await self.home.call(self.callers["setter"], "deploy", service=service, environment=name)
            assert isinstance(outcome, Done), outcome
        return name

    async def serving(self, place: str) -> Deployment:
        found = await self.home.app.deployments.serving(*_typed(place))
        assert found is not None
        return found

    async def fail(self, place: str) -> None:
        """What serves there is found to be failing, with another release that is healthy, and its exempt rollback to be had."""
        serving = await self.serving(place)

        def unit(tx: Transaction) -> None:
            for (id,) in tx.fetch("SELECT id FROM deployments WHERE service = ? AND environment = ?", *PLACES[place]):
                health = HealthVerdict.failing if id == serving.id else HealthVerdict.healthy
                deployments.change(tx, id, partial(_judged, health=health))

        await self.home.database.write(unit)

    async def start(self, place: str, *, owner: str) -> Deployment:
        """A deployment that stays on its way until something cancels it; `owner` is whose it is."""
        if await self.home.app.deployments.running(*_typed(place)) is None:
            finish, self.home.finish[:] = list(self.home.finish), []
            async with anyio.create_task_group() as group:
                group.start_soon(self.deploy, place)
                await self._running(place)
                group.cancel_scope.cancel()
            self.home.finish[:] = finish
        return await self._edit((await self._running(place)).id, lambda d: d.evolve(agent=owner))

    async def _running(self, place: str) -> Deployment:
        with anyio.fail_after(10):
            while (found := await self.home.app.deployments.running(*_typed(place))) is None:
                await anyio.sleep(0.005)
        return found

    async def _edit(self, id: str, edit: Any) -> Deployment:
        return await self.home.database.write(lambda tx: deployments.change(tx, id, edit))

    async def rule(self, place: str, name: str) -> None:
        """An alert rule of that name in the place's environment, unless there is one."""
        _, environment = PLACES[place]
        rule = Rule(name=name, environment=EnvironmentName(environment), expression="up == 0")

        def unit(tx: Transaction) -> None:
            if alerts.rule_in(tx, rule.environment, rule.name) is None:
                rules.put(tx, rule, by="setter", at=self.home.now[0])

        await self.home.database.write(unit)

    async def alert(self, place: str) -> str:
        """The id of an alert that fires for the place's service, as somebody outside reported it."""
        service, environment = PLACES[place]
        labels = (("alertname", "Outside"), ("environment", environment), ("service", service))
        at = self.home.now[0]
        reported = Alert(
            fingerprint=f"fp-{place}", name="Outside", environment=EnvironmentName(environment), service=service,
            severity=Severity.high, labels=labels, began_at=at, starts_at=at, source="elsewhere",
        )  # fmt: skip
        await self.home.database.write(lambda tx: alerts.receive(tx, [reported], at=at))
        found = await alerts.open_alerts(self.home.database)
        return next(life.id for life in found if life.alert.fingerprint == f"fp-{place}")

    async def task(self, place: str) -> str:
        """The id of a task that `setter` has open in the place's environment."""
        _, environment = PLACES[place]
        self.sent += 1
        opened = await self.home.call(
            self.callers["setter"], "checkpoint", environment=environment, name="Tidy up", action="began"
        )
        assert isinstance(opened, Done), opened
        return str(opened.result["task"])

    async def somebodys_request(self, place: str) -> str:
        """A request for approval that `setter` made for a place."""
        service, environment = PLACES[place]
        self.sent += 1
        asked = await self.home.call(self.callers["setter"], "deploy", service="web", environment="production", ref="next")
        assert isinstance(asked, NeedsApproval)
        stored = await stored_approval(self.home.database, asked.approval.id)
        assert stored is not None
        moved = stored.approval.evolve(
            id=ApprovalId(f"apr_{place.replace('_', '')}{service}00"), environment=EnvironmentName(environment)
        )
        await self.home.database.write(lambda tx: approvals.insert(tx, moved, asked.plan))
        return moved.id

    async def decisions(self) -> int:
        """How many requests the ledger says were decided: admitted, refused, repeated, and refused in floods."""
        calls: set[Json] = set()
        flooded = 0
        for record in await self.home.records():
            if record["kind"] in ("call.admitted", "call.refused", "call.repeated"):
                assert record["call"] not in calls, "one request was decided twice"
                calls.add(record["call"])
            elif record["kind"] == "call.refused_many":
                data = record["data"]
                assert isinstance(data, dict)
                flooded += int(str(data["refused"])) - int(str(data["of_which_recorded"]))
        waiting = await self.home.database.fetch("SELECT COALESCE(SUM(count - written), 0) FROM refusals")
        return len(calls) + flooded + int(waiting[0][0])


def answer_of(result: CallToolResult) -> Answered:
    if not result.is_error:
        return Answered("done", result.structured_content or {}, {})
    problem: dict[str, Any] = (result.meta or {})[PROBLEM]
    return Answered(str(problem["code"]), {}, problem)


@asynccontextmanager
async def scene(tmp_path: Path, *, environments: str = "", **settings: Any) -> AsyncGenerator[Scene]:
    """A house with the table's callers, and a client connected to a server of it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(environments, encoding="utf-8")
    async with house(tmp_path, **{**ROOMY, **settings}) as home:
        home.place = CapablePlace()
        furnish(home, {"memory": home.place})
        credential: list[Credential] = [NoToken()]
        server = build(partial(call, home.app), home.app.tools, door=lambda _ctx: (credential[0], Client(transport="memory")))
        callers = await _register(home)
        async with McpClient(server) as client:
            yield Scene(home, client, credential, callers)


async def _register(home: House) -> dict[str, Credential]:
    callers: dict[str, Credential] = {
        f"{ceiling.value}-{score}": await home.agent(_named(f"{ceiling.value}-{score}"), ceiling=ceiling, score=score)
        for ceiling in CEILINGS
        for score in SCORES
    }
    callers["setter"] = await home.agent("setter", ceiling=Level.prod, score=900)
    callers["killed"] = await home.agent("killed", ceiling=Level.prod, score=170)
    callers["revoked"] = await home.agent("revoked", ceiling=Level.prod, score=170)
    await home.order(Kill(agent=AgentName("killed"), reason="a test"))
    await home.order(RevokeAgent(name=AgentName("revoked"), reason="a test"))
    callers["stranger"] = Token(secret=Secret("opsmcp_nobody_" + "y" * 30))
    callers["anonymous"] = NoToken()
    callers["agent"] = callers["prod-170"]
    return callers


def _judged(deployment: Deployment, *, health: HealthVerdict) -> Deployment:
    return deployment.evolve(health=health, recovery_used=False)


def _named(caller: str) -> str:
    return caller.replace("_", "-")


def _typed(place: str) -> tuple[Any, Any]:
    return PLACES[place]


def ending(scene: Scene, state: DeploymentState) -> None:
    """How the stand-in for the worker ends what is open, from now on."""
    scene.home.finish[:] = [state]
