"""A channel that posts to a Slack incoming webhook: no threads, no buttons, no changes, and no way to find a message again.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

import json
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field

from ops_mcp.channels._parsing import parsed
from ops_mcp.channels._slack_blocks import message_of
from ops_mcp.channels._slack_errors import of_answer
from ops_mcp.errors import NotConfigured, NotFound, ProviderError
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject, Value

if TYPE_CHECKING:
    import httpx2

HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
GAP_SECONDS = 1.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_GONE = frozenset({"no_service", "no_team", "channel_not_found", "channel_is_archived", "team_disabled", "no_active_hooks"})
_MOST_ANSWER_BYTES = 200


class SlackWebhookTerms(Value):
    """`url` names the secret that holds the webhook's address, which is all that is needed to post to it."""

    url: str = Field(default="SLACK_WEBHOOK_URL", min_length=1, max_length=63)
    prefix: str = Field(default="", max_length=60)
    timeout_seconds: float = Field(default=8.0, ge=0.1, le=9.0)


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:
    """The channel. Nothing is connected, and no secret read, before the first notice."""
    del clock
    return Way(SlackWebhookChannel(parsed(SlackWebhookTerms, name, table), secret), at_once=1, gap_seconds=GAP_SECONDS)


class SlackWebhookChannel:
    """Satisfies `Channel` and `Ready`."""

    kind = "slack_webhook"

    def __init__(self, terms: SlackWebhookTerms, secret: ReadSecret) -> None:
        self._terms = terms
        self._secret = secret
        self._tls: ssl.SSLContext | None = None

    async def send(self, notice: Notice) -> str:
        """Post it. Slack gives no name back."""
        import anyio
        import httpx2  # 60 ms, and only a worker that tells somebody needs it

        message = message_of(notice.evolve(buttons=()), self._terms.prefix)
        body: JsonObject = {"text": message.text, "attachments": message.attachments}
        try:
            with anyio.fail_after(self._terms.timeout_seconds):
                status, headers, said = await self._posted(body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise ProviderError("Slack cannot be reached.", hint="Check the network.", temporary=True) from error
        except (TimeoutError, httpx2.TransportError) as error:
            raise ProviderError(f"Slack's answer was lost ({type(error).__name__}); the message may have arrived.") from error
        if status == 200 and said == "ok":
            return ""
        if said in _GONE:
            raise NotFound(f"Slack answers {said}.", hint="Make the webhook again, and set its secret.")
        raise of_answer(status, headers, {"error": said if said.replace("_", "").isalnum() else ""})

    async def ready(self) -> str:
        """Its address is one of Slack's. Nothing is sent."""
        self._address()
        return "slack_webhook: no threads, no buttons, no updates (kind = slack has them); whether it answers is not asked."

    def _address(self) -> str:
        url = self._secret(self._terms.url).get_secret_value().strip()
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if not (parts.scheme == "https" and host in HOSTS) and not (parts.scheme == "http" and host in _LOOPBACK):
            raise NotConfigured(
                f"The secret {self._terms.url} is no address of a Slack webhook.", hint=f"Hosts: {', '.join(sorted(HOSTS))}."
            )
        return url

    async def _posted(self, body: JsonObject) -> "tuple[int, httpx2.Headers, str]":
        import httpx2  # as above

        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        async with (
            httpx2.AsyncClient(
                verify=self._tls, timeout=self._terms.timeout_seconds, follow_redirects=False, trust_env=False
            ) as client,
            client.stream(
                "POST", self._address(), content=json.dumps(body), headers={"content-type": "application/json"}
            ) as answer,
        ):
            read = b""
            async for part in answer.aiter_bytes():
                read += part
                if len(read) > _MOST_ANSWER_BYTES:
                    break
            return answer.status_code, answer.headers, read[:_MOST_ANSWER_BYTES].decode("utf-8", "replace").strip()
