"""Slack at the door: events, slash commands and pressed buttons. Each is signed by Slack, taken once, and acts as an operator.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import cast
from urllib.parse import parse_qsl

import anyio
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ops_mcp.domain.identity import Operator
from ops_mcp.domain.outcomes import Record
from ops_mcp.doors._slack_acts import Acts
from ops_mcp.doors._slack_commands import USAGE, Commands
from ops_mcp.doors._slack_said import (
    LONGEST_VALUE,
    Asked,
    Greeted,
    Other,
    Pressed,
    Wrote,
    command_in,
    event_in,
    press_in,
)
from ops_mcp.doors._slack_whispers import Whisper, whispers
from ops_mcp.errors import OpsError
from ops_mcp.secrets import Secrets
from ops_mcp.startup import Opened
from ops_mcp.store import doors as stored
from ops_mcp.store.database import Transaction
from ops_mcp.values import JsonObject, Secret
from ops_mcp.visitors import StoredVisitors
from ops_mcp.web import read_body

log = logging.getLogger(__name__)

MOST_BYTES = 262_144
MOST_AGE_SECONDS = 300
ANSWER_SECONDS = 2.5
"""Slack waits three seconds, and then sends it again."""

LONGEST_SHOWN = 2_900
"""Slack takes 3,000 characters in a block."""

NOT_NOW = 503
"""Slack sends an event again that was answered so."""

MOST_RECORDED = 60
"""Refusals of a minute that are recorded one by one; more are counted."""

HELP = "\n".join(("In the thread of a request for approval an operator answers with approve or deny, alone.", *USAGE.values()))

_NOBODY = "You are no operator of this ops-mcp. An operator adds you with: ops-mcp operator add NAME --slack YOUR-ID"


def routes(opened: Opened, visitors: StoredVisitors) -> Sequence[Route]:
    """The three addresses that the app's manifest names; none where no signing secret is set."""
    name = opened.config.settings.slack.signing_secret
    if not name:
        return ()
    try:
        secret = Secrets(opened.config.config_dir).read(name)
    except OpsError as error:
        log.warning("Slack's requests are not served: %s", error.message)
        return ()
    slack = Slack(opened, visitors, whispers(opened))
    handlers = {"/slack/events": slack.event, "/slack/commands": slack.command, "/slack/interactive": slack.interaction}
    return tuple(Route(path, endpoint=_Door(slack, secret, handle), methods=["POST"]) for path, handle in handlers.items())


def is_slacks(secret: Secret, headers: Headers, body: bytes, now: float) -> bool:
    """Whether Slack signed exactly these bytes within the last five minutes."""
    stamp, given = headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12) or abs(now - int(stamp)) > MOST_AGE_SECONDS:
        return False
    said = b"v0:" + stamp.encode() + b":" + body
    right = "v0=" + hmac.new(secret.get_secret_value().encode(), said, hashlib.sha256).hexdigest()
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))


Handler = Callable[[JsonObject, str], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Door:
    """Lets in what Slack signed. Everything else is answered without a look into it, and counted by its address."""

    slack: "Slack"
    secret: Secret
    handle: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MOST_BYTES)
        client = scope.get("client")
        if isinstance(body, Response):
            await self.slack.visitors.turned_away(client[0] if client else "")
            await body(scope, receive, send)
            return
        headers, now = Headers(scope=scope), self.slack.opened.app.clock().timestamp()
        if not is_slacks(self.secret, headers, body, now):
            await self.slack.visitors.turned_away(client[0] if client else "")
            await Response("Not signed by Slack, or too old", status_code=401)(scope, receive, send)
            return
        response = await self._answered(body, headers)
        await response(scope, receive, send)

    async def _answered(self, body: bytes, headers: Headers) -> Response:
        said = _said(body, headers.get("content-type", ""))
        if said is None:
            return Response("Not what Slack sends", status_code=400)
        return await answered(self.handle, said, headers.get("x-slack-signature", ""))


async def answered(handle: Handler, said: JsonObject, id: str, *, seconds: float = ANSWER_SECONDS) -> Response:
    """What a request is answered, within the time that Slack waits."""
    try:
        with anyio.fail_after(seconds):
            return await handle(said, id)
    except ValidationError:  # it has the signature, and not the shape
        return Response("Not what Slack sends", status_code=400)
    except TimeoutError:
        why = "This takes longer than Slack waits. Look with /ops status."
    except OpsError as error:
        log.warning("a request of Slack's was not taken: %s", error.message)
        why = f"{error.message} {error.problem.hint}".strip()
    # Only the answer to a command is shown. For anything else Slack says that it failed, or sends it again.
    return ephemeral(why) if "command" in said else Response("Not now", status_code=NOT_NOW)


@dataclass
class Slack:
    """What Slack's requests do. Socket Mode hands its envelopes to the same three functions; `id` names a request that does not
    name itself. What an answer's `background` says to one person is said once Slack has its answer."""

    opened: Opened
    visitors: StoredVisitors
    whisper: Whisper | None = None
    _recorded: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._acts = Acts(self.opened)
        self._commands = Commands(self.opened, self._acts)

    async def event(self, said: JsonObject, id: str) -> Response:
        """An event, taken once. One that cannot be taken now is asked for again: Slack repeats it for an hour."""
        match event_in(said, id):
            case Greeted(challenge=challenge):
                return JSONResponse({"challenge": challenge})
            case Other():
                return JSONResponse({"ok": True})
            case Wrote() as wrote:
                return self._answer(wrote, await self._written(wrote), {"ok": True})

    async def command(self, said: JsonObject, id: str) -> Response:
        """A slash command of an operator; everybody else is told that they are none."""
        commanded = command_in(said, id)
        if not await self._take(commanded.id):
            return self._replayed(commanded)
        text = await self._of_operator(commanded, lambda operator: self._commands.answer(commanded, operator))
        return ephemeral(text)

    async def interaction(self, said: JsonObject, id: str) -> Response:
        """A pressed button. Its value is an id of ours and says nothing by itself: the server looks up what it stands for.

        Slack does not show the answer to a pressed button, so it is whispered.
        """
        pressed = press_in(said, id)
        if isinstance(pressed, Other):
            return JSONResponse({"ok": True})
        if not await self._take(pressed.id):
            return self._replayed(pressed)
        text = await self._of_operator(pressed, lambda operator: self._acts.pressed(pressed, operator))
        return self._answer(pressed, text, {"text": text})

    async def _written(self, wrote: Wrote) -> str:
        """What is answered to a message; nothing to most, which cost no more than a look."""
        wanted = await self._acts.wanted(wrote)
        if wanted is None and not wrote.mentions:
            return ""
        if not await self._take(wrote.id):
            return ""
        if wanted is None:
            return HELP
        return await self._of_operator(wrote, lambda operator: self._acts.answer(*wanted, operator, note="in the thread"))

    async def _of_operator(self, asked: Asked, act: Callable[[Operator], Awaitable[str]]) -> str:
        """What comes of it, or why nothing does: then it is recorded, and nothing has been done."""
        operator = await stored.operator_in_slack(self.opened.database, asked.user)
        if operator is None:
            self._refused(asked, "no operator")
            return _NOBODY
        try:
            return await act(operator)
        except OpsError as error:
            self._refused(asked, error.message, by=operator.name)
            return f"{error.message} {error.problem.hint}".strip()

    async def _take(self, id: str) -> bool:
        at = self.opened.app.clock()
        return await self.opened.database.write(lambda tx: stored.take(tx, "slack", id, at=at))

    def _answer(self, asked: Wrote | Pressed, text: str, body: JsonObject) -> Response:
        whisper = self.whisper
        if not text or whisper is None:
            return JSONResponse(body)
        return JSONResponse(body, background=BackgroundTask(whisper, asked.channel, asked.user, text, asked.thread))

    def _replayed(self, asked: Asked) -> Response:
        self._refused(asked, "sent before")
        return Response("This was taken before", status_code=409)

    def _refused(self, asked: Asked, why: str, *, by: str | None = None) -> None:
        """Record a refusal; a flood of them is counted like requests without a token."""
        now = self.opened.app.clock()
        self._recorded = [one for one in self._recorded if now.timestamp() - one < 60]
        if len(self._recorded) >= MOST_RECORDED:
            self.visitors.count("slack")
            return
        self._recorded.append(now.timestamp())
        about = asked.value if isinstance(asked, Pressed) else asked.text[:LONGEST_VALUE]
        record = Record(
            kind="slack.refused",
            at=now,
            caller=f"operator:{by}" if by else None,
            reason=self.opened.app.redactor().text(why)[:500],
            data={"user": asked.user, "event": asked.id, "untrusted_about": self.opened.app.redactor().text(about)},
        )

        def unit(tx: Transaction) -> None:
            tx.record(record)

        self.opened.database.write_later(unit)


def ephemeral(text: str) -> Response:
    """An answer that only the person who asked sees. Names and texts of agents may be in it: none becomes a link or a mention."""
    shown = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 4] + " […]"
    block: JsonObject = {"type": "section", "text": {"type": "plain_text", "text": shown, "emoji": False}}
    return JSONResponse({"response_type": "ephemeral", "text": escape(shown, quote=False), "blocks": [block]})


def _said(body: bytes, kind: str) -> JsonObject | None:
    """JSON, a form, or the JSON in a form's `payload`; None for anything else."""
    try:
        if kind.startswith("application/json"):
            found = from_json(body)
        else:
            form = dict(parse_qsl(body.decode(), max_num_fields=100))
            found = from_json(form["payload"]) if "payload" in form else form
    except (ValueError, RecursionError):
        return None
    return cast(JsonObject, found) if isinstance(found, dict) else None
