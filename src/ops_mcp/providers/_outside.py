"""What providers over HTTP share: which host, whose token, and outside errors in our words. Knows no provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops_mcp.errors import NotConfigured, ProviderError
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import Json, JsonObject, Secret, Value

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
LONGEST_RETRY_SECONDS = 3600.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Access(Value):
    """A provider's table in `config.toml`: `tokens` maps each environment to the name of the secret that opens it.

    `api` is changed only for a proxy of the operator's, or a simulator on this machine.
    """

    api: str
    tokens: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with a status that is no failure of the way there: below 500 and not 429."""

    status: int
    headers: Mapping[str, str]
    body: Json

    @property
    def object(self) -> JsonObject:
        """The body where it is a JSON object, else an empty one."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass
class Outside:
    """Requests to one API. Only the hosts of `hosts` (and loopback, where `api` names it) are ever connected to.

    No request is repeated here: the operation that asked knows whether it may be. `requests` counts what was sent.
    """

    kind: str
    api: str
    hosts: frozenset[str]
    clock: Clock
    transport: "httpx2.AsyncBaseTransport | None" = None
    requests: int = field(default=0, init=False)
    _client: "httpx2.AsyncClient | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        refuse_other_host(self.kind, self.api, self.hosts)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | int] | None = None,
        body: Json = None,
    ) -> Answer:
        """One request and its whole answer. Raises temporary `ProviderError`s for no answer, 429 and 5xx; a request that got
        no answer may have been carried out."""
        import httpx2  # 60 ms, and only who deploys to such a place needs it

        self.requests += 1
        try:
            found = await self.client().request(method, path, headers=dict(headers), params=params, json=body)
        except httpx2.TimeoutException as error:
            raise ProviderError(f"{self.kind} did not answer in time.", hint="Try again later.", temporary=True) from error
        except httpx2.TransportError as error:
            raise ProviderError(
                f"{self.kind} cannot be reached: {type(error).__name__}.",
                hint="Check the network, then try again.",
                temporary=True,
            ) from error
        refuse_failure(self.kind, found, self.clock())
        return Answer(found.status_code, found.headers, _json(found))

    def client(self) -> "httpx2.AsyncClient":
        """The one client of this API, for what `ask` cannot do: streams and sockets."""
        import httpx2  # as above

        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self.api,
                transport=self.transport,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                headers={"user-agent": "ops-mcp"},
                follow_redirects=False,
                trust_env=False,
            )
        return self._client

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def token_for(kind: str, access: Access, environment: str, secret: ReadSecret) -> Secret:
    """The token of this environment and no other. Raises `NotConfigured` saying what to set."""
    reference = access.tokens.get(environment)
    if reference is None:
        raise NotConfigured(
            f"{kind} has no token for {environment}.",
            hint=f"An operator sets one: `ops-mcp secret set NAME`, then [providers.{kind}.tokens] {environment} = NAME.",
        )
    return secret(reference)


def refuse_other_host(kind: str, url: str, hosts: frozenset[str]) -> None:
    """Raises `NotConfigured` for an address that this provider must not send its tokens to."""
    parts = urlsplit(url)
    named = (parts.hostname or "").lower()
    if named in _LOOPBACK or (parts.scheme in ("https", "wss") and named in hosts):
        return
    raise NotConfigured(
        f"[providers.{kind}] api is no address for its tokens.", hint=f"Allowed: https://{min(hosts)}, or loopback."
    )


def refuse_failure(kind: str, found: "httpx2.Response", now: datetime) -> None:
    """Raises a temporary `ProviderError` for 429 and 5xx, with the wait that the answer asks for."""
    if found.status_code == 429:
        wait = retry_after(found.headers, now) or 60.0
        raise ProviderError(
            f"{kind} limits the rate of requests.",
            hint=f"It takes more in {wait:.0f} s.",
            temporary=True,
            retry_after_seconds=wait,
            details={"http_status": 429},
        )
    if found.status_code >= 500:
        raise ProviderError(
            f"{kind} answered HTTP {found.status_code}.",
            hint="Its status page tells whether it is down. Try again later.",
            temporary=True,
            retry_after_seconds=retry_after(found.headers, now),
            details={"http_status": found.status_code},
        )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by `Retry-After` (seconds or a date, RFC 9110 10.2.3) or by `X-RateLimit-Reset` (an epoch in seconds)."""
    for name, read in (("retry-after", _after), ("x-ratelimit-reset", _until_epoch)):
        text = headers.get(name)
        if text is not None and (seconds := read(text.strip(), now)) is not None:
            return min(max(seconds, 0.0), LONGEST_RETRY_SECONDS)
    return None


def _after(text: str, now: datetime) -> float | None:
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError):
        return None


def _until_epoch(text: str, now: datetime) -> float | None:
    return float(text) - now.timestamp() if text.replace(".", "", 1).isdigit() else None


def _json(found: "httpx2.Response") -> Any:
    try:
        return found.json() if found.content else None
    except ValueError:
        return None
