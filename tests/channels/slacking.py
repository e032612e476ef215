"""Slack's simulator on a real port of this process, so that a test sees and steers its workspace."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn

from ops_mcp.channels.slack import connect
from ops_mcp.observing import Notice, Way
from ops_mcp.values import Json, Secret
from sandbox.slack.app import Slack
from sandbox.slack.world import BOT_TOKEN, Workspace

START = datetime.fromtimestamp(Workspace().now, UTC)


@dataclass
class Served:
    world: Workspace
    url: str
    loops: list[asyncio.AbstractEventLoop]

    def run(self, doing: Coroutine[Any, Any, Any]) -> None:
        """Have it done in the loop that serves; not to be called in a loop."""
        asyncio.run_coroutine_threadsafe(doing, self.loops[0]).result(10)

    @property
    def api(self) -> str:
        return f"{self.url}/api/"

    def way(self, *, token: str = BOT_TOKEN, **table: Json) -> Way:
        return connect("ops", {"kind": "slack", "api": self.api, **table}, secret=lambda _: Secret(token), clock=lambda: START)


@contextmanager
def slack(world: Workspace | None = None) -> Generator[Served]:
    """A workspace that is served until the end."""
    world = world or Workspace()
    config = uvicorn.Config(Slack(world), host="127.0.0.1", port=0, log_level="critical", ws="wsproto", lifespan="off")
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    sockets[0].listen(128)  # so that a client that comes before the server has started waits
    port = sockets[0].getsockname()[1]
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield Served(world, f"http://127.0.0.1:{port}", loops)
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)


def a_notice(**changes: Any) -> Notice:
    base = Notice(id="n1", channel="ops", thread="task 1", severity="high", title="Down", text="web does not answer.", at=START)
    return base.evolve(**changes)
