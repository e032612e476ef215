"""A place made of memory, time that passes only when somebody waits, and a database with one worker's lease."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from ops_mcp.deploying.plans import Asked, Place, committed, deploy_plan, restart_plan, rollback_plan
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentId,
    Observed,
    Operation,
    OperationId,
    Placement,
    Plan,
    Presence,
    ProbeResult,
)
from ops_mcp.errors import OpsError
from ops_mcp.operations.parts import Parts, Patience, Reins
from ops_mcp.ports import Provider, Tell
from ops_mcp.store import commitment, keys, leases, operations
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.deployments import StoredDeployments
from tests import databases

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
SERVICE, ENVIRONMENT = ServiceName("web"), EnvironmentName("staging")
BINDING = Binding.model_validate(
    {
        "service": SERVICE,
        "environment": ENVIRONMENT,
        "provider": "fake",
        "health": {"verify_seconds": 20, "watch_seconds": 60, "interval_seconds": 5, "successes": 2, "failures": 2},
    }
)


class VirtualTime:
    """A clock that moves only when somebody sleeps on it: to the moment that the earliest sleeper waits for."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self.at: list[tuple[datetime, Callable[[], object]]] = []
        self._due: list[datetime] = []

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and with it whatever was to happen meanwhile."""
        due = self.now + timedelta(seconds=seconds)
        self._due.append(due)
        try:
            while self.now < due:
                await anyio.sleep(0.001)  # others may wake earlier, or still be at work
                self.now = max(self.now, min(self._due))
        finally:
            self._due.remove(due)
        await self._happen()

    async def _happen(self) -> None:
        for when, act in [due for due in self.at if due[0] <= self.now]:
            self.at.remove((when, act))
            done = act()
            if isinstance(done, Awaitable):
                await done

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Have `act` happen once that much time has passed."""
        self.at.append((self.now + timedelta(seconds=seconds), act))


async def unheard(doing: str, *, handle: str = "") -> None:
    """Nobody is told."""


@dataclass
class Process:
    deployment: DeploymentId
    content: str
    started: datetime
    ended: bool = False
    exit_code: int | None = None
    answers: bool = True


@dataclass
class FakeProvider:
    """Runs releases in memory. How a release behaves is looked up by its content: `broken` answers 500, `breaks` does so after
    30 s, `slow` is ready after 12 s, `dead` has exited by the first look, `hangs` never returns from its release. `effects` lists
    every real start and end, in order."""

    time: VirtualTime
    kind: str = "fake"
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    effects: list[str] = field(default_factory=list[str])
    failures: dict[str, list[OpsError]] = field(default_factory=dict[str, list[OpsError]])
    dies_after: dict[str, float] = field(default_factory=dict[str, float])
    blind: bool = False
    squatted: str = ""
    crashes: bool = False
    unwell: bool = False

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        return Content(identity=ref or "v1", ref=ref or "")

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        self._fail("deploy")
        if self.crashes:
            raise ZeroDivisionError
        if placement.release.content.identity == "hangs":
            await anyio.sleep_forever()
        return self._put(placement, replaces)

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        self._fail("rollback")
        return self._put(placement, ends)

    async def restart(self, placement: Placement) -> Observed:
        self._fail("restart")
        self._end(placement.deployment)
        return self._put(placement, None)

    async def status(self, placement: Placement) -> Observed:
        self._fail("status")
        if self.blind:
            return Observed(deployment=placement.deployment, presence=Presence.unknown, detail="the place cannot be reached")
        return self._observed(placement.deployment)

    async def stop(self, placement: Placement) -> Observed:
        self._fail("stop")
        self._end(placement.deployment)
        return self._observed(placement.deployment)

    async def probe(self, placement: Placement, provider: Provider, observed: Observed) -> ProbeResult:
        content = placement.release.content.identity
        healthy = content not in {"broken", "breaks"} or (
            content == "breaks" and self.time.now - self.processes[observed.deployment].started < timedelta(seconds=30)
        )
        age = self.time.now - self.processes[observed.deployment].started
        healthy = healthy and not self.unwell and not (content == "slow" and age < timedelta(seconds=12))
        return ProbeResult(healthy=healthy, at=self.time.now, evidence="HTTP 200" if healthy else "HTTP 500")

    @property
    def running(self) -> list[str]:
        return [p.content for p in self.processes.values() if self._observed(p.deployment).presence is Presence.running]

    def _put(self, placement: Placement, ends: Placement | None) -> Observed:
        deployment, content = placement.deployment, placement.release.content.identity
        if self._observed(deployment).presence is not Presence.running:
            if ends is not None and ends.deployment != deployment:
                self._end(ends.deployment)
            self.effects.append(f"start {deployment} {content}")
            self.processes[deployment] = Process(deployment, content, self.time.now, answers=content != self.squatted)
        return self._observed(deployment)

    def _end(self, deployment: DeploymentId) -> None:
        process = self.processes.get(deployment)
        if process is not None and not process.ended:
            process.ended = True
            self.effects.append(f"end {deployment}")

    def _observed(self, deployment: DeploymentId) -> Observed:
        process = self.processes.get(deployment)
        if process is None:
            return Observed(deployment=deployment, presence=Presence.absent)
        age = (self.time.now - process.started).total_seconds()
        if process.ended or process.content == "dead" or age >= self.dies_after.get(process.content, 1e9):
            return Observed(deployment=deployment, presence=Presence.exited, exit_code=3, answers=False)
        return Observed(
            deployment=deployment,
            presence=Presence.running,
            answers=process.answers,
            since=process.started,
            url="http://127.0.0.1:8000",
        )

    def _fail(self, what: str) -> None:
        left = self.failures.get(what)
        if left:
            raise left.pop(0)


@dataclass
class Settled:
    """What was settled, in order: one entry for each operation that ended."""

    states: list[str] = field(default_factory=list[str])

    def __call__(self, tx: Transaction, operation: Operation, deployment: Deployment, *, at: datetime) -> None:
        assert operation.final
        self.states.append(f"{deployment.id} {deployment.state}")


@dataclass
class World:
    """One database, one place, one worker's parts; commits plans the way the call path does."""

    database: Database
    time: VirtualTime
    provider: FakeProvider
    settled: Settled
    parts: Parts
    numbers: int = 0

    @property
    def stored(self) -> StoredDeployments:
        return StoredDeployments(self.database)

    async def deploy(self, content: str, *, binding: Binding = BINDING, agent: str = "ada") -> Operation:
        plan = deploy_plan(
            self._asked("deploy", agent), content=Content(identity=content), binding=binding, place=await self.place()
        )
        return await self.commit(plan)

    async def rollback(self, *, agent: str = "ada") -> Operation:
        return await self.commit(rollback_plan(self._asked("rollback", agent), binding=BINDING, place=await self.place()))

    async def restart(self) -> Operation:
        return await self.commit(restart_plan(self._asked("restart", "ada"), binding=BINDING, place=await self.place()))

    async def commit(self, plan: Plan) -> Operation:
        self.numbers += 1
        number, at = self.numbers, self.time.now
        operation, deployment = OperationId(f"op_{number}"), DeploymentId(f"dep_{number}")

        def unit(tx: Transaction) -> None:
            commitment.recheck(tx, plan)
            commitment.begin(tx, plan, operation=operation, deployment=deployment, call=f"call_{number}", reason="", at=at)

        await self.database.write(unit)
        return committed(plan, operation=operation, deployment=deployment, call=f"call_{number}", reason="", at=at)[0]

    async def get(self, deployment: str) -> Deployment:
        found = await self.stored.get(DeploymentId(deployment))
        assert found is not None
        return found

    async def state(self, deployment: str) -> str:
        return (await self.get(deployment)).state.value

    async def serving(self) -> str | None:
        found = await self.stored.serving(SERVICE, ENVIRONMENT)
        return found.id if found else None

    async def locked_by(self) -> list[str]:
        return [row[0] for row in await self.database.fetch("SELECT deployment FROM locks")]

    async def lines(self, deployment: str) -> list[str]:
        return [f"{s.step} {s.event}" for s in await self.stored.steps(DeploymentId(deployment))]

    async def cancel(self, deployment: str) -> None:
        await self.database.write(lambda tx: operations.request_cancel(tx, deployment, by="ada", at=self.time.now))

    async def freeze(self) -> None:
        await self.database.write(
            lambda tx: tx.execute(
                "INSERT INTO freezes (environment, reason, by_whom, since) VALUES (?, 'holiday', 'olga', ?)",
                ENVIRONMENT,
                START.isoformat(),
            )
        )

    async def kill(self, agent: str = "ada") -> None:
        await self.database.write(lambda tx: tx.execute("UPDATE agents SET killed = 1 WHERE name = ?", agent))

    def at_next_worker(self, fence: int) -> "World":
        """The same world as another worker sees it."""
        parts = replace(self.parts, fence=fence, reins=Reins())
        return World(self.database, self.time, self.provider, self.settled, parts, self.numbers)

    async def take_lease(self, holder: str = "other", *, dead_fence: int | None = None) -> int:
        claim = claim_of(holder)
        lease = await self.database.write(
            lambda tx: leases.take(tx, claim, at=self.time.now, seconds=3600, dead_fence=dead_fence)
        )
        return lease.fence

    def _asked(self, tool: str, agent: str) -> Asked:
        return Asked(tool=tool, agent=agent, arguments={"service": SERVICE})

    async def place(self) -> Place:
        serving = await self.stored.serving(SERVICE, ENVIRONMENT)
        running = await self.stored.running(SERVICE, ENVIRONMENT)
        current = running or serving
        healthy = await self.stored.last_healthy(SERVICE, ENVIRONMENT, other_than=current.id if current else None)
        return Place(serving, healthy, running)


def claim_of(holder: str, *, version: str = "0.1.0", state_dir: str = "state") -> leases.Claim:
    ground = leases.Ground(config_dir="config", state_dir=state_dir, database="ops.db")
    return leases.Claim(holder=holder, version=version, schema_version=1, ground=ground)


@asynccontextmanager
async def open_database(directory: Path) -> AsyncGenerator[Database]:
    key = directory / "ledger.key"
    place = databases.place(directory, key)
    async with Database.open(place, signer=keys.signer_at(place, key, new_ledger_id=lambda: "led_test")) as database:
        yield database


@asynccontextmanager
async def open_world(directory: Path, *, patience: Patience | None = None) -> AsyncGenerator[World]:
    async with open_database(directory) as database:
        time = VirtualTime()
        provider, settled = FakeProvider(time), Settled()
        lease = await database.write(lambda tx: leases.take(tx, claim_of("first"), at=time.now, seconds=3600))
        await database.write(
            lambda tx: tx.execute(
                "INSERT INTO agents (name, owner, ceiling, score, reputation, token_hash, created_at)"
                " VALUES ('ada', 'olga', 'staging', 100, 1, 'hash', ?)",
                START.isoformat(),
            )
        )
        parts = Parts(
            database=database,
            providers={"fake": provider},
            probe=provider.probe,
            settle=settled,
            clock=time.clock,
            sleep=time.sleep,
            fence=lease.fence,
            reins=Reins(),
            patience=patience or Patience(release_seconds=30, undo_seconds=5, look_seconds=5),
        )
        yield World(database, time, provider, settled, parts)
