"""A channel that posts signed JSON to an address of the operator's. Headers as in docs/languages/notices.md.

The scheme is that of Standard Webhooks (https://www.standardwebhooks.com), so that receivers find it in their libraries.
"""

import base64
import binascii
import hashlib
import hmac
import json
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ops_mcp.channels._answers import refuse
from ops_mcp.channels._parsing import parsed
from ops_mcp.errors import DeadlineExceeded, NotConfigured, ProviderError
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject, Secret, Value

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 5.0
SHORTEST_KEY_BYTES = 16
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ENCODED = "whsec_"


class WebhookTerms(Value):
    """`url` is https, or http on this machine. `key` names the secret that signs. `timeout_seconds` is for the whole answer."""

    url: str = Field(max_length=2_000)
    key: str = Field(min_length=1, max_length=63)
    timeout_seconds: float = Field(default=8.0, ge=0.1, le=9.0)

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if not host or parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError("must be an address without a user and without a fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise ValueError("must begin with https://, or be on this machine")
        return url


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:
    """The channel. Nothing is connected, and no secret read, before the first notice."""
    return Way(WebhookChannel(parsed(WebhookTerms, name, table), secret, clock), knows_repeats=True)


class WebhookChannel:
    """Satisfies `Channel`. A receiver is asked to tell repeats by the notice's id, so sending again is always safe."""

    kind = "webhook"

    def __init__(
        self, terms: WebhookTerms, secret: ReadSecret, clock: Clock, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        self._terms = terms
        self._secret = secret
        self._clock = clock
        self._transport = transport
        self._tls: ssl.SSLContext | None = None

    async def send(self, notice: Notice) -> str:
        import anyio
        import httpx2  # 60 ms, and only a worker that tells somebody needs it

        body = body_of(notice)
        headers = headers_of(notice.id, body, key_of(self._secret(self._terms.key)), int(self._clock().timestamp()))
        try:
            with anyio.fail_after(self._terms.timeout_seconds):
                status, answered = await self._posted(body, headers)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise DeadlineExceeded("The receiver did not answer in time.", hint="It is sent again under the same id.") from error
        except httpx2.InvalidURL as error:
            raise NotConfigured("The address of this webhook cannot be used.", hint="Write it as https://HOST/PATH.") from error
        except httpx2.TransportError as error:
            raise ProviderError(
                f"The receiver cannot be reached, or broke off: {type(error).__name__}.",
                hint="Check its address, its certificate and the network.",
                temporary=True,
            ) from error
        refuse(status, answered, self._clock())
        return ""

    async def ready(self) -> str:
        """Its key can be used. Nothing is sent: a receiver must not be told of what did not happen."""
        key_of(self._secret(self._terms.key))
        host = urlsplit(self._terms.url).hostname
        return f"webhook: signed with the secret {self._terms.key}; whether {host} answers is not asked."

    async def _posted(self, body: bytes, headers: dict[str, str]) -> "tuple[int, httpx2.Headers]":
        """Status and headers of the answer. Its body is not read: it is the receiver's, however long it is."""
        import httpx2  # as above

        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        async with (
            httpx2.AsyncClient(
                verify=self._tls,
                transport=self._transport,
                timeout=httpx2.Timeout(self._terms.timeout_seconds, connect=CONNECT_SECONDS),
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream("POST", self._terms.url, content=body, headers=headers) as answer,
        ):
            return answer.status_code, answer.headers


def body_of(notice: Notice) -> bytes:
    """The bytes that are sent and signed: the notice as ASCII JSON."""
    return json.dumps(notice.json_value(), separators=(",", ":"), ensure_ascii=True).encode()


def headers_of(id: str, body: bytes, key: bytes, timestamp: int) -> dict[str, str]:
    """The headers of one sending."""
    return {
        "content-type": "application/json",
        "user-agent": "ops-mcp",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(id, timestamp, body, key),
        "idempotency-key": id,
    }


def signature(id: str, timestamp: int, body: bytes, key: bytes) -> str:
    """HMAC-SHA256 over id, timestamp and body, so that none of the three can be replaced or sent again later."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def key_of(secret: Secret) -> bytes:
    """The key that a secret holds: what is encoded behind `whsec_`, else its own bytes. Raises `NotConfigured` for a weak one."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_ENCODED), validate=True) if text.startswith(_ENCODED) else text.encode()
    except binascii.Error as error:
        raise NotConfigured("The key of this webhook is not base64 behind whsec_.", hint=_KEY_HINT) from error
    if len(key) < SHORTEST_KEY_BYTES:
        raise NotConfigured(f"The key of this webhook is shorter than {SHORTEST_KEY_BYTES} bytes.", hint=_KEY_HINT)
    return key


_KEY_HINT = "Make one with: openssl rand -base64 32 | ops-mcp secret set NAME"
