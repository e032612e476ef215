"""The simulated Railway as a stage for the contract that every place is held to (`tests/contracts`)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from ops_mcp.domain.places import Binding, HttpProbe
from ops_mcp.domain.releases import DeploymentId, Observed, Placement, ProbeResult
from ops_mcp.ports import Clock, Provider, Sleep
from sandbox.railway import houses
from sandbox.railway.world import Behaviour as Fate
from tests.contracts.stage import Behaviour, Fault
from tests.contracts.stage import bound as bound_for
from tests.providers.railway.house import House, house

DOWN_SECONDS, LIMITED_SECONDS = 120.0, 600.0
FATES = {
    Behaviour.good: Fate(build=20.0),
    Behaviour.broken: Fate(build=20.0, healthy=False),
    Behaviour.dies: Fate(build=20.0, fate="crashes", after=15.0),
}
NEW_WORDS = {word: f"{word[::-1]}ISH" for word in ("INITIALIZING", "BUILDING", "DEPLOYING", "SUCCESS", "REMOVED", "FAILED")}


@dataclass
class RailwayStage:
    """Everything is in one process, in a time that passes only when somebody waits."""

    here: House
    binding: Binding
    faults: frozenset[Fault] = frozenset(Fault)
    published: list[str] = field(default_factory=list[str])

    @property
    def provider(self) -> Provider:
        return self.here.provider

    @property
    def clock(self) -> Clock:
        return self.here.time.clock

    @property
    def sleep(self) -> Sleep:
        return self.here.time.sleep

    async def probe(self, placement: Placement, provider: Provider, observed: Observed) -> ProbeResult:
        """Asks what is served where the provider says that it answers."""
        wanted = placement.release.binding.health.probe
        assert isinstance(wanted, HttpProbe)
        if observed.url is None:
            return ProbeResult(healthy=False, at=self.clock(), evidence="it has no address to ask")
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(self.here.railway.app)) as client:
            answer = await client.get(observed.url + wanted.path)
        return ProbeResult(healthy=answer.status_code in wanted.status, at=self.clock(), evidence=f"HTTP {answer.status_code}")

    async def publish(self, behaviour: Behaviour) -> str:
        commit = f"{len(self.published) + 1:040x}"
        self.published.append(commit)
        self.here.railway.world.commits[commit] = FATES[behaviour]
        return commit

    async def live(self) -> str:
        self.here.railway.world.settle()
        active = self.here.railway.world.instances[houses.WEB, houses.STAGING].active
        found = self.here.railway.world.deployments.get(active or "")
        return found.content if found is not None and found.status == "SUCCESS" and not found.stopped else ""

    async def starts(self, content: str) -> int:
        return sum(1 for d in self.here.railway.world.deployments.values() if d.content == content)

    async def lose(self, deployment: DeploymentId, handle: str) -> None:
        found = self.here.there(handle)
        found.life += 1
        self.here.railway.world._enter(found, "REMOVED", instance="REMOVED")
        self.here.railway.world._inactive(found)

    @asynccontextmanager
    async def troubled(self, fault: Fault) -> AsyncGenerator[None]:
        railway = self.here.railway
        tokens, faults = dict(railway.world.tokens), railway.faults
        match fault:
            case Fault.down:
                faults.plan("disconnect", seconds=DOWN_SECONDS)
            case Fault.slow:
                faults.plan("timeout_after", times=4)
                faults.plan("timeout_before", on="DeploymentNow", times=2)
            case Fault.limited:
                faults.plan("429", seconds=LIMITED_SECONDS)
            case Fault.forbidden:
                railway.world.tokens.clear()
            case Fault.odd:
                railway.new_words, railway.new_fields = NEW_WORDS, True
        try:
            yield
        finally:
            faults.planned.clear()
            railway.world.tokens = tokens
            railway.new_words, railway.new_fields = {}, False


@asynccontextmanager
async def open_stage(root: Path) -> AsyncGenerator[RailwayStage]:
    here = house(root)
    here.time.pause = 0.001  # the database beside it works in a thread
    here.railway.world.any_commit = False
    here.railway.world.base_url = "http://127.0.0.1:1"
    options: dict[str, object] = {"project": houses.PROJECT, "environment_id": houses.STAGING, "service_id": houses.WEB}
    binding = bound_for("railway", options, verify_seconds=60, watch_seconds=120, interval_seconds=5)
    yield RailwayStage(here, binding)
    await here.provider.aclose()
