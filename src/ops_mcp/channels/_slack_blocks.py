"""How a notice looks in Slack: text as a fallback, Block Kit beside it, within Slack's limits. Pure.

What comes from strangers is a `rich_text` text element, which Slack shows as it is: it mentions nobody and links nowhere.
"""

from typing import NamedTuple

from ops_mcp.channels._look import headline
from ops_mcp.domain.notices import Button
from ops_mcp.observing import Notice
from ops_mcp.values import Json, JsonObject

LONGEST_HEADLINE, LONGEST_SECTION, LONGEST_QUOTE, LONGEST_LABEL = 300, 2_900, 6_000, 75
EVENT = "ops_mcp_notice"
"""The metadata's type, by which a message is found again that may or may not have arrived."""

_COLORS = {"critical": "#d00000", "high": "#e07000", "medium": "#e0c000", "low": "#30a030", "info": "#3070d0"}
_CUT = " […]"


class Message(NamedTuple):
    """The arguments of `chat.postMessage` that say what is shown."""

    text: str
    attachments: list[Json]
    metadata: JsonObject


def message_of(notice: Notice, prefix: str = "") -> Message:
    """The notice as Slack shows it."""
    said = cut(headline(notice), LONGEST_HEADLINE)
    shown = escaped(f"{prefix} {said}".strip())
    mentions = " ".join(f"<@{person}>" for person in notice.mentions)
    blocks: list[Json] = []
    if notice.text:
        section: JsonObject = {"type": "mrkdwn", "text": cut_escaped(notice.text, LONGEST_SECTION), "verbatim": True}
        blocks.append({"type": "section", "text": section})
    if notice.untrusted:
        blocks.append(_quoted(cut(notice.untrusted, LONGEST_QUOTE)))
    if notice.buttons:
        buttons: list[Json] = [_button(button) for button in notice.buttons[:5]]
        blocks.append({"type": "actions", "block_id": f"notice {notice.id}"[:255], "elements": buttons})
    attachment: JsonObject = {"color": notice.color or _COLORS.get(notice.severity, "#808080"), "fallback": shown}
    if blocks:
        attachment["blocks"] = blocks
    return Message(
        text=f"{shown} {mentions}".strip(),
        attachments=[attachment] if blocks else [],
        metadata={"event_type": EVENT, "event_payload": {"notice": notice.id}},
    )


def escaped(text: str) -> str:
    """Slack's control characters as entities, in this order; nothing else is changed."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, longest: int) -> str:
    """Text no longer than that; a cut says so."""
    return text if len(text) <= longest else text[: longest - len(_CUT)] + _CUT


def cut_escaped(text: str, longest: int) -> str:
    """Escaped text no longer than that; no entity is cut in two."""
    while len(escaped(text)) > longest:
        text = cut(text, max(len(_CUT), len(text) - max(1, (len(escaped(text)) - longest) // 4)))
    return escaped(text)


def notice_in(message: JsonObject) -> str | None:
    """Which notice a message of the history is; None for those of others."""
    match message.get("metadata"):
        case {"event_type": str() as event, "event_payload": {"notice": str() as notice}} if event == EVENT:
            return notice
        case _:
            return None


def _quoted(text: str) -> JsonObject:
    return {
        "type": "rich_text",
        "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]}],
    }


def _button(button: Button) -> JsonObject:
    shown: JsonObject = {
        "type": "button",
        "action_id": button.action,
        "value": button.value,
        "text": {"type": "plain_text", "text": cut(button.label, LONGEST_LABEL)},
    }
    if button.style in ("primary", "danger"):
        shown["style"] = button.style
    if button.confirm:
        shown["confirm"] = {
            "title": {"type": "plain_text", "text": "Are you sure?"},
            "text": {"type": "plain_text", "text": cut(button.confirm, 300)},
            "confirm": {"type": "plain_text", "text": cut(button.label, 30)},
            "deny": {"type": "plain_text", "text": "Not now"},
        }
    return shown
