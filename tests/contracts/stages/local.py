"""The local provider as it is: real processes on this host, confined as this machine can."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentId
from ops_mcp.operations.parts import Probe
from ops_mcp.operations.probing import prober
from ops_mcp.ports import Clock, Provider, Sleep
from tests.contracts.stage import Behaviour, Fault, bound
from tests.providers.local.conftest import reason_to_skip
from tests.providers.local.fakes import World, commit, world

SERVICE = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
NUMBER, BEHAVIOUR = {number}, {behaviour!r}
answered = 0
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        global answered
        answered += 1
        if BEHAVIOUR == "dies" and answered == 6:
            os._exit(3)
        self.send_response(500 if BEHAVIOUR == "broken" else 200)
        self.end_headers()
        self.wfile.write(str(NUMBER).encode())
    def log_message(self, *_):
        pass
with open(os.environ["HOME"] + "/starts", "a") as starts:
    starts.write(str(NUMBER) + chr(10))
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


@dataclass
class LocalStage:
    world: World
    repository: Path
    binding: Binding
    clock: Clock = lambda: datetime.now(UTC)
    sleep: Sleep = anyio.sleep
    faults: frozenset[Fault] = frozenset()
    contents: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def provider(self) -> Provider:
        return self.world.local

    @property
    def probe(self) -> Probe:
        return prober(self.clock)

    async def publish(self, behaviour: Behaviour) -> str:
        number = len(self.contents) + 1
        text = SERVICE.format(number=number, behaviour=behaviour.value)
        self.contents[number] = commit(self.repository, {"app.py": text}, f"release {number}")
        return self.contents[number]

    async def live(self) -> str:
        async with httpx2.AsyncClient(trust_env=False) as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.world.port}/health")
            except httpx2.TransportError:
                return ""
        return self.contents[int(answer.text)]

    async def starts(self, content: str) -> int:
        """Each start leaves a line in the service's own data directory."""
        told = [line for file in self.world.root.rglob("starts") for line in file.read_text(encoding="utf-8").split()]
        return [self.contents[int(number)] for number in told].count(content)

    async def lose(self, deployment: DeploymentId, handle: str) -> None:
        for pid in self.world.tree(deployment):
            os.kill(pid, signal.SIGKILL)

    def troubled(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError(fault)


@asynccontextmanager
async def open_stage(root: Path) -> AsyncGenerator[LocalStage]:
    mode = next((mode for mode in ("bubblewrap", "none") if not reason_to_skip(mode)), "none")
    with world(root, mode) as made:
        repository = made.repository({"README": "a service\n"})
        options = {"source": str(repository), "run": ["{python}", "app.py"], "port": made.port, "grace_seconds": 1}
        yield LocalStage(world=made, repository=repository, binding=bound("local", options))
