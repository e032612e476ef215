"""What each method of the Slack Web API does to a workspace, and what it refuses as Slack does."""

import json
from collections.abc import Callable
from typing import Any

from sandbox.slack.world import (
    BOT_ID,
    BOT_USER,
    LONGEST_HEADER,
    LONGEST_SECTION,
    LONGEST_TEXT,
    MOST_BLOCKS,
    TEAM,
    Channel,
    Json,
    Refused,
    Workspace,
)

PAGE = 100


class Methods:
    """The methods of a bot token, by their names."""

    def __init__(self, world: Workspace) -> None:
        self.world = world
        self.known: dict[str, Callable[[Json], Json]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.postEphemeral": self._ephemeral,
            "conversations.list": self._list,
            "conversations.info": self._info,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.join": self._join,
            "conversations.open": self._direct,
            "reactions.add": self._react,
            "users.info": self._user,
            "views.open": self._view,
        }

    def _auth_test(self, _: Json) -> Json:
        return {
            "url": "https://sandbox.slack.com/",
            "team": "Sandbox",
            "user": "ops-mcp",
            "team_id": TEAM,
            "user_id": BOT_USER,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    def _post(self, said: Json) -> Json:
        channel = self._writable(said)
        _refuse_shape(said)
        ts = self.world.ts()
        message = {"type": "message", "user": BOT_USER, "bot_id": BOT_ID, "ts": ts, **_shown(said)}
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
        message = channel.message(said.get("ts"))
        if message["user"] != BOT_USER:
            raise Refused("cant_update_message")
        for name in ("text", "attachments", "blocks", "metadata"):
            message.pop(name, None)
        message.update({**_shown(said), "edited": {"user": BOT_USER, "ts": self.world.ts()}})
        return {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": message}

    def _delete(self, said: Json) -> Json:
        channel = self._writable(said)
        message = channel.message(said.get("ts"))
        if message["user"] != BOT_USER:
            raise Refused("cant_delete_message")
        channel.messages.remove(message)
        return {"channel": channel.id, "ts": message["ts"]}

    def _react(self, said: Json) -> Json:
        message = self.world.channel(str(said.get("channel"))).message(said.get("timestamp"))
        given = message.setdefault("reactions", [])
        if any(reaction["name"] == said.get("name") for reaction in given):
            raise Refused("already_reacted")
        given.append({"name": said.get("name"), "users": [BOT_USER], "count": 1})
        return {}

    def _view(self, said: Json) -> Json:
        """Taken for any trigger that a person's deed gave."""
        if not str(said.get("trigger_id", "")).endswith(".trigger"):
            raise Refused("invalid_trigger_id")
        self.world.views.append(said["view"])
        return {"view": {"id": f"V{len(self.world.views):09d}", **said["view"]}}

    def _direct(self, said: Json) -> Json:
        """The channel between the bot and one person."""
        user = str(said.get("users"))
        if user not in self.world.users:
            raise Refused("user_not_found")
        channel = Channel(f"D{user[1:]:0>8}", user, private=True)
        there = self.world.channels.setdefault(channel.id, channel) is not channel
        return {"channel": {"id": channel.id}, **({"already_open": True, "no_op": True} if there else {})}

    def _ephemeral(self, said: Json) -> Json:
        self._writable(said)
        self.world.ephemerals.append(said)
        return {"message_ts": self.world.ts()}

    def _writable(self, said: Json) -> Channel:
        channel = self._seen(said)
        if channel.archived:
            raise Refused("is_archived")
        if BOT_USER not in channel.members and "chat:write.public" not in self.world.scopes:
            raise Refused("not_in_channel")
        return channel

    def _seen(self, said: Json) -> Channel:
        """To a bot that is not in it, a private channel does not exist."""
        channel = self.world.channel(str(said.get("channel")))
        if channel.private and BOT_USER not in channel.members:
            raise Refused("channel_not_found")
        return channel

    def _needs(self, scope: str) -> None:
        if scope not in self.world.scopes:
            raise Refused("missing_scope", needed=scope, provided=",".join(self.world.scopes))

    def _list(self, said: Json) -> Json:
        if "private_channel" in str(said.get("types")):
            self._needs("groups:read")
        shown = [c for c in self.world.channels.values() if not (c.archived and said.get("exclude_archived"))]
        page, cursor = _page([c for c in shown if not c.private or BOT_USER in c.members], said)
        return {"channels": [_channel(c) for c in page], "response_metadata": {"next_cursor": cursor}}

    def _info(self, said: Json) -> Json:
        channel = self._seen(said)
        if channel.private:
            self._needs("groups:read")
        return {"channel": _channel(channel)}

    def _join(self, said: Json) -> Json:
        channel = self.world.channel(str(said.get("channel")))
        if channel.private:
            raise Refused("method_not_supported_for_channel_type")
        channel.members.add(BOT_USER)
        return {"channel": _channel(channel)}

    def _history(self, said: Json) -> Json:
        channel = self._readable(said)
        roots = [m for m in channel.messages if m.get("thread_ts", m["ts"]) == m["ts"]]
        return self._messages([self._threaded(root, channel) for root in reversed(roots)], said)

    def _replies(self, said: Json) -> Json:
        channel = self._readable(said)
        found = [m for m in channel.messages if said.get("ts") in (m["ts"], m.get("thread_ts"))]
        if not found:
            raise Refused("thread_not_found")
        return self._messages([self._threaded(message, channel) for message in found], said)

    def _threaded(self, message: Json, channel: Channel) -> Json:
        """The message with what Slack counts of its thread; a reply with whose it answers."""
        if (thread := message.get("thread_ts")) is not None:
            return {**message, "parent_user_id": channel.message(thread)["user"]}
        replies = [m for m in channel.messages if m.get("thread_ts") == message["ts"]]
        if not replies:
            return message
        users = sorted({str(reply["user"]) for reply in replies})
        counted = {"reply_count": len(replies), "reply_users_count": len(users), "latest_reply": replies[-1]["ts"]}
        return {**message, "thread_ts": message["ts"], **counted, "reply_users": users, "subscribed": True}

    def _readable(self, said: Json) -> Channel:
        channel = self._seen(said)
        if channel.private:
            self._needs("groups:history")
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
        return {"user": _person(user, self.world.users[user])}


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
    nothing = {"value": "", "creator": "", "last_set": 0}
    return {
        "id": channel.id,
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": not channel.private,
        "is_group": channel.private,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "is_member": BOT_USER in channel.members,
        **dict.fromkeys(("is_im", "is_mpim", "is_general", "is_shared", "is_org_shared", "is_ext_shared"), False),
        "created": 1_600_000_000,
        "creator": "U0000OLGA",
        "topic": nothing,
        "purpose": nothing,
    }


def _person(user: str, name: str) -> Json:
    names = dict.fromkeys(("real_name", "real_name_normalized", "display_name", "display_name_normalized"), name)
    empty = dict.fromkeys(("title", "phone", "skype", "status_text", "status_emoji"), "")
    return {
        "id": user,
        "team_id": TEAM,
        "name": name,
        "deleted": False,
        "is_bot": False,
        "is_app_user": False,
        "updated": 1_600_000_000,
        "profile": {**names, **empty, "avatar_hash": "0" * 12, "fields": None},
    }


def _page(items: list[Any], said: Json) -> tuple[list[Any], str]:
    start = int(str(said.get("cursor") or "at:0").removeprefix("at:"))
    limit = min(int(said.get("limit") or PAGE), 999)
    end = start + limit
    return items[start:end], f"at:{end}" if end < len(items) else ""
