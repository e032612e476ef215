"""An engine made of answers, for what a real one does not do on demand: errors, old versions, breaks in the middle.

Each route is a method and a pattern of the path without its version; the first that matches answers, and one that is `once` goes.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio.lowlevel
import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.settings import Endpoint
from tests.providers.docker import spec

SPEC = spec.load()


@dataclass
class Route:
    method: str
    pattern: str
    status: int = 200
    body: Any = None
    lines: list[Any] | None = None
    raw: bytes | None = None
    once: bool = False
    breaks: bool = False
    falls: int = 0
    silent: bool = False


@dataclass
class FakeEngine:
    """`asked` is every request: method, path without version, query, body."""

    version: str = "1.41"
    oldest: str = "1.12"
    routes: list[Route] = field(default_factory=list[Route])
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list[tuple[str, str, dict[str, str], Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    down: int = 0

    def on(self, method: str, pattern: str, **answer: Any) -> "FakeEngine":
        self.routes.append(Route(method, pattern, **answer))
        return self

    def engine(self) -> EngineApi:
        return EngineApi(Endpoint(), self.transport())

    def transport(self) -> httpx2.AsyncBaseTransport:
        return spec.Checked(_Breaking(self, httpx2.ASGITransport(app=self)), SPEC)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        await anyio.lowlevel.checkpoint()
        bare = re.sub(r"^/v\d+\.\d+", "", request.url.path)
        parsed = json.loads(body) if request.headers.get("content-type") == "application/json" else body
        self.asked.append((request.method, bare, dict(request.query_params), parsed))
        self.headers.append(dict(request.headers))
        await self._answer(request.method, bare)(scope, receive, send)

    def _answer(self, method: str, path: str) -> Response:
        if path == "/version":
            return JSONResponse({"ApiVersion": self.version, "MinAPIVersion": self.oldest})
        for route in self.routes:
            if route.method == method and re.fullmatch(route.pattern, path):
                if route.once:
                    self.routes.remove(route)
                return _response(route)
        return JSONResponse({"message": f"No such thing: {method} {path}"}, 404)


class _Breaking(httpx2.AsyncBaseTransport):
    """The way to the engine: there is none while it is `down`, and it may be lost before the answer, or in the middle of it."""

    def __init__(self, fake: FakeEngine, inner: httpx2.AsyncBaseTransport) -> None:
        self._fake, self._inner = fake, inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._fake.down:
            self._fake.down -= 1
            raise httpx2.ConnectError("no such socket", request=request)
        bare = re.sub(r"^/v\d+\.\d+", "", request.url.path)
        for route in self._fake.routes:
            if route.breaks and route.method == request.method and re.fullmatch(route.pattern, bare):
                if route.once:
                    self._fake.routes.remove(route)
                self._fake.asked.append((request.method, bare, dict(request.url.params), None))
                self._fake.down = route.falls
                if route.silent:
                    raise httpx2.ReadTimeout("silence", request=request)
                raise httpx2.RemoteProtocolError("broken off", request=request)
        return await self._inner.handle_async_request(request)


def _response(route: Route) -> Response:
    if route.lines is not None:
        return StreamingResponse(_lines(route.lines), route.status, media_type="application/json")
    if route.raw is not None:
        return Response(route.raw, route.status)
    return Response(status_code=route.status) if route.body is None else JSONResponse(route.body, route.status)


async def _lines(lines: Iterable[Any]) -> Any:
    for line in lines:
        yield (line if isinstance(line, str) else json.dumps(line)) + "\r\n"
