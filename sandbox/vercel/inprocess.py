"""A transport that asks an ASGI application in this process and, unlike httpx2's own, hands on a body while it is being written.

An endless stream can be read through it, and a fault needs no real time-out: `NoAnswer` becomes what a network would make of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2
from starlette.types import ASGIApp, Message, Scope

from sandbox.vercel.app import IN_PROCESS
from sandbox.vercel.faults import NoAnswer


class InProcess(httpx2.AsyncBaseTransport):
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        exchange = _Exchange(self.app, _scope(request), body)
        try:
            start = await exchange.begin()
        except NoAnswer as silence:
            raise _as_network(silence, request) from silence
        except BaseException:
            await exchange.aclose()
            raise
        headers = [(name.decode(), value.decode()) for name, value in start.get("headers", [])]
        return httpx2.Response(start["status"], headers=headers, stream=_Body(exchange, request), request=request)


class _Exchange:
    """One request and what the application sends, as it sends it."""

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._sent: asyncio.Queue[Message | BaseException | None] = asyncio.Queue()
        self._incoming = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone = asyncio.Event()
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._sent.put)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._sent.put(error)
        await self._sent.put(None)

    async def _receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def begin(self) -> Message:
        sent = await self.next()
        assert sent is not None
        assert sent["type"] == "http.response.start"
        return sent

    async def next(self) -> Message | None:
        sent = await self._sent.get()
        if isinstance(sent, BaseException):
            raise sent
        return sent

    async def aclose(self) -> None:
        self._gone.set()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class _Body(httpx2.AsyncByteStream):
    def __init__(self, exchange: _Exchange, request: httpx2.Request) -> None:
        self._exchange = exchange
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (sent := await self._exchange.next()) is not None:
                if sent.get("body"):
                    yield sent["body"]
                if not sent.get("more_body"):
                    return
        except NoAnswer as silence:
            raise _as_network(silence, self._request) from silence

    async def aclose(self) -> None:
        await self._exchange.aclose()


def _scope(request: httpx2.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        "extensions": {IN_PROCESS: {}},
    }


def _as_network(silence: NoAnswer, request: httpx2.Request) -> httpx2.TransportError:
    match silence.kind:
        case "timeout":
            return httpx2.ReadTimeout("no answer", request=request)
        case "truncated":
            return httpx2.RemoteProtocolError("the answer is not complete", request=request)
        case _:
            return httpx2.ReadError("the connection was reset", request=request)
