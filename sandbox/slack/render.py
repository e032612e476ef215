"""A thread of the simulated workspace as lines for a terminal."""

from collections.abc import Iterator
from typing import Any

from sandbox.slack.world import buttons

_WIDTH = 110


def thread_lines(root: dict[str, Any]) -> Iterator[str]:
    """The first message and its replies, each with what it quotes and its buttons."""
    for depth, message in [(0, root), *((1, reply) for reply in root.get("replies", []))]:
        if not message:
            continue
        indent = "  | " + "    " * depth
        yield f"{indent}{_plain(message['text'])[:_WIDTH]}"
        for line in _quoted(message):
            yield f"{indent}  {line[:_WIDTH]}"
        if pressed := [button["text"]["text"] for button in buttons(message)]:
            yield f"{indent}  " + " ".join(f"[{label}]" for label in pressed)


def _quoted(message: dict[str, Any]) -> Iterator[str]:
    for attachment in message.get("attachments", []):
        for block in attachment.get("blocks", []):
            if block["type"] == "section":
                yield from _plain(block["text"]["text"]).splitlines()
            elif block["type"] == "rich_text":
                yield from block["elements"][0]["elements"][0]["text"].splitlines()


def _plain(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
