"""A channel that sends mail through Mailtrap's HTTP API. Mailtrap tells no repeats: what may have arrived is not sent again."""

import json
import ssl
from datetime import datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ops_mcp.channels._answers import USUAL_WAIT_SECONDS, retry_after
from ops_mcp.channels._mail import MailTerms, mail_of, mailbox
from ops_mcp.channels._parsing import parsed
from ops_mcp.errors import InvalidArguments, NotFound, NotPermitted, OpsError, ProviderError, RateLimited
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import Json, JsonObject

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 5.0
MOST_ANSWER_BYTES = 65_536
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_LONGEST_SAID = 200


class MailtrapTerms(MailTerms):
    """`token` names the secret. `inbox` sends to a sandbox's inbox, whose `api` is https://sandbox.api.mailtrap.io."""

    token: str = Field(min_length=1, max_length=63)
    api: str = Field(default="https://send.api.mailtrap.io", max_length=200)
    inbox: int | None = Field(default=None, ge=1)
    category: str = Field(default="ops-mcp", max_length=255)

    @field_validator("api")
    @classmethod
    def _is_safe(cls, api: str) -> str:
        parts = urlsplit(api)
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must be an address without a user, a query and a fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("must begin with https://, or be on this machine")
        return api.rstrip("/")


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:
    """The channel. Nothing is connected, and no secret read, before the first notice."""
    terms = parsed(MailtrapTerms, name, table)
    return Way(MailtrapChannel(terms, secret, clock), knows_repeats=terms.again_in_doubt)


class MailtrapChannel:
    """Satisfies `Channel`."""

    kind = "mailtrap"

    def __init__(self, terms: MailtrapTerms, secret: ReadSecret, clock: Clock) -> None:
        self._terms = terms
        self._secret = secret
        self._clock = clock
        self._tls: ssl.SSLContext | None = None

    async def send(self, notice: Notice) -> str:
        """Mailtrap's id of the mail to the first recipient."""
        import anyio
        import httpx2  # 60 ms, and only a worker that tells somebody needs it

        token = self._secret(self._terms.token).get_secret_value()
        try:
            with anyio.fail_after(self._terms.timeout_seconds):
                status, headers, body = await self._posted(request_of(notice, self._terms), token)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise ProviderError(
                f"Mailtrap cannot be reached: {type(error).__name__}.", hint="Check the network.", temporary=True
            ) from error
        except (TimeoutError, httpx2.TransportError) as error:
            raise self._doubt(f"Mailtrap did not answer: {type(error).__name__}; the mail may have been taken.") from error
        said = _object(body)
        if 200 <= status < 300:
            return self._taken(said)
        if status >= 500 and status != 503 and said.get("success") is not False:
            raise self._doubt(f"Mailtrap answered HTTP {status}; the mail may have been taken.")
        raise refusal(status, headers.get("retry-after", ""), said, self._clock())

    async def ready(self) -> str:
        """Its token is set. Mailtrap has nothing to ask without sending."""
        self._secret(self._terms.token)
        whom = ", ".join(mailbox(one).spec for one in self._terms.to)
        return f"mailtrap: to {whom} with the secret {self._terms.token}; whether Mailtrap takes it is not asked."

    def _taken(self, said: JsonObject) -> str:
        ids = said.get("message_ids")
        if said.get("success") is True and isinstance(ids, list) and ids and isinstance(ids[0], str):
            return ids[0]
        raise self._doubt("Mailtrap's answer names no mail; it may have been taken.")

    def _doubt(self, message: str) -> ProviderError:
        return ProviderError(message, temporary=self._terms.again_in_doubt)

    async def _posted(self, body: JsonObject, token: str) -> "tuple[int, httpx2.Headers, bytes]":
        import httpx2  # as above

        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        inbox = f"/{self._terms.inbox}" if self._terms.inbox is not None else ""
        async with (
            httpx2.AsyncClient(
                verify=self._tls,
                timeout=httpx2.Timeout(self._terms.timeout_seconds, connect=CONNECT_SECONDS),
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream(
                "POST",
                f"{self._terms.api}/api/send{inbox}",
                json=body,
                # Requests without a User-Agent may be turned away at Mailtrap's edge.
                headers={"authorization": f"Bearer {token}", "user-agent": "ops-mcp"},
            ) as answer,
        ):
            read = b""
            async for part in answer.aiter_bytes():
                read += part
                if len(read) > MOST_ANSWER_BYTES:
                    break
            return answer.status_code, answer.headers, read[:MOST_ANSWER_BYTES]


def request_of(notice: Notice, terms: MailtrapTerms) -> JsonObject:
    """The body of `POST /api/send`, in the shape `EmailWithTextAndHtml`. The notice's id is in it for whoever looks later."""
    mail = mail_of(notice, mailbox(terms.sender).domain)
    to: list[Json] = [_address(one) for one in terms.to]
    return {
        "from": _address(terms.sender),
        "to": to,
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "headers": {**mail.headers},
        "custom_variables": {"notification_id": notice.id},
        "category": terms.category,
    }


def refusal(status: int, retry: str, said: JsonObject, now: datetime) -> OpsError:
    """What an answer means that is no success and leaves no doubt, in our errors and Mailtrap's words."""
    words = words_of(said)
    message = f"Mailtrap refused it (HTTP {status}){': ' + words if words else '.'}"
    details: JsonObject = {"http_status": status}
    wait = retry_after(retry, now)
    if status == 429:
        seconds = USUAL_WAIT_SECONDS if wait is None else wait
        return RateLimited("Mailtrap limits the rate (HTTP 429).", retry_after_seconds=seconds, details=details)
    if status in (408, 425) or status >= 500:
        return ProviderError(message, temporary=True, retry_after_seconds=wait, details=details)
    if status in (401, 403):
        return NotPermitted(
            message, hint="Check the token and the sending domain, then: ops-mcp outbox retry ID", details=details
        )
    if status in (404, 405, 410) or 300 <= status < 400:
        return NotFound(message, hint="Check api and inbox, then: ops-mcp outbox retry ID", details=details)
    return InvalidArguments(message, hint="Check sender and to, then: ops-mcp outbox retry ID", details=details)


def words_of(said: JsonObject) -> str:
    """What Mailtrap says is wrong, in any of its shapes: `errors` as list, object or text, or `error`."""
    given = said.get("errors", said.get("error"))
    match given:
        case str():
            parts = [given]
        case list():
            parts = [part for part in given if isinstance(part, str)]
        case dict():
            parts = [f"{name} {part[0] if isinstance(part, list) and part else part}" for name, part in given.items()]
        case _:
            parts = []
    text = " ".join("".join(c if c.isprintable() else " " for c in "; ".join(parts)).split())
    return text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 1] + "…"


def _address(text: str) -> JsonObject:
    found = mailbox(text)
    return {"email": found.spec, "name": found.name} if found.name else {"email": found.spec}


def _object(body: bytes) -> JsonObject:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return cast(JsonObject, found) if isinstance(found, dict) else {}
