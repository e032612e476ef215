"""A real Docker Engine: images built from a real repository, on the small image that the tests' engine brings."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Release
from ops_mcp.operations.parts import Probe
from ops_mcp.operations.probing import prober
from ops_mcp.ports import Clock, Provider, Sleep
from tests.contracts.stage import Behaviour, Fault, bound
from tests.providers.docker.worlds import IMAGE, World, by_hand, engine_host, reason_to_skip, world
from tests.providers.local.fakes import commit, git

MARKS = ("docker",)

DOCKERFILES = {
    Behaviour.good: 'ENV ANSWER="200 OK"\n',
    Behaviour.broken: 'ENV ANSWER="500 Broken"\n',
    Behaviour.dies: 'ENV ANSWER="200 OK"\nCMD ["sh", "-c", "/serve & sleep 3; kill $!; exit 3"]\n',
}


@dataclass
class DockerStage:
    world: World
    repository: Path
    binding: Binding
    clock: Clock = lambda: datetime.now(UTC)
    sleep: Sleep = anyio.sleep
    faults: frozenset[Fault] = frozenset()
    contents: list[str] = field(default_factory=list[str])

    @property
    def provider(self) -> Provider:
        return self.world.docker

    @property
    def probe(self) -> Probe:
        return prober(self.clock)

    async def publish(self, behaviour: Behaviour) -> str:
        number = len(self.contents) + 1
        text = f"FROM {IMAGE}:v1\nENV VERSION=release{number}\n{DOCKERFILES[behaviour]}"
        self.contents.append(commit(self.repository, {"Dockerfile": text}, f"release {number}"))
        return self.contents[-1]

    async def live(self) -> str:
        """What every running container of ours runs; there must be but one."""
        running = {self._content(container) for container in self.world.containers() if container["State"]["Running"]}
        return " and ".join(sorted(running))

    async def starts(self, content: str) -> int:
        """Each start of the service leaves a line in its container's log."""
        found = 0
        with by_hand(self.world.host) as client:
            for container in self.world.containers():
                if self._content(container) == content:
                    lines = client.get(f"/containers/{container['Id']}/logs", params={"stdout": "1"}).content
                    found += lines.count(b"serving release")
        return found

    async def lose(self, deployment: DeploymentId, handle: str) -> None:
        with by_hand(self.world.host) as client:
            for container in self.world.containers():
                if container["Config"]["Labels"]["dev.ops-mcp.group"] == (handle or deployment):
                    client.delete(f"/containers/{container['Id']}", params={"force": "1"})

    def troubled(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError(fault)

    def _content(self, container: dict[str, Any]) -> str:
        release = container["Config"]["Labels"]["dev.ops-mcp.release"]
        digests = {Release(content=Content(identity=one), binding=self.binding).digest: one for one in self.contents}
        return digests.get(release, "something else")


@asynccontextmanager
async def open_stage(root: Path) -> AsyncGenerator[DockerStage]:
    host = engine_host()
    if reason := reason_to_skip(host):
        pytest.skip(reason)
    repository = root / "repository"
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main")
    options: dict[str, object] = {"source": str(repository), "port": 8000, "stop_seconds": 1}
    binding = bound("docker", options, probe={"kind": "http", "path": "/cgi-bin/health"}, watch_seconds=2.5)
    with world(host, root / "state") as made:
        yield DockerStage(world=made, repository=repository, binding=binding)
        await made.docker.aclose()
