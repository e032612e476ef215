"""The simulated Slack Web API as an ASGI application: what the unmodified `slack_sdk` asks of it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.slack.world import (
    APP,
    APP_TOKEN,
    BOT_TOKEN,
    BOT_USER,
    LONGEST_HEADER,
    LONGEST_SECTION,
    LONGEST_TEXT,
    MOST_BLOCKS,
    TEAM,
    WANTS,
    Channel,
    Json,
    Refused,
    Workspace,
)

PAGE = 100


class Slack:
    """`world` is the workspace; `spent` are the seconds that pass on its clock with each call."""

    def __init__(self, world: Workspace, *, spent: float = 0.0) -> None:
        self.world = world
        self.spent = spent
        self._app = Starlette(
            routes=[
                Route("/api/{method}", self._answer, methods=["GET", "POST"]),
                WebSocketRoute("/link", self._listen),
            ]
        )
        self._tickets: set[str] = set()
        self._address = ""
        self._methods: dict[str, Callable[[Json], Json]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._ephemeral,
            "conversations.list": self._list,
            "conversations.info": self._info,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.join": self._join,
            "users.info": self._user,
            "apps.connections.open": self._open,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

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
        if fault is not None:
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            word = "ratelimited" if fault.status == 429 else "internal_error"
            return JSONResponse({"ok": False, "error": word}, status_code=fault.status, headers=headers)
        body, status, headers = self._done(method, said, request)
        return JSONResponse(body, status_code=status, headers=headers)

    def _done(self, method: str, said: Json, request: Request) -> tuple[Json, int, dict[str, str]]:
        try:
            self._authorize(method, request)
            if method == "chat.postMessage" and (wait := self._too_fast(said)):
                return {"ok": False, "error": "ratelimited"}, 429, {"retry-after": str(wait)}
            return {"ok": True, **self._methods[method](said)}, 200, {"x-oauth-scopes": ",".join(self.world.scopes)}
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
        if method not in self._methods:
            raise Refused("unknown_method", req_method=method)
        if (scope := WANTS.get(method)) and scope not in self.world.scopes:
            raise Refused("missing_scope", needed=scope, provided=",".join(self.world.scopes))

    def _too_fast(self, said: Json) -> int:
        """About one message a second and channel."""
        world, channel = self.world, str(said.get("channel"))
        last = world.last_post.get(channel)
        if world.most_a_second and last is not None and world.now - last < 1:
            return 1
        world.last_post[channel] = world.now
        return 0

    def _open(self, _: Json) -> Json:
        """An address that opens once."""
        ticket = self.world.ts()
        self._tickets.add(ticket)
        return {"url": f"ws://{self._address}/link?ticket={ticket}"}

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

    def _auth_test(self, _: Json) -> Json:
        return {
            "url": "https://sandbox.slack.com/",
            "team": "Sandbox",
            "user": "ops-mcp",
            "team_id": TEAM,
            "user_id": BOT_USER,
            "bot_id": "B0000BOT",
            "is_enterprise_install": False,
        }

    def _post(self, said: Json) -> Json:
        channel = self._writable(said)
        _refuse_shape(said)
        ts = self.world.ts()
        message = {"type": "message", "user": BOT_USER, "bot_id": "B0000BOT", "ts": ts, **_shown(said)}
        thread = said.get("thread_ts")
        if thread:
            if not any(m["ts"] == thread for m in channel.messages):
                raise Refused("thread_not_found")
            message["thread_ts"] = thread
        channel.messages.append(message)
        return {"channel": channel.id, "ts": ts, "message": message}

    def _update(self, said: Json) -> Json:
        channel = self._writable(said)
        _refuse_shape(said)
        for message in channel.messages:
            if message["ts"] == said.get("ts"):
                for name in ("text", "attachments", "blocks", "metadata"):
                    message.pop(name, None)
                message.update({**_shown(said), "edited": {"user": BOT_USER, "ts": self.world.ts()}})
                return {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": message}
        raise Refused("message_not_found")

    def _ephemeral(self, said: Json) -> Json:
        self._writable(said)
        self.world.ephemerals.append(said)
        return {"message_ts": self.world.ts()}

    def _writable(self, said: Json) -> Channel:
        channel = self.world.channel(str(said.get("channel")))
        if channel.archived:
            raise Refused("is_archived")
        if BOT_USER not in channel.members and (channel.private or "chat:write.public" not in self.world.scopes):
            raise Refused("not_in_channel")
        return channel

    def _list(self, said: Json) -> Json:
        shown = [c for c in self.world.channels.values() if not (c.archived and said.get("exclude_archived"))]
        page, cursor = _page([c for c in shown if not c.private or BOT_USER in c.members], said)
        return {"channels": [_channel(c) for c in page], "response_metadata": {"next_cursor": cursor}}

    def _info(self, said: Json) -> Json:
        return {"channel": _channel(self.world.channel(str(said.get("channel"))))}

    def _join(self, said: Json) -> Json:
        channel = self.world.channel(str(said.get("channel")))
        if channel.private:
            raise Refused("method_not_supported_for_channel_type")
        channel.members.add(BOT_USER)
        return {"channel": _channel(channel)}

    def _history(self, said: Json) -> Json:
        channel = self._readable(said)
        roots = [m for m in channel.messages if m.get("thread_ts", m["ts"]) == m["ts"]]
        return self._messages(list(reversed(roots)), said)

    def _replies(self, said: Json) -> Json:
        channel = self._readable(said)
        found = [m for m in channel.messages if said.get("ts") in (m["ts"], m.get("thread_ts"))]
        if not found:
            raise Refused("thread_not_found")
        return self._messages(found, said)

    def _readable(self, said: Json) -> Channel:
        channel = self.world.channel(str(said.get("channel")))
        if BOT_USER not in channel.members:
            raise Refused("not_in_channel")
        return channel

    def _messages(self, found: list[Json], said: Json) -> Json:
        """Newest or oldest first, as the method has it; metadata only where it is asked for."""
        oldest = float(said.get("oldest") or 0)
        within = [m for m in found if float(m["ts"]) >= oldest]
        page, cursor = _page(within, said)
        wanted = str(said.get("include_all_metadata", "")).lower() in ("true", "1")
        shown = [m if wanted else {k: v for k, v in m.items() if k != "metadata"} for m in page]
        return {"messages": shown, "has_more": bool(cursor), "response_metadata": {"next_cursor": cursor}}

    def _user(self, said: Json) -> Json:
        user = str(said.get("user"))
        if user not in self.world.users:
            raise Refused("user_not_found")
        return {"user": {"id": user, "team_id": TEAM, "name": self.world.users[user], "deleted": False, "is_bot": False}}


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


def _shown(said: Json) -> Json:
    return {name: said[name] for name in ("text", "attachments", "blocks", "metadata") if said.get(name)} | {
        "text": said.get("text", "")
    }


def _refuse_shape(said: Json) -> None:
    """Slack's limits, as far as its documentation names them."""
    blocks = [*(said.get("blocks") or []), *(b for a in said.get("attachments") or [] for b in a.get("blocks", []))]
    if not said.get("text") and not blocks:
        raise Refused("no_text")
    if len(said.get("text", "")) > LONGEST_TEXT:
        raise Refused("msg_too_long")
    if len(blocks) > MOST_BLOCKS or any(not _fits(block) for block in blocks):
        raise Refused("invalid_blocks")
    if len(json.dumps(blocks)) > 40_000:
        raise Refused("msg_blocks_too_long")


def _fits(block: Json) -> bool:
    match block:
        case {"type": "section", "text": {"text": text}}:
            return 0 < len(text) <= LONGEST_SECTION
        case {"type": "header", "text": {"text": text, "type": "plain_text"}}:
            return 0 < len(text) <= LONGEST_HEADER
        case {"type": "actions", "elements": elements}:
            return 0 < len(elements) <= 25 and all(_button_fits(e) for e in elements)
        case {"type": "rich_text", "elements": [*elements]}:
            return bool(elements)
        case {"type": "context" | "divider"}:
            return True
        case _:
            return False


def _button_fits(element: Json) -> bool:
    return len(element["text"]["text"]) <= 75 and len(element.get("value", "")) <= 2_000 and len(element["action_id"]) <= 255


def _channel(channel: Channel) -> Json:
    return {
        "id": channel.id,
        "name": channel.name,
        "is_channel": not channel.private,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "is_member": BOT_USER in channel.members,
        "created": 1_600_000_000,
    }


def _page(items: list[Any], said: Json) -> tuple[list[Any], str]:
    start = int(str(said.get("cursor") or "at:0").removeprefix("at:"))
    limit = min(int(said.get("limit") or PAGE), 999)
    end = start + limit
    return items[start:end], f"at:{end}" if end < len(items) else ""
