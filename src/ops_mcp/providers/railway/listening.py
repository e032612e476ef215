"""News of a deployment over a WebSocket, by the protocol `graphql-transport-ws`. A hint to look again: a look is what counts.

Connecting is one request of the hour's budget. Where the parts for WebSockets are not installed, or nothing lets them through,
nothing is heard, and whoever waits looks by itself.
"""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import anyio

from ops_mcp.errors import ProviderError
from ops_mcp.providers.railway.documents import NEWS
from ops_mcp.providers.railway.line import Line
from ops_mcp.values import Json, JsonObject

if TYPE_CHECKING:
    from httpx2.websockets import AsyncWebSocketSession

PROTOCOL = "graphql-transport-ws"
HANDSHAKE_SECONDS = 10.0
MOST_CONNECTIONS = 5
RECONNECT_SECONDS = 20.0


@dataclass
class Ear:
    """Hears of one deployment. `known` is what is known of it already; `hears` says whether a connection stands."""

    line: Line
    deployment: str
    known: tuple[str, bool] = ("", False)
    hears: bool = field(default=False, init=False)
    _news: anyio.Event = field(default_factory=anyio.Event, init=False)

    async def news(self) -> None:
        """Wait for something new, which may also be that nothing is heard any more."""
        await self._news.wait()
        self._news = anyio.Event()

    async def listen(self) -> None:
        """Listen until the subscription is complete, connecting anew a few times; the wait in between is the injected sleep."""
        for _ in range(MOST_CONNECTIONS):
            if self.line.pace.must_wait() > 0 or not await self._listened():
                return
            await self.line.sleep(RECONNECT_SECONDS)

    async def _listened(self) -> bool:
        """Whether it is worth another try: the connection broke, and was not ended or refused."""
        import httpx2  # as in _outside

        try:
            from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
        except ImportError:
            return False
        broken = True
        try:
            self.line.pace.sent()
            self.line.requests += 1
            await self._converse()
            broken = False
        except* (WebSocketUpgradeError, ProviderError):
            broken = False
        except* (HTTPXWSException, httpx2.TransportError, TimeoutError, ValueError, anyio.BrokenResourceError, anyio.EndOfStream):
            pass
        finally:
            if self.hears:
                self.hears = False
                self._news.set()
        return broken

    async def _converse(self) -> None:
        client = self.line.outside.client()
        async with client.websocket(self._address(), subprotocols=[PROTOCOL], headers=self.line.headers) as socket:
            await socket.send_json({"type": "connection_init"})
            with anyio.fail_after(HANDSHAKE_SECONDS):
                while (await _message(socket)).get("type") != "connection_ack":
                    pass
            asked = {"query": NEWS.text, "variables": {"id": self.deployment}, "operationName": NEWS.name}
            await socket.send_json({"id": "1", "type": "subscribe", "payload": asked})
            self.hears = True
            while True:
                message = await _message(socket)
                match message.get("type"):
                    case "next":
                        if _told(message) != self.known:
                            self._news.set()
                    case "ping":
                        await socket.send_json({"type": "pong"})
                    case "error":
                        raise ProviderError("Railway gives no news of this deployment.", hint="It is looked at instead.")
                    case "complete":
                        return
                    case _:
                        pass

    def _address(self) -> str:
        parts = urlsplit(self.line.outside.api)
        return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, self.line.path, "", ""))


async def _message(socket: "AsyncWebSocketSession") -> JsonObject:
    told: Json = json.loads(await socket.receive_text())
    return told if isinstance(told, dict) else {}


def _told(message: JsonObject) -> tuple[str, bool] | None:
    """What a `next` says of the deployment; None where it says an error or something else."""
    found: Json = message
    for name in ("payload", "data", "deployment"):
        found = found.get(name) if isinstance(found, dict) else None
    return (str(found.get("status")), found.get("deploymentStopped") is True) if isinstance(found, dict) else None
