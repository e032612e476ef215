"""One server process of an agent that was granted a change: uses the grant many times at once, or is held just before its commit.

`python -m tests.races.grantee race FOLDER TIMES`  or  `python -m tests.races.grantee held FOLDER FIFO`
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from ops_mcp.app import World
from ops_mcp.domain.identity import Token
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentState
from ops_mcp.values import Secret
from tests.house import House, MemoryPlace, house

PATIENT = {"rates": {"change": {"per_minute": 100_000, "burst": 1000}}, "budgets": {"work": {}}}
ADA = Token(secret=Secret(f"opsmcp_ada_{'x' * 30}"))


@dataclass
class HeldPlace(MemoryPlace):
    """Resolves a ref as soon as somebody writes to the fifo."""

    fifo: Path = Path()

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        print("held", flush=True)  # noqa: T201  the test waits for it
        await anyio.to_thread.run_sync(self.fifo.read_bytes)
        return await super().resolve(binding, ref)


async def race(folder: Path, times: int) -> None:
    """Deploy `times` times at once, with releases that end as they began: the plan stays the same, only the grant is spent."""
    came: Counter[str] = Counter()
    async with house(folder, **PATIENT) as home:
        home.finish[:] = [DeploymentState.down]
        print("ready", flush=True)  # noqa: T201  the test starts everybody together
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as group:
            for _ in range(times):
                group.start_soon(_use, home, came)
    print(json.dumps(came), flush=True)  # noqa: T201


async def held(folder: Path, fifo: Path) -> None:
    """Use the grant, as far as the fifo lets it."""
    async with house(folder, **PATIENT) as home:
        home.app = replace(home.app, world=lambda: World(home.config, {"memory": HeldPlace(fifo=fifo)}))
        await _use(home, Counter())


async def _use(home: House, came: Counter[str]) -> None:
    outcome = await home.call(ADA, "deploy", service="web", environment="production")
    came["done" if isinstance(outcome, Done) else outcome.problem.code.value] += 1


if __name__ == "__main__":
    if sys.argv[1] == "race":
        anyio.run(race, Path(sys.argv[2]), int(sys.argv[3]))
    else:
        anyio.run(held, Path(sys.argv[2]), Path(sys.argv[3]))
