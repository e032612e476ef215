"""What one person in Slack is told and nobody else sees. It is not kept: who misses it looks at the message, or asks again."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ops_mcp.errors import OpsError
from ops_mcp.secrets import Secrets
from ops_mcp.startup import Opened

log = logging.getLogger(__name__)

Whisper: TypeAlias = Callable[[str, str, str, str], Awaitable[None]]
"""Channel, person, text, and the first message of the thread where it is said, or nothing."""


def whispers(opened: Opened) -> Whisper | None:
    """By the bot of the channel where requests are told, else of any channel in Slack; None where there is none."""
    settings = opened.config.settings
    names = sorted(settings.channels, key=lambda name: (name != settings.slack.approvals, name))
    name = next((name for name in names if settings.channels[name].get("kind") == "slack"), None)
    if name is None:
        return None
    secret = Secrets(opened.config.config_dir).read

    async def whisper(channel: str, person: str, text: str, thread: str) -> None:
        from ops_mcp.channels.slack import SlackChannel, connect  # only the worker loads channels otherwise

        try:
            way = connect(name, settings.channels[name], secret=secret, clock=opened.app.clock)
            if channel and isinstance(way.channel, SlackChannel):
                await way.channel.whisper(channel, person, text, thread=thread)
        except OpsError as error:
            log.warning("somebody in Slack could not be told: %s", error.message)

    return whisper
