"""A channel that posts to Slack by a bot token: threads, buttons, and messages that are changed later.

Slack has no idempotency key, so each message carries its notice's id as metadata, and one that may have arrived is looked for.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ops_mcp.channels._parsing import parsed
from ops_mcp.channels._slack_blocks import LONGEST_SECTION, cut, cut_escaped, message_of, notice_in
from ops_mcp.channels._slack_errors import translated
from ops_mcp.domain.notices import FIRST
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, NotPermitted, ProviderError
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject, Value

DEFAULT_CHANNEL = "#agent-supervisory"
GAP_SECONDS = 1.0
"""Slack takes about one message a second and channel."""

REQUEST_SECONDS = 8
LOOK_BACK_SECONDS = 300
MOST_PAGES = 20
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ID = re.compile(r"[CGD][A-Z0-9]{6,20}")
_LINK = re.compile(r"https://[a-z0-9.-]+\.slack(?:-gov)?\.com/archives/([CGD][A-Z0-9]{6,20})(?:/.*)?")
_NAME = re.compile(r"#[^\s#]{1,80}")


class SlackTerms(Value):
    """`token` names the secret of a bot token (`xoxb-`). `channel` is an id, a link to the channel, or `#name`.

    `prefix` stands before every message. `api` is Slack's; another one only on this machine.
    """

    token: str = Field(default="SLACK_BOT_TOKEN", min_length=1, max_length=63)
    channel: str = Field(default=DEFAULT_CHANNEL, max_length=300)
    prefix: str = Field(default="", max_length=60)
    api: str = Field(default="https://slack.com/api/", max_length=200)

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        if found := _LINK.fullmatch(channel):
            return found[1]
        if not (_ID.fullmatch(channel) or _NAME.fullmatch(channel)):
            raise ValueError("must be a channel's id (C...), a link to it, or #name")
        return channel

    @field_validator("api")
    @classmethod
    def _is_safe(cls, api: str) -> str:
        parts = urlsplit(api)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("must begin with https://, or be on this machine")
        return api if api.endswith("/") else api + "/"


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:
    """The channel. Nothing is connected, and no secret read, before the first notice."""
    return Way(SlackChannel(parsed(SlackTerms, name, table), secret, clock), at_once=1, gap_seconds=GAP_SECONDS)


class Standing(Value):
    """How the bot stands in its channel, as Slack says. `scopes` None: Slack did not tell them. `member` and `private` None: it
    did not tell that."""

    scopes: frozenset[str] | None = None
    channel: str = ""
    member: bool | None = None
    private: bool | None = None


class SlackChannel:
    """Satisfies `Channel`, `Ready` and `Reconciles`. Its names for messages are `CHANNEL:TS`."""

    kind = "slack"

    def __init__(self, terms: SlackTerms, secret: ReadSecret, clock: Clock) -> None:
        self.terms = terms
        self._secret = secret
        self._clock = clock
        self._channel_id = ""

    async def send(self, notice: Notice) -> str:
        """Post it, or change the message that it replaces."""
        message = message_of(notice, self.terms.prefix)
        shown: JsonObject = {"text": message.text, "attachments": message.attachments, "metadata": message.metadata}
        if (replaced := replaced_by(notice)) is not None:
            channel, ts = split(replaced)
            answer = await self._asked("chat.update", {"channel": channel, "ts": ts, **shown})
            return f"{channel}:{ts}"
        channel = await self._resolved()
        plain: JsonObject = {"channel": channel, "unfurl_links": False, "unfurl_media": False, "parse": "none"}
        thread: JsonObject = {"thread_ts": split(notice.parent)[1]} if notice.parent else {}
        answer = await self._asked("chat.postMessage", {**plain, **thread, **shown})
        return f"{answer.get('channel', channel)}:{answer['ts']}"

    async def whisper(self, channel: str, person: str, text: str, *, thread: str = "") -> None:
        """Say something to one person, in a channel where they are. Nobody else sees it, and it is gone when they reload."""
        quoted: JsonObject = {"type": "section", "text": {"type": "plain_text", "text": cut(text, LONGEST_SECTION)}}
        said: JsonObject = {"channel": channel, "user": person, "text": cut_escaped(text, LONGEST_SECTION), "blocks": [quoted]}
        await self._asked("chat.postEphemeral", said | ({"thread_ts": thread} if thread else {}))

    async def find(self, notice: Notice) -> str | None:
        """Look for the message with this notice's id since shortly before it was written."""
        if replaced_by(notice) is not None:
            return None  # changing a message twice changes nothing
        channel = await self._resolved()
        wanted: JsonObject = {
            "channel": channel,
            "oldest": f"{notice.at.timestamp() - LOOK_BACK_SECONDS:.6f}",
            "limit": 200,
            "include_all_metadata": True,
        }
        method = "conversations.history"
        if notice.parent:
            method, wanted["ts"] = "conversations.replies", split(notice.parent)[1]
        async for message in self._pages(method, wanted, "messages"):
            if notice_in(message) == notice.id:
                return f"{channel}:{message['ts']}"
        return None

    async def ready(self) -> str:
        """Team, bot and channel, asked of Slack. Nothing is posted."""
        who = await self._asked("auth.test", {})
        channel = await self._resolved()
        return f"slack: {who.get('user')} of {who.get('team')} posts to {self.terms.channel} ({channel})."

    async def standing(self) -> Standing:
        """For the doctor: what the token may do, and whether the bot is in the channel. What Slack does not tell is left out."""
        answer = await self._answered("auth.test", {})
        headers = cast(Mapping[str, str], answer.headers)
        told = next((value for name, value in headers.items() if name.lower() == "x-oauth-scopes"), None)
        scopes = None if told is None else frozenset(scope.strip() for scope in told.split(",") if scope.strip())
        try:
            channel = await self._resolved()
            info: Any = (await self._asked("conversations.info", {"channel": channel})).get("channel") or {}
        except (NotFound, NotPermitted):
            return Standing(scopes=scopes, channel=self._channel_id)
        return Standing(scopes=scopes, channel=channel, member=bool(info.get("is_member")), private=bool(info.get("is_private")))

    async def _resolved(self) -> str:
        """The channel's id; a name is looked up once. Raises `NotFound` for one that the bot does not see."""
        if self._channel_id:
            return self._channel_id
        if not self.terms.channel.startswith("#"):
            self._channel_id = self.terms.channel
            return self._channel_id
        wanted = self.terms.channel.removeprefix("#")
        kinds: JsonObject = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": 200}
        async for channel in self._pages("conversations.list", kinds, "channels"):
            if channel.get("name") == wanted:
                self._channel_id = str(channel["id"])
                return self._channel_id
        raise NotFound(
            f"The bot sees no channel {self.terms.channel}.",
            hint="Invite it there (/invite), or give the channel's id from its details.",
        )

    async def _pages(self, method: str, wanted: JsonObject, items: str) -> AsyncGenerator[JsonObject]:
        """All items of a list, page by page. Raises `ProviderError` where there are too many pages to say what is not there."""
        cursor = ""
        for _ in range(MOST_PAGES):
            answer = await self._asked(method, {**wanted, "cursor": cursor} if cursor else wanted)
            for item in cast(list[JsonObject], answer.get(items) or []):
                yield item
            more: Any = answer.get("response_metadata") or {}
            cursor = str(more.get("next_cursor") or "")
            if not cursor:
                return
        raise ProviderError(f"Slack's {method} has too many pages to find anything in.")

    async def _asked(self, method: str, arguments: JsonObject) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], (await self._answered(method, arguments)).data)

    async def _answered(self, method: str, arguments: JsonObject) -> Any:
        """Ask Slack in a thread of its own: its client is not asynchronous without another HTTP library."""
        from http.client import HTTPException  # 20 ms

        import anyio
        import anyio.to_thread
        from slack_sdk import WebClient  # heavy, and only a worker that tells somebody needs it
        from slack_sdk.errors import SlackClientError

        token = self._secret(self.terms.token).get_secret_value()
        if not token.startswith("xoxb-"):
            raise NotConfigured(f"The secret {self.terms.token} is no bot token.", hint="A bot token begins with xoxb-.")
        # No retries of its own: the outbox paces, and knows which repeats are safe.
        client: Any = WebClient(token=token, base_url=self.terms.api, timeout=REQUEST_SECONDS, retry_handlers=[])
        # Methods that read ignore JSON bodies; those that post want them for attachments.
        body = {"json": arguments} if method.startswith("chat.") else {"params": arguments}
        try:
            with anyio.fail_after(REQUEST_SECONDS + 1):
                return await anyio.to_thread.run_sync(partial(client.api_call, method, **body), abandon_on_cancel=True)
        # Our own deadline's TimeoutError is an OSError, too; an answer that breaks off is neither that nor Slack's.
        except (SlackClientError, OSError, ValueError, HTTPException) as error:
            raise translated(error) from error


def replaced_by(notice: Notice) -> str | None:
    """The message that this notice stands in for. Where the first of its thread never arrived, it is a message of its own."""
    return (notice.parent or None) if notice.replaces == FIRST else (notice.replaces or None)


def split(outside: str) -> tuple[str, str]:
    """Channel and ts of one of our names for a message. A ts is text: as a number it loses digits."""
    channel, _, ts = outside.partition(":")
    if not channel or not ts:
        raise InvalidArguments("This is no message of Slack.", hint="The thread began elsewhere; begin another.")
    return channel, ts
