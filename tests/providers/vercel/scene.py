"""A simulated Vercel, the provider that asks it, and a clock that moves only when somebody sleeps."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx2
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Release
from ops_mcp.providers._outside import Outside
from ops_mcp.providers.vercel.logs import Listening
from ops_mcp.providers.vercel.options import API, HOSTS, KIND, Settings
from ops_mcp.providers.vercel.place import Vercel
from ops_mcp.values import Json, Secret
from sandbox.vercel.app import Vercel as Simulator
from sandbox.vercel.inprocess import InProcess
from sandbox.vercel.world import Deployment, Project, World, acme
from tests.providers.vercel.spec import Checked, Spec, spec_or_none

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKENS = {"staging": "token-of-staging-1234567890", "production": "token-of-production-1234567890"}
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


class Hours:
    """Time that passes only while somebody sleeps, to the moment that the earliest sleeper waits for.

    Where several sleep at once, there may be others at work in threads: then each step waits a moment for them.
    """

    def __init__(self) -> None:
        self.now = START
        self._due: list[datetime] = []
        self._crowded = False
        self._at: list[tuple[datetime, Callable[[], object]]] = []

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        ends = self.now + timedelta(seconds=seconds)
        self._due.append(ends)
        try:
            while self.now < ends:
                self._crowded = self._crowded or len(self._due) > 1
                await (anyio.sleep(0.001) if self._crowded else checkpoint())
                self._pass(min(self._due))
        finally:
            self._due.remove(ends)

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Have `act` happen when that much time has passed."""
        self._at.append((self.now + timedelta(seconds=seconds), act))

    def _pass(self, until: datetime) -> None:
        while due := sorted((item for item in self._at if item[0] <= until), key=lambda item: item[0]):
            self._at.remove(due[0])
            self.now = max(self.now, due[0][0])
            due[0][1]()
        self.now = max(self.now, until)


class Killed(BaseException):
    """The worker is gone at this point."""


@dataclass
class Heard:
    """What the provider told. `dies_at_handle` is a kill at the moment when a handle should have been stored."""

    said: list[str] = field(default_factory=list[str])
    handles: list[str] = field(default_factory=list[str])
    dies_at_handle: bool = False

    async def __call__(self, doing: str, *, handle: str = "") -> None:
        await checkpoint()  # as any write to a journal
        if handle and self.dies_at_handle:
            raise Killed
        self.said.append(doing)
        if handle:
            self.handles.append(handle)


class Fatal(httpx2.AsyncBaseTransport):
    """Lets a request through and then kills whoever asked, before the answer is seen."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self.kills_at: Callable[[httpx2.Request], bool] = lambda _: False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self.inner.handle_async_request(request)
        if self.kills_at(request):
            await answer.aclose()
            raise Killed
        return answer


@dataclass
class Scene:
    """One world and one worker's provider in it. `bound` makes bindings, `placed` placements, `deploy` does it all."""

    hours: Hours
    world: World
    project: Project
    simulator: Simulator
    transport: Fatal
    vercel: Vercel
    spec: Spec | None
    heard: Heard = field(default_factory=Heard)
    numbers: int = 0

    def bound(self, environment: str = "production", **options: Json) -> Binding:
        target = {"production": "production", "staging": "preview"}[environment]
        given: dict[str, Json] = {"project": "web", "target": target, **options}
        return Binding.model_validate({"service": "web", "environment": environment, "provider": KIND, "options": given})

    def placed(self, identity: str = ONE, *, binding: Binding | None = None, ref: str = "main", handle: str = "") -> Placement:
        self.numbers += 1
        release = Release(content=Content(identity=identity, ref=ref), binding=binding or self.bound())
        return Placement(deployment=DeploymentId(f"dep_{self.numbers}"), release=release, asked_at=self.hours.now, handle=handle)

    async def deploy(
        self, identity: str = ONE, *, binding: Binding | None = None, replaces: Placement | None = None
    ) -> Placement:
        """Deployed, with its handle."""
        placement = self.placed(identity, binding=binding)
        observed = await self.vercel.deploy(placement, replaces=replaces, tell=self.heard)
        return placement.evolve(handle=observed.handle)

    async def roll_back(self, restores: Placement, *, ends: Placement | None = None) -> Observed:
        """The undo's way: what comes back comes back under its own id."""
        return await self.vercel.rollback(restores, restores=restores, ends=ends, tell=self.heard)

    def anew(self) -> "Scene":
        """The next worker: it knows only what was stored."""
        vercel = provider(self.hours, self.transport, state_dir=self.vercel.state_dir)
        return Scene(
            self.hours, self.world, self.project, self.simulator, self.transport, vercel, self.spec, numbers=self.numbers
        )

    def at(self, handle: str) -> Deployment:
        return self.world.deployments[handle]

    @property
    def made(self) -> list[Deployment]:
        """Oldest first."""
        return sorted(self.world.deployments.values(), key=lambda d: d.created)

    @property
    def everything_said(self) -> str:
        return "\n".join(self.heard.said)


def provider(
    hours: Hours,
    transport: httpx2.AsyncBaseTransport,
    *,
    state_dir: Path,
    tokens: Mapping[str, str] | None = None,
    team: str | None = "acme",
) -> Vercel:
    named = {environment: environment for environment in (tokens or TOKENS)}
    settings = Settings.model_validate({"api": API, "tokens": named, "team": team})
    secrets = {**TOKENS, **(tokens or {}), "a-secret": "value-that-nobody-may-see"}
    return Vercel(
        settings=settings,
        outside=Outside(KIND, API, HOSTS, hours.clock, transport),
        secret=lambda name: Secret(secrets[name]),
        clock=hours.clock,
        sleep=hours.sleep,
        state_dir=state_dir,
        allowed_refs=("refs/heads/*", "refs/tags/*"),
        listening=Listening(quiet_seconds=0.3, most_seconds=5.0),
    )


@asynccontextmanager
async def scene(
    tmp_path: Path, *, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app, team: str | None = "acme", checked: bool = True
) -> AsyncGenerator[Scene]:
    """`wrap` puts something between the provider and what the specification was held against."""
    hours = Hours()
    world = World(hours.clock)
    project = acme(world)
    simulator = Simulator(world, sleep=hours.sleep)
    spec = spec_or_none() if checked else None
    app: ASGIApp = Checked(simulator, spec) if spec is not None else simulator
    transport = Fatal(InProcess(wrap(app)))
    made = Scene(hours, world, project, simulator, transport, provider(hours, transport, state_dir=tmp_path, team=team), spec)
    try:
        yield made
    finally:
        await made.vercel.aclose()
    assert not simulator.trouble.odd_versions
    if spec is not None:
        assert not spec.failures
