"""Slack's Socket Mode: the same requests as at the routes, over a connection that we open, for those without a public address.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

import logging
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.from_thread
import anyio.to_thread
from pydantic_core import from_json
from starlette.responses import Response

from ops_mcp.doors._slack_whispers import whispers
from ops_mcp.doors.slack import NOT_NOW, Slack, answered
from ops_mcp.errors import NotConfigured, OpsError
from ops_mcp.secrets import Secrets
from ops_mcp.startup import Opened
from ops_mcp.values import JsonObject
from ops_mcp.visitors import StoredVisitors

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
CONNECT_SECONDS, CLOSE_SECONDS = 60.0, 5.0


async def listen(opened: Opened, visitors: StoredVisitors) -> None:
    """Listen for as long as this server runs, where the operator wants it. A connection that fails is opened again."""
    terms = opened.config.settings.slack
    if not terms.socket_mode:
        return
    slack, pause = Slack(opened, visitors, whispers(opened)), FIRST_PAUSE_SECONDS
    while True:
        try:
            token = Secrets(opened.config.config_dir).read(terms.app_token or "SLACK_APP_TOKEN").get_secret_value()
            if not token.startswith("xapp-"):
                raise NotConfigured("[slack] app_token names no app token.", hint="An app token begins with xapp-.")
            await _connected(slack, token, terms.api)
            pause = FIRST_PAUSE_SECONDS
        except OpsError as error:
            log.warning("Socket Mode: %s", error.message)
        await anyio.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


async def _connected(slack: Slack, token: str, api: str) -> None:
    """One client of the SDK's, which pings and reconnects by itself, until this task is cancelled. Raises `NotConfigured` where
    there is no first connection."""
    from slack_sdk import WebClient  # heavy, and few servers need it
    from slack_sdk.errors import SlackClientError
    from slack_sdk.socket_mode import SocketModeClient

    trouble = ""
    async with anyio.from_thread.BlockingPortal() as portal:
        web: Any = WebClient(base_url=api, timeout=10)
        client: Any = SocketModeClient(app_token=token, web_client=web, logger=logging.getLogger("slack_sdk"))
        client.socket_mode_request_listeners.append(_Listener(slack, portal))
        try:
            with anyio.fail_after(CONNECT_SECONDS):  # the SDK sleeps for as long as Slack asks it to
                await anyio.to_thread.run_sync(client.connect, abandon_on_cancel=True)
            log.info("Socket Mode is connected")
            await anyio.sleep_forever()
        except (SlackClientError, OSError, ValueError, HTTPException) as error:
            trouble = type(error).__name__
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
                await anyio.to_thread.run_sync(client.close, abandon_on_cancel=True)
            await portal.stop(cancel_remaining=True)
    # Not before: a portal makes a group of whatever passes through it.
    raise NotConfigured(f"Slack refuses the connection: {trouble}.", hint="See: ops-mcp doctor")


class _Listener:
    """Called by the SDK in a thread of its own, for each envelope."""

    def __init__(self, slack: Slack, portal: "BlockingPortal") -> None:
        self._slack = slack
        self._portal = portal

    def __call__(self, client: Any, request: Any) -> None:
        from slack_sdk.socket_mode.response import SocketModeResponse  # as above

        payload = cast(JsonObject, request.payload or {})
        response = self._portal.call(handled, self._slack, str(request.type), payload, str(request.envelope_id))
        if response.status_code == NOT_NOW:
            return  # without an acknowledgement it is sent again
        shown = _shown(response) if request.accepts_response_payload else None
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=shown))
        if response.background is not None:
            self._portal.call(response.background)


async def handled(slack: Slack, kind: str, payload: JsonObject, envelope: str) -> Response:
    """What an envelope is answered, within the time that Slack waits. Its sender is Slack: only Slack has the connection."""
    handle = {"events_api": slack.event, "slash_commands": slack.command, "interactive": slack.interaction}.get(kind)
    return Response() if handle is None else await answered(handle, payload, envelope)


def _shown(response: Response) -> JsonObject | None:
    """The answer's words for the person who asked, where it has any."""
    try:
        found = cast(JsonObject, from_json(bytes(response.body)))
    except ValueError:
        return None
    return found if found.get("text") else None
