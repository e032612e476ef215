"""What `ops-mcp doctor` looks at in Slack: scopes, membership, and whether people can answer. Nothing is posted."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import anyio

from ops_mcp import channels
from ops_mcp.channels.slack import SlackChannel, Standing
from ops_mcp.cli.checks import Finding
from ops_mcp.config import Config
from ops_mcp.errors import OpsError
from ops_mcp.secrets import Secrets
from ops_mcp.startup import now

Lack: TypeAlias = Literal["warn", "fail"]
"""How much a missing scope matters: without it something is less good, or nothing arrives."""

_ANSWER_SECONDS = 15.0
_INSTALL = "Add it to the app (docs/slack/manifest.json), and install it again."


async def examine(config: Config) -> tuple[Finding, ...]:
    """All findings, in a fixed order. A channel that Slack does not answer for is left to the finding of that channel."""
    secrets = Secrets(config.config_dir)
    ways = channels.load(config.settings.channels, secret=secrets.read, clock=now)
    there = {name: way.channel for name, way in ways.items() if isinstance(way.channel, SlackChannel)}
    found: dict[str, Standing] = {}

    async def ask(name: str, channel: SlackChannel) -> None:
        with anyio.move_on_after(_ANSWER_SECONDS):
            try:
                found[name] = await channel.standing()
            except OpsError:
                return

    async with anyio.create_task_group() as group:
        for name, channel in there.items():
            group.start_soon(ask, name, channel)
    standing = [
        each for name in there if name in found for each in judged(f"channel {name}", there[name].terms.channel, found[name])
    ]
    return (*standing, *_answering(config, secrets, there))


def judged(what: str, configured: str, standing: Standing) -> Iterable[Finding]:
    """What the bot cannot do in the channel, each with what breaks. One line where there is nothing to say."""
    missing = () if standing.scopes is None else tuple(_missing(configured, standing, standing.scopes))
    for state, scope, breaks in missing:
        yield Finding(what=what, state=state, says=f"The bot token lacks the scope {scope}: {breaks}.", fix=_INSTALL)
    public = standing.scopes is not None and "chat:write.public" in standing.scopes
    if standing.member is False and (standing.private or not public):
        fix = "In Slack, in the channel: /invite @the-bot"
        yield Finding(what=what, state="fail", says="The bot is not in the channel, so it cannot post there.", fix=fix)
    elif standing.member is False:
        fix = "To have lost answers looked for and words in threads heard: /invite @the-bot"
        yield Finding(what=what, state="warn", says="The bot is not in the channel; it posts there, and reads nothing.", fix=fix)
    elif standing.member is None:
        fix = "In Slack, in the channel: /invite @the-bot"
        yield Finding(what=what, state="warn", says="Whether the bot is in the channel is not told to it.", fix=fix)
    elif not missing:
        yield Finding(what=what, state="ok", says="The bot is in the channel, and has the scopes it needs there.")


def _missing(configured: str, standing: Standing, scopes: frozenset[str]) -> Iterable[tuple[Lack, str, str]]:
    if "chat:write" not in scopes:
        yield "fail", "chat:write", "nothing can be posted"
    for scope in ("channels:read", "groups:read"):
        if configured.startswith("#") and scope not in scopes:
            yield "fail", scope, "give the channel's id (C...) in config.toml, or add it"
    history = "groups:history" if standing.private else "channels:history"
    if history not in scopes:
        yield "warn", history, "a message whose answer was lost cannot be looked for"


def _answering(config: Config, secrets: Secrets, there: dict[str, SlackChannel]) -> Iterable[Finding]:
    """Whether people can answer: by the signing secret or Socket Mode. A value is never shown."""
    terms = config.settings.slack
    if terms.approvals and terms.approvals not in there:
        says = f"approvals names {terms.approvals!r}, which is no channel of kind slack, so nobody is asked there."
        yield Finding(what="slack", state="fail", says=says, fix=f"Channels: {', '.join(there) or 'none'}.")
    if terms.signing_secret:
        yield _held(secrets, terms.signing_secret, "", "The signing secret is set: the routes are served.")
    if terms.socket_mode:
        yield _held(secrets, terms.app_token or "SLACK_APP_TOKEN", "xapp-", "The app token is set: Socket Mode is on.")
    if there and not terms.signing_secret and not terms.socket_mode:
        fix = "See docs/slack: [slack] signing_secret, or socket_mode = true."
        yield Finding(what="slack", state="warn", says="Nobody can answer in Slack: its routes are not served.", fix=fix)


def _held(secrets: Secrets, name: str, begins: str, says: str) -> Finding:
    try:
        value = secrets.read(name).get_secret_value()
    except OpsError as error:
        return Finding(what="slack", state="fail", says=error.message, fix=error.hint)
    if not value.startswith(begins):
        return Finding(what="slack", state="fail", says=f"The secret {name} does not begin with {begins}.", fix="See docs/slack.")
    return Finding(what="slack", state="ok", says=says)
