"""A whole installation in a folder: a real database and ledger, a clock that tests move, a place made of memory, an operator."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ops_mcp import startup
from ops_mcp.app import App, World
from ops_mcp.call import call
from ops_mcp.config import Config, Settings, load
from ops_mcp.domain.addresses import Address
from ops_mcp.domain.identity import AgentName, Client, Credential, Level, NoToken, OperatorName, Token
from ops_mcp.domain.outcomes import Outcome
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentState,
    HealthVerdict,
    Observed,
    Placement,
    Presence,
)
from ops_mcp.governance.approvals import Decision, message
from ops_mcp.governance.load import Reading
from ops_mcp.operator.acts import Terms, carry_out
from ops_mcp.operator.verbs import AddAgent, AddOperator, Approve, Deny, SetAgent, Signed, Verb
from ops_mcp.operator.verbs import message as verb_message
from ops_mcp.ports import Tell
from ops_mcp.store import deployments, keys, operations
from ops_mcp.store.ahead import Sync, by_the_kernel
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.people import stored_approval, token_hash
from ops_mcp.store.settlement import settle_operation
from ops_mcp.values import Json, JsonObject, Secret
from tests import databases

START = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)


@dataclass
class MemoryPlace:
    """A provider whose refs are a dictionary. Nothing runs; it says what it was asked."""

    kind: str = "memory"
    refs: dict[str, str] = field(default_factory=lambda: {"main": "a" * 40, "next": "b" * 40})
    asked: list[str] = field(default_factory=list[str])

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        self.asked.append(f"resolve {ref}")
        return Content(identity=self.refs[ref or "main"], ref=ref or "main", summary="A commit")

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        self.asked.append(f"deploy {placement.deployment}")
        return Observed(deployment=placement.deployment, presence=Presence.running)

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        self.asked.append(f"rollback {placement.deployment}")
        return Observed(deployment=placement.deployment, presence=Presence.running)

    async def status(self, placement: Placement) -> Observed:
        return Observed(deployment=placement.deployment, presence=Presence.running)

    async def stop(self, placement: Placement) -> Observed:
        return Observed(deployment=placement.deployment, presence=Presence.absent)

    async def restart(self, placement: Placement) -> Observed:
        return Observed(deployment=placement.deployment, presence=Presence.running)


@dataclass
class House:
    """What a test works with. `opened` is the real one; only the provider, the clock and the worker are the test's."""

    opened: startup.Opened
    place: MemoryPlace
    operator_key: SigningKey
    now: list[datetime]
    finish: list[DeploymentState]
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def app(self) -> App:
        return self.opened.app

    @app.setter
    def app(self, app: App) -> None:
        self.opened = replace(self.opened, app=app)

    def beside(self, app: App) -> "House":
        """The same house, entered through another app."""
        return replace(self, opened=replace(self.opened, app=app))

    @property
    def config(self) -> Config:
        return self.opened.config

    @property
    def database(self) -> Database:
        return self.opened.database

    def advance(self, **by: float) -> None:
        """Let time pass."""
        self.now[0] += timedelta(**by)

    async def agent(self, name: str = "ada", ceiling: Level = Level.staging, score: int = 100) -> Credential:
        """Register an agent and hand out its credential."""
        token = f"opsmcp_{name}_{'x' * 30}"
        await self.order(
            AddAgent(name=AgentName(name), owner=OperatorName("olga"), ceiling=ceiling, token_hash=token_hash(token))
        )
        if score != 100:
            await self.order(SetAgent(name=AgentName(name), score=score, reason="a test"))
        return Token(secret=Secret(token))

    async def call(self, credential: Credential, tool: str, **arguments: Json) -> Outcome:
        return await call(self.app, credential, Client(), tool, dict(arguments))

    async def order(self, verb: Verb, *, by: str = "olga", key: SigningKey | None = None) -> None:
        """Have an operator's verb carried out."""
        at = self.now[0]
        signature = keys.operator_signature(key or self.operator_key, verb_message(verb, by=OperatorName(by), at=at))
        signed = Signed(verb=verb, by=OperatorName(by), at=at, signature=signature)
        terms = Terms(environments=self.config.environments, approvals=self.config.settings.approvals, boundary=False)
        await self.database.write(carry_out(signed, terms=terms, now=at))

    async def answer(self, approval: str, decision: Decision = Decision.approve, *, by: str = "olga", run: bool = False) -> None:
        """Answer a request for approval as an operator does."""
        stored = await stored_approval(self.database, approval)
        assert stored is not None
        said = message(stored.approval, decision, operator=OperatorName(by), at=self.now[0])
        signature = keys.operator_signature(self.operator_key, said)
        digest = stored.approval.plan_digest
        if decision is Decision.approve:
            await self.order(Approve(approval=stored.approval.id, plan_digest=digest, answer=signature, run=run), by=by)
        else:
            await self.order(Deny(approval=stored.approval.id, plan_digest=digest, answer=signature), by=by)

    async def records(self, kind: str | None = None) -> list[JsonObject]:
        """The ledger's bodies, oldest first."""
        import json

        await self.database.write(lambda _: None)
        rows = await self.database.fetch("SELECT body FROM ledger ORDER BY id")
        bodies = [json.loads(row[0]) for row in rows]
        return [body for body in bodies if kind is None or body["kind"] == kind]

    async def count(self, table: str) -> int:
        await self.database.write(lambda _: None)
        return int((await self.database.fetch(f"SELECT COUNT(*) FROM {table}"))[0][0])  # a test's own word


@asynccontextmanager
async def house(
    tmp_path: Path,
    *,
    place: MemoryPlace | None = None,
    reading: Callable[[datetime], Reading] | None = None,
    sync: Callable[[], Sync | None] = by_the_kernel,
    **settings: Any,
) -> AsyncGenerator[House]:
    """Open one, or one that is there again (then its operator's key is lost). `settings` are those of config.toml.

    `reading` is what this host is read to be loaded with, which concerns only a `place` that says it runs here.
    """
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    bindings = tuple(
        Binding.model_validate(
            {"service": service, "environment": environment, "provider": "memory", "risk": risk, "options": {"source": source}}
        )
        for service, risk, source in (("web", "full", "repo"), ("docs", "low", "repo"), ("hello", "full", "sample"))
        for environment in ("sandbox", "staging", "production")
    )
    settled = Settings.model_validate(settings) if settings else Settings()
    where = databases.place(config.state_dir, keys.ledger_key_path(config.state_dir))
    config = config.evolve(bindings=bindings, settings=settled, address=where if isinstance(where, Address) else None)
    now, place, finish = [START], place or MemoryPlace(), [DeploymentState.healthy]

    async def read_host() -> Reading:
        return reading(now[0]) if reading else Reading(now[0], 1.0, 1.0, 1.0)

    pending: list[Database] = []
    async with startup.open_app(
        config,
        wake_worker=lambda: _work_soon(pending[0], now, finish),
        clock=lambda: now[0],
        look_seconds=0,
        world=lambda: World(config, {"memory": place}),
        read_host=read_host,
        sync=sync,
    ) as opened:
        pending.append(opened.database)
        key = SigningKey.generate()
        home = House(opened, place, key, now, finish)
        if not await home.count("operators"):
            await home.order(AddOperator(name=OperatorName("olga"), public_key=key.public, protected=False))
        yield home


def _work_soon(database: Database, now: list[datetime], finish: list[DeploymentState]) -> None:
    """Stand in for the worker: end every open operation in the state the test wants, in the next batch."""
    if finish:
        database.write_later(lambda tx: _end_all(tx, now[0], finish[0]))


def _end_all(tx: Transaction, at: datetime, state: DeploymentState) -> None:
    rows = tx.fetch("SELECT deployment FROM operations WHERE final = 0")
    for (name,) in rows:
        operation = operations.operation_of_deployment(tx, name)
        assert operation is not None
        ended = deployments.change(tx, name, lambda d: _ended(d, state, at))
        if state is DeploymentState.healthy:
            ended = deployments.serve(tx, ended)
        operations.finish(tx, operation)
        settle_operation(tx, operation, ended, at=at)


def _ended(deployment: Deployment, state: DeploymentState, at: datetime) -> Deployment:
    if state is DeploymentState.healthy:
        return deployment.evolve(state=state, health=HealthVerdict.healthy, verified_at=at, finished_at=at)
    return deployment.evolve(state=state, health=HealthVerdict.failing, finished_at=at)


NOBODY = NoToken()
