"""`ops-mcp --remote URL`: a stdio client's messages to a server elsewhere and back, in both eras. Holds the agent's token only.

Relays, and judges nothing: what a call may do is decided by the server that the token is for.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp.shared.inbound import encode_header_value
from mcp.types import JSONRPCNotification, JSONRPCRequest
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from ops_mcp.errors import Code, NotConfigured, Problem
from ops_mcp.framing import Message, RequestId, encoded
from ops_mcp.pipes import LINE_LIMIT, Lines, signals_end
from ops_mcp.remote import usable_token
from ops_mcp.replies import Replies
from ops_mcp.values import JsonObject, Secret
from ops_mcp.wire import Wire

log = logging.getLogger(__name__)

UNREACHABLE = -32011
"""No answer came from the remote server. Of the codes that the specification leaves to implementations."""

# The server pings an open stream every 15 s, so a silent minute means that it is gone.
_TIMEOUT = httpx2.Timeout(connect=10, read=60, write=30, pool=None)
_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_GOODBYE_SECONDS = 1.0


async def bridge(url: str, token: Secret | None, wire: Wire | None) -> None:
    """Relay until the client's input ends or a signal arrives. Raises `NotConfigured` for a URL or token that cannot be used."""
    secret = usable_token(url, token)
    if wire is None:
        raise NotConfigured("The bridge needs pipes on both sides.", hint="Let an MCP client start it; see `ops-mcp connect`.")
    replies = Replies(wire.write_fd)
    lines = Lines(wire.read_fd, replies, line_limit=LINE_LIMIT, ending=lambda: None)
    headers = {"authorization": f"Bearer {secret}", **_ACCEPT}
    # A proxy from the environment would be handed the token of a loopback server in clear text.
    through_proxies = urlsplit(url).scheme == "https"
    async with httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=through_proxies, follow_redirects=False) as http:
        relay = _Relay(url, http, replies)
        try:
            with signals_end(lines):
                await relay.run(lines)
        finally:
            with anyio.move_on_after(_GOODBYE_SECONDS, shield=True):
                await relay.say_goodbye()
                await replies.drained()
            lines.close()
            replies.close()


@dataclass
class _Relay:
    """One client's connection: its requests under way, and the session that a 2025 client has with the server."""

    url: str
    http: httpx2.AsyncClient
    replies: Replies
    session: dict[str, str] = field(default_factory=dict[str, str])
    under_way: dict[RequestId, anyio.CancelScope] = field(default_factory=dict[RequestId, anyio.CancelScope])
    given_up: set[RequestId] = field(default_factory=set[RequestId])

    async def run(self, lines: Lines) -> None:
        async with anyio.create_task_group() as group:
            async for item in lines:
                message = item.message
                if isinstance(message, JSONRPCRequest):
                    scope = self.under_way[message.id] = anyio.CancelScope()
                    group.start_soon(self._request, message, scope)
                else:
                    # In order: a 2025 server must hear `initialized` before the request that follows it.
                    await self._tell(message)
            group.cancel_scope.cancel()

    async def say_goodbye(self) -> None:
        """End the 2025 session, so that the server need not keep it until it is idle too long."""
        if "mcp-session-id" in self.session:
            try:
                await self.http.delete(self.url, headers=self.session)
            except httpx2.HTTPError as error:
                log.info("The session could not be ended: %s", type(error).__name__)

    async def _request(self, message: JSONRPCRequest, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                answered = await self._exchange(message)
            except httpx2.HTTPError as error:
                await self._fail(message.id, _unreachable(self.url, error))
            else:
                if not answered and message.id not in self.given_up:
                    await self._fail(message.id, _cut_off(self.url))
        self.given_up.discard(message.id)
        if self.under_way.get(message.id) is scope:
            del self.under_way[message.id]

    async def _exchange(self, message: JSONRPCRequest) -> bool:
        """Post a request and relay what comes back; whether its answer was among it."""
        headers = _headers(message, self.session)
        async with self.http.stream("POST", self.url, content=encoded(message), headers=headers) as response:
            if message.method == "initialize" and "mcp-session-id" in response.headers:
                self.session["mcp-session-id"] = response.headers["mcp-session-id"]
            if response.headers.get("content-type", "").startswith("text/event-stream") and response.is_success:
                async for event in _events(response):
                    if await self._relay(event, message):
                        return True
                return False
            return await self._relay_body(await response.aread(), response, message)

    async def _relay_body(self, body: bytes, response: httpx2.Response, message: JSONRPCRequest) -> bool:
        if await self._relay(body, message):
            return True
        await self._fail(message.id, _refused(response, body, in_session="mcp-session-id" in self.session))
        return True

    async def _relay(self, data: bytes, request: JSONRPCRequest) -> bool:
        """Pass one JSON-RPC message on, on one line; whether it answers `request`. What is no JSON-RPC is not passed on."""
        value = _json_object(data)
        if value.get("jsonrpc") != "2.0":
            return False
        is_answer = "method" not in value and ("result" in value or "error" in value)
        if is_answer:
            value["id"] = request.id  # an error from before the id was read has none
            self._note_version(request, value)
        await self.replies.send_line(to_json(value), answers=request.id if is_answer else None)
        return is_answer

    def _note_version(self, request: JSONRPCRequest, answer: JsonObject) -> None:
        result = answer.get("result")
        if request.method == "initialize" and isinstance(result, dict) and isinstance(result.get("protocolVersion"), str):
            self.session["mcp-protocol-version"] = str(result["protocolVersion"])

    async def _tell(self, message: Message) -> None:
        """Pass on what has no answer. A 2026 client cancels over HTTP by closing the request's stream, not by a message."""
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._give_up((message.params or {}).get("requestId"))
        if not self.session:
            return
        try:
            await self.http.post(self.url, content=encoded(message), headers=self.session)
        except httpx2.HTTPError as error:
            log.warning("A message could not be passed on: %s", type(error).__name__)

    def _give_up(self, request: object) -> None:
        if isinstance(request, int | str) and request in self.under_way:
            self.given_up.add(request)
            if not self.session:
                self.under_way[request].cancel()

    async def _fail(self, request: RequestId, problem: Problem) -> None:
        text = f"{problem.message} {problem.hint}"
        data = {"dev.ops-mcp/problem": problem.json_value()}
        error = {"jsonrpc": "2.0", "id": request, "error": {"code": UNREACHABLE, "message": text, "data": data}}
        await self.replies.send_line(to_json(error), answers=request)


def _headers(message: JSONRPCRequest, session: Mapping[str, str]) -> Mapping[str, str]:
    """A 2026 request says in its headers what is in its body; a 2025 one carries its session."""
    params = message.params or {}
    meta = params.get("_meta")
    version = cast(dict[str, Any], meta).get(_VERSION) if isinstance(meta, dict) else None
    if not isinstance(version, str) or message.method == "initialize":
        return {} if message.method == "initialize" else session
    headers = {"mcp-protocol-version": encode_header_value(version), "mcp-method": encode_header_value(message.method)}
    name = params.get(_NAMED.get(message.method, ""))
    return headers | {"mcp-name": encode_header_value(name)} if isinstance(name, str) else headers


async def _events(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The data of each server-sent event."""
    data: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data).encode()
            data = []


def _json_object(data: bytes) -> JsonObject:
    try:
        value: object = from_json(data)
    except ValueError:
        return {}
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _unreachable(url: str, error: httpx2.HTTPError) -> Problem:
    return Problem(
        code=Code.unavailable,
        message=f"No answer from {_host(url)} ({type(error).__name__}).",
        hint="Whether the call arrived is unknown: look with `deployments`, or repeat it with the same idempotency_key.",
        retryable=True,
    )


def _cut_off(url: str) -> Problem:
    return Problem(
        code=Code.unavailable,
        message=f"{_host(url)} ended the reply before its end.",
        hint="Whether the call was carried out is unknown: look with `deployments`, or repeat it with the same idempotency_key.",
        retryable=True,
    )


def _refused(response: httpx2.Response, body: bytes, *, in_session: bool) -> Problem:
    """What a status without a JSON-RPC body means. Our own server's `Problem` is taken as it is."""
    try:
        return Problem.model_validate(_json_object(body))
    except ValidationError:
        pass
    where = _host(str(response.request.url))
    if response.status_code == 404 and in_session:
        return Problem(
            code=Code.unavailable, message=f"{where} ended the session.", hint="Restart this MCP server in the client."
        )
    if response.is_redirect:
        return Problem(code=Code.not_configured, message=f"{where} redirects elsewhere.", hint="Give the final URL to --remote.")
    hint = "Check the URL: it ends in /mcp." if response.status_code == 404 else "Ask the operator of that server."
    return Problem(code=Code.unavailable, message=f"{where} answered HTTP {response.status_code}.", hint=hint)


def _host(url: str) -> str:
    return urlsplit(url).netloc
