"""One place on trial: the real operations over a real database, with workers that can be killed between any two lines."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import anyio

from ops_mcp.deploying.plans import Asked, committed, deploy_plan, restart_plan, rollback_plan
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentId, Operation, OperationId, Plan
from ops_mcp.operations.parts import Parts, Patience, Reins
from ops_mcp.operations.run import run
from ops_mcp.ports import look
from ops_mcp.store import commitment, keys, leases, operations
from ops_mcp.store.chain import Signer
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.deployments import StoredDeployments
from tests.contracts.stage import Stage
from tests.operations.fakes import Settled, claim_of

T = TypeVar("T")
SECONDS = 60.0


class Killed(BaseException):
    """The worker is gone, in the middle of what it did."""


class MortalDatabase(Database):
    """Kills whoever wrote the line `at` of the journal, once, right after it is durable."""

    at: str = ""
    lines: list[str]

    async def write(self, unit: Callable[[Transaction], T], *, vital: bool = False) -> T:
        value = await super().write(unit, vital=vital)
        if self.at:
            rows = await self.fetch("SELECT step, event FROM steps ORDER BY rowid DESC LIMIT 1")
            if rows and f"{rows[0][0]} {rows[0][1]}" == self.at:
                self.at = ""
                raise Killed
        return value


@dataclass
class Trial:
    """The stage with everything around it."""

    stage: Stage
    database: MortalDatabase
    parts: Parts
    settled: Settled = field(default_factory=Settled)
    numbers: int = 0
    mark: str = field(default_factory=lambda: uuid4().hex[:12])

    @property
    def stored(self) -> StoredDeployments:
        return StoredDeployments(self.database)

    async def deploy(self, ref: str) -> Operation:
        content = await self.stage.provider.resolve(self.stage.binding, ref)
        plan = deploy_plan(self._asked("deploy"), content=content, binding=self.stage.binding, place=await self._place())
        return await self.commit(plan)

    async def rollback(self) -> Operation:
        return await self.commit(rollback_plan(self._asked("rollback"), binding=self.stage.binding, place=await self._place()))

    async def restart(self) -> Operation:
        return await self.commit(restart_plan(self._asked("restart"), place=await self._place(), binding=self.stage.binding))

    async def commit(self, plan: Plan) -> Operation:
        self.numbers += 1
        # Real engines outlive a trial and serve several at once, so no two trials may use the same id.
        ids = OperationId(f"op_{self.numbers}"), DeploymentId(f"dep_{self.mark}{self.numbers:04d}")
        call, at = f"call_{self.numbers}", self.stage.clock()

        def unit(tx: Transaction) -> None:
            commitment.recheck(tx, plan)
            commitment.begin(tx, plan, operation=ids[0], deployment=ids[1], call=call, reason="", at=at)

        await self.database.write(unit)
        return committed(plan, operation=ids[0], deployment=ids[1], call=call, reason="", at=at)[0]

    async def finish(self, operation: Operation) -> str:
        """Run it to its end; its final state."""
        with anyio.fail_after(SECONDS):
            return (await run(operation, self.parts)).state.value

    async def deployed(self, ref: str) -> str:
        """Deploy it to a healthy end."""
        operation = await self.deploy(ref)
        state = await self.finish(operation)
        assert state == "healthy", (state, (await self.get(operation)).detail)
        return operation.deployment

    async def killed_at(self, line: str, operation: Operation) -> bool:
        """Run it until the worker is killed at this line of the journal; whether it came to that."""
        self.database.at = line
        try:
            await self.finish(operation)
        except Killed:
            await self.next_worker()
            return True
        return False

    async def next_worker(self) -> None:
        at = self.stage.clock()
        lease = await self.database.write(
            lambda tx: leases.take(tx, claim_of("next"), at=at, seconds=36_000, dead_fence=self.parts.fence)
        )
        self.parts = replace(self.parts, fence=lease.fence, reins=Reins())

    async def get(self, operation: Operation) -> Deployment:
        found = await self.stored.get(operation.deployment)
        assert found is not None
        return found

    async def cancel(self, operation: Operation) -> None:
        at = self.stage.clock()
        await self.database.write(lambda tx: operations.request_cancel(tx, operation.deployment, by="ada", at=at))

    async def reaches(self, operation: Operation, state: str) -> None:
        """Wait until the deployment is in this state."""
        with anyio.fail_after(SECONDS):
            while (await self.get(operation)).state.value != state:
                await anyio.sleep(0.01)

    def _asked(self, tool: str) -> Asked:
        return Asked(tool=tool, agent="ada", arguments={"service": self.stage.binding.service})

    async def _place(self):
        binding = self.stage.binding
        return await look(self.stored, ServiceName(binding.service), EnvironmentName(binding.environment))


@asynccontextmanager
async def on_trial(stage: Stage, directory: Path) -> AsyncGenerator[Trial]:
    def signer(connection: sqlite3.Connection) -> Signer:
        return keys.ledger_signer(connection, directory / "ledger.key", new_ledger_id="led_test")

    async with MortalDatabase.open(directory / "ops.db", signer=signer) as database:
        assert isinstance(database, MortalDatabase)
        at, settled = stage.clock(), Settled()
        lease = await database.write(lambda tx: leases.take(tx, claim_of("first"), at=at, seconds=36_000))
        await database.write(
            lambda tx: tx.execute(
                "INSERT INTO agents (name, owner, ceiling, score, reputation, token_hash, created_at)"
                " VALUES ('ada', 'olga', 'staging', 100, 1, 'hash', ?)",
                at.isoformat(),
            )
        )
        parts = Parts(
            database=database,
            providers={stage.provider.kind: stage.provider},
            probe=stage.probe,
            settle=settled,
            clock=stage.clock,
            sleep=stage.sleep,
            fence=lease.fence,
            reins=Reins(),
            patience=Patience(tick_seconds=0.1, verify_every_seconds=0.2, look_seconds=20),
        )
        yield Trial(stage, database, parts, settled)
