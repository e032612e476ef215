"""Vercel as the simulator plays it: production of one project, in a time that passes only while somebody waits."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ops_mcp.domain.places import Binding, HttpProbe
from ops_mcp.domain.releases import DeploymentId, Observed, Placement, ProbeResult
from ops_mcp.ports import Clock, Provider, Sleep
from sandbox.vercel.inprocess import InProcess
from sandbox.vercel.world import Outcome
from tests.contracts.stage import Behaviour, Fault, bound
from tests.providers.vercel.scene import Scene, scene

DOWN_SECONDS, LIMITED_SECONDS = 120.0, 600.0
OUTCOMES = {
    Behaviour.good: Outcome(),
    Behaviour.broken: Outcome(site="errors"),
    Behaviour.dies: Outcome(site="breaks", breaks_after=20.0),
}


class Odd:
    """Between the provider and the simulator: while `on`, states are called what nobody has ever called them."""

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner
        self.on = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            if self.on and message["type"] == "http.response.body":
                body = message.get("body", b"")
                for word in (b"QUEUED", b"INITIALIZING", b"BUILDING", b"READY"):
                    body = body.replace(b'"' + word + b'"', b'"' + word[::-1] + b'"')
                message = {**message, "body": body}
            await send(message)

        await self.inner(scope, receive, changed)


@dataclass
class VercelStage:
    here: Scene
    odd: Odd
    binding: Binding
    faults: frozenset[Fault] = frozenset(Fault)
    published: list[str] = field(default_factory=list[str])

    @property
    def provider(self) -> Provider:
        return self.here.vercel

    @property
    def clock(self) -> Clock:
        return self.here.hours.clock

    @property
    def sleep(self) -> Sleep:
        return self.here.hours.sleep

    async def probe(self, placement: Placement, provider: Provider, observed: Observed) -> ProbeResult:
        """Asks the site that the simulator serves where the provider says that it answers."""
        wanted = placement.release.binding.health.probe
        assert isinstance(wanted, HttpProbe)
        if observed.url is None:
            return ProbeResult(healthy=False, at=self.clock(), evidence="it has no address to ask")
        async with httpx2.AsyncClient(transport=InProcess(self.here.simulator)) as client:
            answer = await client.get(observed.url + wanted.path)
        return ProbeResult(healthy=answer.status_code in wanted.status, at=self.clock(), evidence=f"HTTP {answer.status_code}")

    async def publish(self, behaviour: Behaviour) -> str:
        commit = f"{len(self.published) + 1:040x}"
        self.published.append(commit)
        self.here.world.outcomes[commit] = OUTCOMES[behaviour]
        return commit

    async def live(self) -> str:
        self.here.world.advance()
        found = self.here.world.deployments.get(self.here.project.production or "")
        return found.sha if found is not None and found.deleted is None else ""

    async def starts(self, content: str) -> int:
        return sum(1 for deployment in self.here.world.deployments.values() if deployment.sha == content)

    async def lose(self, deployment: DeploymentId, handle: str) -> None:
        """As when somebody deletes it by hand."""
        world, found = self.here.world, self.here.at(handle)
        found.deleted = world.now
        world.aliases = {domain: leads for domain, leads in world.aliases.items() if leads != handle}
        self.here.project.production = None

    @asynccontextmanager
    async def troubled(self, fault: Fault) -> AsyncGenerator[None]:
        trouble, tokens = self.here.simulator.trouble, dict(self.here.world.tokens)
        match fault:
            case Fault.down:
                trouble.add("*", "reset", times=None, until=self.here.world.now + 1000 * DOWN_SECONDS)
            case Fault.slow:
                trouble.add("createDeployment", "timeout", after=True, times=1)
                trouble.add("*", "slow", times=8, seconds=8.0)
            case Fault.limited:
                until = self.here.world.now + 1000 * LIMITED_SECONDS
                trouble.add("*", "status", times=None, until=until, status=429, seconds=45.0)
            case Fault.forbidden:
                self.here.world.tokens.clear()
            case Fault.odd:
                self.odd.on = True
        try:
            yield
        finally:
            trouble.faults.clear()
            self.here.world.tokens = tokens
            self.odd.on = False


@asynccontextmanager
async def open_stage(root: Path) -> AsyncGenerator[VercelStage]:
    worn: list[Odd] = []

    def wrap(app: ASGIApp) -> ASGIApp:
        worn.append(Odd(app))
        return worn[-1]

    async with scene(root, wrap=wrap) as here:
        options: dict[str, object] = {"project": "web", "target": "production", "domain": "www.acme.example"}
        binding = bound("vercel", options, verify_seconds=60, watch_seconds=120, interval_seconds=5)
        yield VercelStage(here, worn[0], binding.evolve(environment="production"))
