"""An ops-mcp installation to measure: the shipped configuration, with limits that a benchmark does not run into.

Budgets, rates, policy, redaction, chain and signature are all in force; only their numbers are larger.
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from bench.rpc import RawServer, running
from sandbox import history
from sandbox.world import World, command, free_port

PLENTY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class House:
    """A prepared installation with one agent."""

    world: World
    token: str

    @property
    def environment(self) -> dict[str, str]:
        return self.world.environment | {"OPS_MCP_TOKEN": self.token}

    @asynccontextmanager
    async def server(self) -> AsyncIterator[RawServer]:
        """`ops-mcp` over stdio as an agent's client starts it."""
        async with running(command(), self.environment) as server:
            yield server

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[RawServer]:
        """The baseline server, answering what this house answers."""
        reply = self.world.home / "reply.json"
        if not reply.exists():
            async with self.server() as server:
                answer = (await server.call())["result"]
            if answer.get("isError"):
                raise RuntimeError(f"the measured tool does not answer: {answer}")
            reply.write_text(json.dumps(answer["structuredContent"]), encoding="utf-8")
        argv = [sys.executable, str(Path(__file__).with_name("bare.py")), str(reply)]
        async with running(argv, self.world.environment) as server:
            yield server


@contextmanager
def house(*, port: int | None = None) -> Iterator[House]:
    """Make a house, and end everything that ran in it."""
    world = World()
    try:
        _configure(world, port or free_port())
        world.must("init", "--operator", "olivia", "--no-passphrase")
        added = world.must("agent", "add", "measured", "--tier", "staging", "--json")
        yield House(world, added.data["token"])
    finally:
        world.close()


def _configure(world: World, port: int) -> None:
    """One service, bound in two environments."""
    limits = {f"{currency}_per_{span}": PLENTY for currency in ("calls", "tokens", "usd_micros") for span in ("hour", "day")}
    settings = {
        "budgets": dict.fromkeys(("read", "work", "recovery", "anonymous", "everyone"), limits),
        "rates": {effect: {"per_minute": float(PLENTY), "burst": PLENTY} for effect in ("read", "record", "change")},
        "http": {"port": port},
        "worker": "external",
        "guard": {"enabled": False},  # a machine that is being measured is loaded
    }
    history.make(world.home / "webshop")
    (world.config / "services").mkdir(parents=True)
    (world.config / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    binding = {
        "provider": "local",
        "options": {"source": str(world.home / "webshop"), "run": ["{python}", "app.py"], "port": free_port()},
    }
    (world.config / "services" / "webshop.toml").write_text(
        tomli_w.dumps({"sandbox": binding, "staging": binding}), encoding="utf-8"
    )
