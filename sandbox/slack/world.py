"""A Slack workspace in memory: people, channels, messages, tokens; and what goes wrong when told to.

    world = Workspace()                                   # channels #agent-supervisory and #ops, the bot is in both
    world.fail("chat.postMessage", Fault(status=429, retry_after=2))
    world.thread("C0000SUPER")                            # messages, oldest first, with their replies
    world.pressed(message, "approve", user="U0000OLGA")   # the payload that Slack sends when a person presses a button
    signed(secret, body, at)                              # the headers by which our routes know it is Slack
    world.wrote("hello", user="U0000OLGA")                # a person posts; the event that Slack sends is returned
    await world.deliver(world.envelope("events_api", e))  # the same over Socket Mode, to one of those that listen
    await world.refresh()                                 # those that listen are asked to connect again
    world.most_a_minute = TIERS                           # Slack's limits by method; `most_a_second` is that of a channel

`sandbox/slack/app.py` serves it over HTTP (`python -m sandbox.slack --port N`); `methods.py` is what each method does;
`render.py` shows a thread on a terminal.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "xoxb-sandbox-bot", "xapp-sandbox-app", "sandbox-signing-secret"
WEBHOOK = "/services/T0000TEAM/B0000OPSMCP/sandbox-webhook"
"""The path of an incoming webhook into #agent-supervisory."""

BOT_USER, BOT_ID, TEAM, APP = "U0000BOT", "B0000OPSMCP", "T0000TEAM", "A0000APP"
SCOPES = (
    "chat:write", "chat:write.public", "channels:read", "groups:read", "channels:history", "groups:history", "commands",
    "app_mentions:read",
)  # fmt: skip
"""Those of docs/slack/manifest.json."""

LONGEST_TEXT, MOST_BLOCKS, LONGEST_SECTION, LONGEST_HEADER = 40_000, 50, 3_000, 150
WANTS = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "conversations.list": "channels:read",
    "conversations.info": "channels:read",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "conversations.join": "channels:join",
    "conversations.open": "im:write",
    "chat.delete": "chat:write",
    "reactions.add": "reactions:write",
    "users.info": "users:read",
}
TIERS = {
    "conversations.list": 20,
    **dict.fromkeys(("conversations.info", "conversations.history", "conversations.replies", "conversations.join"), 50),
    **dict.fromkeys(("conversations.open", "chat.update", "chat.delete", "reactions.add"), 50),
    **dict.fromkeys(("users.info", "views.open", "chat.postEphemeral"), 100),
    "apps.connections.open": 1,
}
"""Calls of a method a minute, by its tier: https://docs.slack.dev/apis/web-api/rate-limits"""

Json = dict[str, Any]


class Refused(Exception):
    """An answer of Slack's that says no: HTTP 200 and a word."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body: Json = {"ok": False, "error": error, **more}


@dataclass(frozen=True)
class Fault:
    """One answer that goes wrong: its status, whether the call took effect before, whether no answer comes at all, or one that is
    cut off in its middle. `said` is the word that it says. Faults of the webhook are planned under the name `webhook`."""

    status: int = 500
    retry_after: int | None = None
    after_effect: bool = False
    silent: bool = False
    cut: bool = False
    said: str = ""


@dataclass
class Channel:
    id: str
    name: str
    private: bool = False
    archived: bool = False
    members: set[str] = field(default_factory=lambda: {BOT_USER})
    messages: list[Json] = field(default_factory=list)

    def message(self, ts: object) -> Json:
        found = next((message for message in self.messages if message["ts"] == ts), None)
        if found is None:
            raise Refused("message_not_found")
        return found


@dataclass
class Workspace:
    """`now` are the seconds of Slack's own clock, by which messages get their ts."""

    now: float = 1_763_000_000.0
    scopes: tuple[str, ...] = SCOPES
    channels: dict[str, Channel] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=lambda: {"U0000OLGA": "olga", "U0000OTTO": "otto", "U0000MALL": "mallory"})
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    seen: list[tuple[str, Json]] = field(default_factory=list)
    ephemerals: list[Json] = field(default_factory=list)
    most_a_second: bool = False
    most_a_minute: dict[str, int] = field(default_factory=dict)
    called: dict[str, list[float]] = field(default_factory=dict)
    views: list[Json] = field(default_factory=list)
    answers: dict[str, list[Json]] = field(default_factory=dict)
    address: str = ""
    last_post: dict[str, float] = field(default_factory=dict)
    listening: list[Callable[[Json], Awaitable[None]]] = field(default_factory=list)
    acknowledged: dict[str, Json] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        if not self.channels:
            for channel in (Channel("C0000SUPER", "agent-supervisory"), Channel("C00000OPS", "ops")):
                self.channels[channel.id] = channel

    def fail(self, method: str, *faults: Fault) -> None:
        """Let the next calls of a method go wrong, one after the other."""
        self.faults.setdefault(method, []).extend(faults)

    def fault(self, method: str) -> Fault | None:
        waiting = self.faults.get(method) or []
        return waiting.pop(0) if waiting else None

    def thread(self, channel: str) -> list[Json]:
        """A channel's messages with their `replies`, oldest first."""
        messages = self.channels[channel].messages
        roots = [m for m in messages if m.get("thread_ts", m["ts"]) == m["ts"]]
        return [{**root, "replies": [m for m in messages if m.get("thread_ts") == root["ts"] != m["ts"]]} for root in roots]

    def ts(self) -> str:
        return f"{self.now:.0f}.{next(self.numbers):06d}"

    def channel(self, name: str) -> Channel:
        found = self.channels.get(name)
        if found is None:
            raise Refused("channel_not_found")
        return found

    def must_wait(self, method: str, channel: str) -> int:
        """Seconds until Slack takes this call; 0: it is taken, and counted."""
        last = self.last_post.get(channel)
        if method == "chat.postMessage" and self.most_a_second and last is not None and self.now - last < 1:
            return 1
        recent = [at for at in self.called.get(method, []) if self.now - at < 60]
        if len(recent) >= self.most_a_minute.get(method, len(recent) + 1):
            return max(1, int(recent[0] + 60 - self.now))
        self.called[method] = [*recent, self.now]
        if method == "chat.postMessage":
            self.last_post[channel] = self.now
        return 0

    def response_url(self) -> str:
        """An address at which an answer may be given five times; empty where the workspace is not served."""
        ticket = f"{next(self.numbers)}"
        self.answers[ticket] = []
        return f"{self.address}/response/{ticket}" if self.address else ""

    def wrote(self, text: str, *, user: str, channel: str = "C0000SUPER", thread: str = "") -> Json:
        """A person posts. Returns what Slack tells of it: an event, in its envelope."""
        message = {"type": "message", "user": user, "text": text, "ts": self.ts()} | ({"thread_ts": thread} if thread else {})
        self.channels[channel].messages.append(message)
        return self.event({**message, "channel": channel, "channel_type": "channel", "event_ts": message["ts"]})

    def pressed(self, message: Json, action: str, *, user: str, channel: str = "C0000SUPER", value: str | None = None) -> Json:
        """The payload of `block_actions` for a button of a message."""
        button = next((b for b in buttons(message) if b["action_id"] == action), None)
        pressed = button or {"action_id": action, "value": value or ""}
        number = next(self.numbers)
        return {
            "type": "block_actions",
            "team": {"id": TEAM, "domain": "sandbox"},
            "user": {"id": user, "username": self.users.get(user, "somebody"), "team_id": TEAM},
            "api_app_id": APP,
            "token": "deprecated",
            "container": {
                "type": "message_attachment",
                "message_ts": message["ts"],
                "channel_id": channel,
                "is_ephemeral": False,
            },
            "trigger_id": f"{number}.{number}.trigger",
            "channel": {"id": channel, "name": self.channels[channel].name},
            "message": message,
            "response_url": self.response_url(),
            "actions": [
                {
                    "action_id": pressed["action_id"],
                    "block_id": f"block{number}",
                    "type": "button",
                    "value": value or pressed.get("value", ""),
                    "action_ts": f"{self.now:.0f}.{number:06d}",
                }
            ],
        }

    def command(self, command: str, text: str, *, user: str, channel: str = "C0000SUPER") -> Json:
        """The form of a slash command."""
        number = next(self.numbers)
        return {
            "token": "deprecated",
            "team_id": TEAM,
            "team_domain": "sandbox",
            "channel_id": channel,
            "channel_name": self.channels[channel].name,
            "user_id": user,
            "user_name": self.users.get(user, "somebody"),
            "command": command,
            "text": text,
            "api_app_id": APP,
            "response_url": self.response_url(),
            "trigger_id": f"{number}.{number}.trigger",
        }

    def envelope(self, kind: str, payload: Json) -> Json:
        """What Socket Mode wraps around an event, a command or an interaction: `events_api`, `slash_commands`, `interactive`."""
        id = f"envelope-{next(self.numbers)}"
        return {"envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": kind != "events_api"}

    async def deliver(self, envelope: Json) -> None:
        """Send an envelope to one of those that listen."""
        await self.listening[next(self.numbers) % len(self.listening)](envelope)

    async def refresh(self, reason: str = "refresh_requested") -> None:
        """Ask everybody who listens to connect again."""
        for send in tuple(self.listening):
            await send({"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}})

    def event(self, event: Json) -> Json:
        """The envelope of an event."""
        number = next(self.numbers)
        return {
            "token": "deprecated",
            "team_id": TEAM,
            "api_app_id": APP,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{number:010d}",
            "event_time": int(self.now),
            "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
        }


def buttons(message: Json) -> list[Json]:
    """Every button of a message."""
    blocks = [*message.get("blocks", []), *(b for a in message.get("attachments", []) for b in a.get("blocks", []))]
    return [e for block in blocks if block["type"] == "actions" for e in block["elements"]]


def as_form(payload: Json) -> bytes:
    """An interaction as Slack posts it."""
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(secret: str, body: bytes, at: float) -> dict[str, str]:
    """The headers of a request of Slack's: https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    stamp = str(int(at))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
