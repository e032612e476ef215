"""The simulated Slack Web API as an ASGI application: what the unmodified `slack_sdk` asks of it."""

import json
from urllib.parse import parse_qsl

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.slack.methods import Methods
from sandbox.slack.world import (
    APP,
    APP_TOKEN,
    BOT_TOKEN,
    WANTS,
    WEBHOOK,
    Json,
    Refused,
    Workspace,
)

MOST_ANSWERS = 5
"""How often a `response_url` may be used."""


class Slack:
    """`world` is the workspace; `spent` are the seconds that pass on its clock with each call."""

    def __init__(self, world: Workspace, *, spent: float = 0.0) -> None:
        self.world = world
        self.spent = spent
        self._app = Starlette(
            routes=[
                Route("/api/{method}", self._answer, methods=["GET", "POST"]),
                Route("/response/{ticket}", self._response, methods=["POST"]),
                Route(WEBHOOK, self._hook, methods=["POST"]),
                WebSocketRoute("/link", self._listen),
            ]
        )
        self._tickets: set[str] = set()
        self._address = ""
        self._methods = Methods(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _hook(self, request: Request) -> Response:
        """An incoming webhook: it says `ok`, or a word, and never the message's ts."""
        said, fault = await _said(request), self.world.fault("webhook")
        self.world.now += self.spent
        if fault is None or fault.after_effect:
            try:
                self._methods.known["chat.postMessage"]({**said, "channel": "C0000SUPER", "metadata": None})
            except Refused as refused:
                return PlainTextResponse(refused.body["error"], status_code=400)
        if fault is None:
            return PlainTextResponse("ok")
        if fault.cut:
            return _Cut()
        headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
        return PlainTextResponse(fault.said, status_code=fault.status, headers=headers)

    async def _answer(self, request: Request) -> Response:
        method, said = request.path_params["method"], await _said(request)
        world = self.world
        world.now += self.spent
        world.seen.append((method, said))
        fault = world.fault(method)
        if fault is not None and fault.after_effect:
            self._done(method, said, request)
        if fault is not None and fault.silent:
            await anyio.sleep(600)
        if fault is not None and fault.cut:
            return _Cut()
        if fault is not None:
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            word = fault.said or ("ratelimited" if fault.status == 429 else "internal_error")
            return JSONResponse({"ok": False, "error": word}, status_code=fault.status, headers=headers)
        body, status, headers = self._done(method, said, request)
        return JSONResponse(body, status_code=status, headers=headers)

    def _done(self, method: str, said: Json, request: Request) -> tuple[Json, int, dict[str, str]]:
        try:
            self._authorize(method, request)
            if wait := self.world.must_wait(method, str(said.get("channel"))):
                return {"ok": False, "error": "ratelimited"}, 429, {"retry-after": str(wait)}
            do = self._open if method == "apps.connections.open" else self._methods.known[method]
            return {"ok": True, **do(said)}, 200, {"x-oauth-scopes": ",".join(self.world.scopes)}
        except Refused as refused:
            return refused.body, 200, {}

    def _authorize(self, method: str, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if method == "apps.connections.open":
            if token != APP_TOKEN:
                raise Refused("not_allowed_token_type" if token == BOT_TOKEN else "invalid_auth")
            self._address = request.url.netloc
            return
        if token != BOT_TOKEN:
            raise Refused("invalid_auth" if token else "not_authed")
        if method not in self._methods.known:
            raise Refused("unknown_method", req_method=method)
        if (scope := WANTS.get(method)) and scope not in self.world.scopes:
            raise Refused("missing_scope", needed=scope, provided=",".join(self.world.scopes))

    def _open(self, _: Json) -> Json:
        """An address that opens once."""
        ticket = self.world.ts()
        self._tickets.add(ticket)
        return {"url": f"ws://{self._address}/link?ticket={ticket}"}

    async def _response(self, request: Request) -> Response:
        """An answer to a command or a button, without a token: the address is the permission."""
        given = self.world.answers.get(request.path_params["ticket"])
        if given is None or len(given) >= MOST_ANSWERS:
            return PlainTextResponse("used_url" if given else "expired_url", status_code=404)
        given.append(await request.json())
        return PlainTextResponse("ok")

    async def _listen(self, socket: WebSocket) -> None:
        """One connection of Socket Mode: it is greeted, gets envelopes, and acknowledges each."""
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await socket.close(1008)
            return
        self._tickets.discard(ticket)
        await socket.accept()
        world = self.world
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(world.listening) + 1,
                "debug_info": {"host": "sandbox", "approximate_connection_time": 3600},
                "connection_info": {"app_id": APP},
            }
        )
        world.listening.append(socket.send_json)
        try:
            while True:
                said = await socket.receive_json()
                world.acknowledged[str(said.get("envelope_id"))] = said
        except (WebSocketDisconnect, ValueError):
            return
        finally:
            world.listening.remove(socket.send_json)


class _Cut(Response):
    """An answer that breaks off: the server closes the connection, because less came than was announced."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b'{"ok": true, ', "more_body": False})


async def _said(request: Request) -> Json:
    """The arguments, from a query, a form or JSON."""
    body = await request.body()
    said: Json = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        return {**said, **json.loads(body or b"{}")}
    form: Json = dict(parse_qsl(body.decode()))
    for name in ("attachments", "blocks", "metadata"):
        if isinstance(form.get(name), str):
            form[name] = json.loads(form[name])
    return {**said, **form}
