"""A real HTTP server of the fakes on a free loopback port, for the tests of the door and of the bridge to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ops_mcp.config import Http
from ops_mcp.domain.identity import Token
from ops_mcp.server import build
from ops_mcp.web import application, door, listen, serve
from tests.wire.fakes import TOOLS, FakeCalls

Era = Literal["legacy", "auto"]

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
MODERN = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "say",
}


@dataclass
class FakeCredentials:
    tokens: set[str] = field(default_factory=lambda: {"ops_ada", "ops_bob"})
    turned: list[str] = field(default_factory=list[str])

    async def known(self, token: Token) -> bool:
        return token.secret.get_secret_value() in self.tokens

    async def turned_away(self, address: str) -> None:
        self.turned.append(address)


@dataclass
class World:
    url: str
    calls: FakeCalls
    credentials: FakeCredentials
    is_ready: list[bool]

    def http(self, bearer: str | None = "ops_ada") -> httpx2.AsyncClient:
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    @asynccontextmanager
    async def client(self, era: Era, bearer: str = "ops_ada") -> AsyncIterator[Client]:
        async with self.http(bearer) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=era) as client:
                yield client


def said(text: object) -> dict[str, Any]:
    params = {"name": "say", "arguments": {"text": text}, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@asynccontextmanager
async def http_world() -> AsyncIterator[World]:
    http = Http(port=0, max_body_bytes=4096, allowed_hosts=("ops.example.com",), allowed_origins=("https://app.example.com",))
    calls, credentials, is_ready = FakeCalls(), FakeCredentials(), [True]

    async def ready() -> bool:
        return is_ready[0]

    app = application(build(calls, TOOLS, door=door), http, credentials, ready=ready)
    bound = listen(http)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(serve, app, bound, http, stop=stop))
        yield World(f"http://127.0.0.1:{bound.getsockname()[1]}", calls, credentials, is_ready)
        stop.set()
