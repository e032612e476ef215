"""How severity looks, the same in every channel that people read."""

from ops_mcp.observing import Notice

_EMOJI = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "🟢", "info": "🔵"}


def headline(notice: Notice) -> str:
    """The notice's title behind its emoji, on one line; titles of tasks begin with theirs."""
    emoji = notice.emoji or _EMOJI.get(notice.severity, "")
    return " ".join((notice.title if emoji and notice.title.startswith(emoji) else f"{emoji} {notice.title}").split())
