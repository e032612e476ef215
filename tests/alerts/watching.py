"""A worker that evaluates when a test says so, in a house with a real database and real samples."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_mcp.domain.identity import Credential, Token
from ops_mcp.domain.outcomes import Done
from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation
from ops_mcp.operations.evaluate import AlertRounds
from ops_mcp.operations.loop import Rhythm
from ops_mcp.operations.parts import Reins
from ops_mcp.rounds import alert_rounds
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from ops_mcp.values import Secret
from ops_mcp.worker import claim_of, desk_of
from tests.house import House, house

CHANNEL = {"pager": {"kind": "file", "path": "pager.jsonl"}}


@dataclass
class Watched:
    """The house, an agent of it, and the worker's rounds; a new `worker` knows nothing but what is stored."""

    home: House
    agent: Credential
    rounds: AlertRounds

    async def done(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a call that succeeds."""
        outcome = await self.home.call(self.agent, tool, **arguments)
        assert isinstance(outcome, Done), outcome
        return outcome.result

    async def refused(self, tool: str, **arguments: Any) -> tuple[str, str]:
        """Code and message of a call that does not succeed."""
        outcome = await self.home.call(self.agent, tool, **arguments)
        assert not isinstance(outcome, Done), outcome
        return outcome.problem.code.value, f"{outcome.problem.message} {outcome.problem.hint}"

    async def rule(self, name: str = "High", expression: str = "queue_depth > 5", **fields: Any) -> dict[str, Any]:
        """Set a rule in staging."""
        return await self.done("alert_rule_set", **{"name": name, "environment": "staging", "expression": expression, **fields})

    async def sample(self, value: float, name: str = "queue_depth", **labels: str) -> None:
        """Record one sample now."""
        labels = {"service": "web", "environment": "staging", **labels}
        at_ms = round(self.home.now[0].timestamp() * 1000)
        await self.home.app.sights.metrics.keep([Observation(labels_of(labels, name=name), at_ms, value)])

    async def round(self, value: float | None = None, *, seconds: float = 15, **labels: str) -> list[dict[str, Any]]:
        """Let an interval pass, record a sample if there is one, and evaluate; the open alerts after it."""
        self.home.advance(seconds=seconds)
        self.home.advance(seconds=-self.home.now[0].timestamp() % 15)
        if value is not None:
            await self.sample(value, **labels)
        await self.rounds.evaluate()
        return await self.open()

    async def open(self) -> list[dict[str, Any]]:
        return (await self.done("alerts"))["alerts"]

    async def states(self) -> list[str]:
        return [one["state"] for one in await self.open()]

    async def history(self, id: str) -> list[str]:
        """The events of one alert."""
        (found,) = (await self.done("alerts", id=id))["alerts"]
        return [f"{one['event']} by {one['actor']}" for one in found["history"]]

    async def told(self) -> list[dict[str, Any]]:
        """What the outbox holds, oldest first."""
        rows = await self.home.database.fetch("SELECT body FROM outbox ORDER BY position")
        return [json.loads(row[0]) for row in rows]

    async def worker(self) -> None:
        """Another worker takes over."""
        self.rounds = await rounds_of(self.home)


@asynccontextmanager
async def watched(tmp_path: Path, **settings: Any) -> AsyncGenerator[Watched]:
    """A house in which a worker holds the lease. Its clock stands at the beginning of an interval."""
    async with house(tmp_path, **{"channels": CHANNEL, **settings}) as home:
        is_new = not await home.count("agents")
        agent = await home.agent() if is_new else Token(secret=Secret(f"opsmcp_ada_{'x' * 30}"))
        yield Watched(home, agent, await rounds_of(home))


async def rounds_of(home: House) -> AlertRounds:
    """The rounds of a worker that has just taken the lease, whoever had it."""

    def take(tx: Transaction) -> int:
        held = leases.read(tx)
        claim = claim_of(home.config)
        return leases.take(tx, claim, at=home.now[0], seconds=3600, dead_fence=held.fence if held else None).fence

    fence = await home.database.write(take)
    return alert_rounds(home.opened, desk_of(home.opened, Rhythm()).parts(fence, Reins()))
