"""What Slack sends, as values. Read once, at the door; whatever is not of Slack's shape is no value.

https://docs.slack.dev/apis/events-api, https://docs.slack.dev/interactivity
"""

from typing import Annotated, TypeAlias

from pydantic import Field

from ops_mcp.values import Json, JsonObject, Value

Person = Annotated[str, Field(pattern=r"^([UW][A-Z0-9]{2,40})?$")]
Place = Annotated[str, Field(pattern=r"^([CDG][A-Z0-9]{2,40})?$")]
Moment = Annotated[str, Field(pattern=r"^[0-9.]{0,40}$")]
Id = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]

LONGEST_TEXT = 4_000
LONGEST_VALUE = 100


class Greeted(Value):
    """Slack's first question to a new address, which is answered with its own word."""

    challenge: str


class Wrote(Value):
    """Somebody wrote a message. `thread` is the first message of its thread; `mentions` says that it is written to the app."""

    id: Id
    user: Person
    channel: Place
    thread: Moment
    text: str
    mentions: bool = False


class Commanded(Value):
    """Somebody gave a slash command."""

    id: Id
    user: Person
    channel: Place
    command: str
    text: str


class Pressed(Value):
    """Somebody pressed a button under a message of ours. `value` is an id of ours."""

    id: Id
    user: Person
    channel: Place
    thread: Moment
    action: str
    value: str


class Other(Value):
    """Something that is not for us: what bots write, edits, joins, other kinds of interactions."""


Asked: TypeAlias = Wrote | Commanded | Pressed


def event_in(said: JsonObject, otherwise: str) -> Greeted | Wrote | Other:
    """An event. `otherwise` names it where it names itself not. Raises `ValueError` for what is none of Slack's."""
    if said.get("type") == "url_verification":
        return Greeted(challenge=_text(said, "challenge")[:500])
    kind, user = _text(said, "event", "type"), _text(said, "event", "user")
    strange = any(_at(said, "event", name) for name in ("bot_id", "subtype", "hidden"))
    if kind not in ("message", "app_mention") or strange or not user or user == _own(said):
        return Other()
    return Wrote(
        id=_text(said, "event_id") or otherwise,
        user=user,
        channel=_text(said, "event", "channel"),
        thread=_text(said, "event", "thread_ts"),
        text=_text(said, "event", "text")[:LONGEST_TEXT],
        mentions=kind == "app_mention",
    )


def command_in(said: JsonObject, otherwise: str) -> Commanded:
    """A slash command. Raises `ValueError` for what is none of Slack's."""
    return Commanded(
        id=_text(said, "trigger_id") or otherwise,
        user=_text(said, "user_id"),
        channel=_text(said, "channel_id"),
        command=_text(said, "command")[:LONGEST_VALUE],
        text=_text(said, "text")[:LONGEST_TEXT],
    )


def press_in(said: JsonObject, otherwise: str) -> Pressed | Other:
    """A pressed button. Raises `ValueError` for what is none of Slack's."""
    actions = said.get("actions")
    if said.get("type") != "block_actions" or not isinstance(actions, list) or not actions:
        return Other()
    return Pressed(
        id=_text(said, "trigger_id") or otherwise,
        user=_text(said, "user", "id"),
        channel=_text(said, "channel", "id") or _text(said, "container", "channel_id"),
        thread=_text(said, "message", "thread_ts") or _text(said, "container", "thread_ts"),
        action=_text(actions[0], "action_id")[:LONGEST_VALUE],
        value=_text(actions[0], "value")[:LONGEST_VALUE],
    )


def _own(said: JsonObject) -> str:
    """Who the app itself is, in the workspace that the event comes from."""
    known = said.get("authorizations")
    return _text(known[0], "user_id") if isinstance(known, list) and known and _at(known[0], "is_bot") is True else ""


def _text(said: Json, *path: str) -> str:
    found = _at(said, *path)
    # Over the socket the SDK reads the JSON, and lets surrogates through that nothing can be written with.
    return found.encode(errors="replace").decode() if isinstance(found, str) else ""


def _at(said: Json, *path: str) -> Json:
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return said
