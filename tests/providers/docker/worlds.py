"""A world for the docker provider: a real engine where one answers, an installation of ours on it, and an end to what it made."""

import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Release
from ops_mcp.errors import NotConfigured
from ops_mcp.providers.docker.making import Sources
from ops_mcp.providers.docker.place import Docker
from ops_mcp.providers.docker.settings import Endpoint, parse_settings
from ops_mcp.values import Json, Secret
from tests.providers.docker import spec

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / ".ci" / "docker-engine"
IMAGE = "ops-mcp-test/web"
HEALTH: dict[str, Json] = {"probe": {"kind": "http", "path": "/cgi-bin/health"}, "verify_seconds": 4}
SPEC = spec.load()


def engine_host() -> str:
    """Where the tests' engine is, if somebody started it. A developer's own engine is never taken by itself."""
    chosen = os.environ.get("OPS_MCP_TEST_DOCKER_HOST")
    return chosen or f"unix://{os.environ.get('OPS_MCP_TEST_ENGINE', '/tmp/ops-mcp-engine')}/docker.sock"


def reason_to_skip(host: str) -> str:
    """Why there is no engine to test with; empty where there is one with the tests' images."""
    if not Path(host.removeprefix("unix://")).is_socket():
        return "no Docker engine is there; `.ci/docker-engine` starts one, as root"
    try:
        with by_hand(host) as client:
            found = client.get(f"/images/{IMAGE}:v1/json")
    except httpx2.TransportError:
        return "no Docker engine answers; `.ci/docker-engine` starts one, as root"
    return "" if found.status_code == 200 else "the engine has not the tests' images; `.ci/docker-engine` imports them"


def by_hand(host: str) -> httpx2.Client:
    """What a person with the engine's socket can do."""
    transport = httpx2.HTTPTransport(uds=host.removeprefix("unix://"))
    return httpx2.Client(transport=transport, base_url="http://engine/v1.41", timeout=60, trust_env=False)


@dataclass
class World:
    """One installation of ops-mcp with an engine. `told` is what the provider told of its progress, with the handles."""

    host: str
    state: Path
    settings: dict[str, Json] = field(default_factory=dict[str, Json])
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    told: list[str] = field(default_factory=list[str])
    handles: list[str] = field(default_factory=list[str])
    on_tell: Callable[[str], Awaitable[None]] | None = None
    installation: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    service: str = field(default_factory=lambda: f"web-{uuid.uuid4().hex[:8]}")
    docker: Docker = field(init=False)

    def __post_init__(self) -> None:
        self.docker = self.provider()

    def provider(self) -> Docker:
        settings = parse_settings({"host": self.host, **self.settings})

        def secret(reference: str) -> Secret:
            if reference not in self.secrets:
                raise NotConfigured(f"The secret {reference!r} is not set.", hint="Set it.")
            return Secret(self.secrets[reference])

        sources = Sources(
            state_dir=self.state,
            allowed_refs=("refs/heads/*", "refs/tags/*"),
            build_network=False,
            credentials=settings.registry_credentials,
            secret=secret,
        )
        return Docker(
            settings=settings,
            sources=sources,
            installation=self.installation,
            secret=secret,
            clock=lambda: datetime.now(UTC),
            sleep=anyio.sleep,
            transport=_checked,
        )

    async def tell(self, doing: str, *, handle: str = "") -> None:
        self.told.append(doing)
        self.handles += [handle] if handle else []
        if self.on_tell is not None:
            await self.on_tell(doing)

    def binding(self, *, env: dict[str, str] | None = None, secrets: dict[str, str] | None = None, **options: Json) -> Binding:
        given: dict[str, Json] = {"image": IMAGE, "port": 8000, "stop_seconds": 2, **options}
        return Binding.model_validate(
            {
                "service": self.service,
                "environment": "staging",
                "provider": "docker",
                "options": {name: value for name, value in given.items() if value is not None},
                "env": env or {},
                "secrets": secrets or {},
                "health": HEALTH,
            }
        )

    async def release(self, binding: Binding, ref: str | None = "v1") -> Release:
        return Release(content=await self.docker.resolve(binding, ref), binding=binding)

    def placement(self, release: Release, *, handle: str = "") -> Placement:
        return placement(release, handle=handle)

    async def up(self, ref: str | None = "v1", *, replaces: Placement | None = None, **options: Json) -> Placement:
        """Deploy; the placement of what runs now."""
        placed = self.placement(await self.release(self.binding(**options), ref))
        await self.docker.deploy(placed, replaces=replaces, tell=self.tell)
        return placed

    def containers(self) -> list[dict[str, Any]]:
        """All that this installation made, running or not, as the engine inspects them; oldest first."""
        filters = json.dumps({"label": [f"dev.ops-mcp.installation={self.installation}"]})
        with by_hand(self.host) as client:
            listed = client.get("/containers/json", params={"all": "1", "filters": filters}).json()
            return [client.get(f"/containers/{one['Id']}/json").json() for one in sorted(listed, key=lambda one: one["Created"])]

    def of(self, placed: Placement) -> list[dict[str, Any]]:
        return [c for c in self.containers() if c["Config"]["Labels"]["dev.ops-mcp.deployment"] == placed.deployment]

    def running(self) -> list[str]:
        """The deployments that have running containers, one entry per container."""
        return [c["Config"]["Labels"]["dev.ops-mcp.deployment"] for c in self.containers() if c["State"]["Running"]]

    def clear(self) -> None:
        """Remove what it made, and the images that were built for that."""
        found = self.containers()
        with by_hand(self.host) as client:
            for container in found:
                client.delete(f"/containers/{container['Id']}", params={"force": "1", "v": "1"})
            for image in {container["Image"] for container in found}:
                inspected = client.get(f"/images/{image}/json")
                for tag in inspected.json().get("RepoTags") or () if inspected.status_code == 200 else ():
                    if tag.startswith("ops-mcp/built:"):
                        client.delete(f"/images/{tag}")

    async def seen(self, placed: Placement, wanted: Callable[[Observed], bool], *, seconds: float = 15) -> Observed:
        """The status once it is as wanted; fails with the last one otherwise."""
        observed = await self.docker.status(placed)
        ends_at = anyio.current_time() + seconds
        while not wanted(observed):
            assert anyio.current_time() < ends_at, observed
            await anyio.sleep(0.1)
            observed = await self.docker.status(placed)
        return observed


def placement(release: Release, *, handle: str = "") -> Placement:
    """A deployment with an id of its own."""
    identity = DeploymentId(f"dep_{uuid.uuid4().hex[:12]}")
    return Placement(deployment=identity, release=release, asked_at=datetime.now(UTC), handle=handle)


def released(binding: Binding, identity: str = "sha256:" + "a" * 64) -> Release:
    """A release without an engine."""
    return Release(content=Content(identity=identity), binding=binding)


@contextmanager
def world(host: str, state: Path, **changes: Any) -> Iterator[World]:
    made = World(host=host, state=state, **changes)
    try:
        yield made
    finally:
        made.clear()


async def body_of(url: str, *, seconds: float = 10) -> str:
    """What the service answers once it answers."""
    ends_at = anyio.current_time() + seconds
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        while True:
            try:
                return (await client.get(f"{url}/cgi-bin/health")).text.strip()
            except httpx2.TransportError:
                assert anyio.current_time() < ends_at
                await anyio.sleep(0.05)


def script(verb: str, directory: Path) -> str:
    """Run `.ci/docker-engine`; what it said."""
    done = subprocess.run([str(SCRIPT), verb, str(directory)], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


async def script_soon(verb: str, directory: Path) -> None:
    await anyio.run_process([str(SCRIPT), verb, str(directory)])


def _checked(endpoint: Endpoint) -> httpx2.AsyncBaseTransport:
    limits = httpx2.Limits(max_keepalive_connections=0)
    return spec.Checked(httpx2.AsyncHTTPTransport(uds=endpoint.socket_path, limits=limits), SPEC)


async def collected(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]
