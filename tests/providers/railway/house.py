"""A simulated Railway, and the provider in front of it, in one process and in a time that passes only when somebody waits."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from ops_mcp.config import Config, load
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Release
from ops_mcp.errors import NotConfigured
from ops_mcp.providers.railway.connecting import connected
from ops_mcp.providers.railway.place import Railway
from ops_mcp.values import Secret
from sandbox.railway import houses
from sandbox.railway.answering import OWN
from sandbox.railway.app import Railway as Simulator
from sandbox.railway.clock import Hourglass
from sandbox.railway.world import Behaviour, Deployment
from tests.providers.railway import spec

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
V1, V2, V3 = "1" * 40, "2" * 40, "3" * 40
API = "http://127.0.0.1:1/graphql/v2"
SECRETS = {
    "rw-staging": houses.STAGING_TOKEN,
    "rw-production": houses.PRODUCTION_TOKEN,
    "rw-workspace": houses.WORKSPACE_TOKEN,
    "api-key": "planted-api-key-0123456789",
}
TOKENS = {"staging": "rw-staging", "production": "rw-production"}


class Killed(BaseException):
    """This process is no more. No code of ours may catch it."""


@dataclass
class Told:
    """Satisfies `ports.Tell`, and keeps the handle as the store would: at once, whatever happens next."""

    notes: list[str] = field(default_factory=list[str])
    handles: list[str] = field(default_factory=list[str])
    breaks: Callable[[str], None] | None = None

    async def __call__(self, doing: str, *, handle: str = "") -> None:
        self.notes.append(doing)
        if handle:
            self.handles.append(handle)
        if self.breaks is not None:
            self.breaks(doing)

    @property
    def handle(self) -> str:
        return self.handles[-1] if self.handles else ""


class Fragile(httpx2.AsyncBaseTransport):
    """The way to the simulator. With `dies_at` the process dies at that request: before it goes out, or once it was done."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self.requests = 0
        self.dies_at: int | None = None
        self.dies_after_it = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        dies = self.requests == self.dies_at
        if dies and not self.dies_after_it:
            raise Killed
        answer = await self.inner.handle_async_request(request)
        if dies:
            raise Killed
        return answer


@dataclass
class House:
    """Everything of one test. `again()` is the same place for a worker that has just been started."""

    time: Hourglass
    railway: Simulator
    config: Config
    way: Fragile
    provider: Railway
    told: Told = field(default_factory=Told)

    @property
    def deeds(self) -> list[str]:
        """What was really done at Railway, in order."""
        return self.railway.world.deeds

    def again(self) -> "House":
        way = Fragile(self.way.inner)
        provider = provider_of(self.config, self.time, way)
        return House(self.time, self.railway, self.config, way, provider, Told())

    def placement(self, number: int, content: str, *, handle: str = "", binding: Binding | None = None) -> Placement:
        release = Release(content=Content(identity=content), binding=binding or bound())
        return Placement(deployment=DeploymentId(f"dep_{number}"), release=release, asked_at=self.time.now, handle=handle)

    async def deployed(self, number: int, content: str, *, replaces: Placement | None = None) -> Placement:
        """Deploy it, and some time passes."""
        placement = self.placement(number, content)
        found = await self.provider.deploy(placement, replaces=replaces, tell=self.told)
        self.time.pass_by(60)
        return placement.evolve(handle=found.handle)

    def there(self, handle: str) -> Deployment:
        self.railway.world.settle()
        return self.railway.world.deployments[handle]

    def behaves(self, content: str, **behaviour: Any) -> None:
        self.railway.world.commits[content] = Behaviour(**behaviour)


def house(tmp_path: Path, *, hourly: int = 1000, step: float | None = None, **table: Any) -> House:
    time = Hourglass(START, step=step, pause=0.001 if step else 0.0)
    world = houses.world(time.clock)
    world.any_commit = True
    schema = spec.SCHEMA if spec.SCHEMA.is_file() else OWN
    railway = Simulator(world, schema, hourly, observer=spec.judge if spec.SCHEMA.is_file() else None)
    railway.hang, railway.cut = raises(httpx2.ReadTimeout("no answer")), raises(httpx2.RemoteProtocolError("cut"))
    config = configured(tmp_path, **table)
    way = Fragile(httpx2.ASGITransport(railway.app))
    return House(time, railway, config, way, provider_of(config, time, way))


def configured(tmp_path: Path, **table: Any) -> Config:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    wanted = {"api": API, "tokens": TOKENS, "subscribe": False, **table}
    return config.model_copy(update={"settings": config.settings.model_copy(update={"providers": {"railway": wanted}})})


def provider_of(config: Config, time: Hourglass, transport: httpx2.AsyncBaseTransport) -> Railway:
    return connected(config, secret=secret, clock=time.clock, sleep=time.sleep, transport=transport)


def secret(name: str) -> Secret:
    if name not in SECRETS:
        raise NotConfigured(f"There is no secret {name}.", hint="Set it.")
    return Secret(SECRETS[name])


def bound(environment: str = "staging", *, service: str = "web", **options: Any) -> Binding:
    wanted = {
        "project": houses.PROJECT,
        "environment_id": houses.PRODUCTION if environment == "production" else houses.STAGING,
        "service_id": houses.WEB,
        **options,
    }
    return Binding.model_validate({"service": service, "environment": environment, "provider": "railway", "options": wanted})


def raises(error: Exception) -> Callable[[], Awaitable[object]]:
    async def fail() -> object:
        raise error

    return fail


async def survived(work: Callable[[], Awaitable[Observed]]) -> Observed | None:
    """What came of it; None when the process died of it."""
    try:
        return await work()
    except Killed:
        return None
    except BaseExceptionGroup as group:
        dead, other = group.split(Killed)
        if other is not None or dead is None:
            raise
        return None
