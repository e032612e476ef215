"""One Docker Engine over its HTTP API: versions negotiated, answers bounded, mutations never left half asked.

Facts: Engine API 1.41-1.44 (`GET /version`: ApiVersion, MinAPIVersion); errors are `{"message": …}`; 304 means that it is so
already.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from ops_mcp.errors import NotConfigured, ProviderError
from ops_mcp.providers._outside import Answer
from ops_mcp.providers.docker.settings import Endpoint
from ops_mcp.providers.docker.troubles import EngineAway, not_understood, translated
from ops_mcp.values import Json, JsonObject

if TYPE_CHECKING:
    import ssl

    import httpx2

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
OLDEST, NEWEST = (1, 41), (1, 44)
_MOST_BODY = 32 << 20
_MOST_LINE = 1 << 20


@dataclass
class EngineApi:
    """Requests to one engine. No request is repeated here. Each has its own connection: a kept one would not survive a restart
    of the engine, and a socket costs nothing."""

    endpoint: Endpoint
    transport: "httpx2.AsyncBaseTransport | None" = None
    _client: "httpx2.AsyncClient | None" = field(default=None, init=False)
    _version: tuple[int, int] | None = field(default=None, init=False)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str | int] | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = READ_SECONDS,
        hide: Collection[str] = (),
    ) -> Answer:
        """One request and its whole answer. Raises `EngineAway` where there was none, else what `translated` makes of 400 and
        above. A change is waited for even when the caller is cancelled: otherwise nobody would know whether it was made."""
        url = await self._url(path)
        request = self.client().build_request(
            method, url, params=params, json=body, headers=dict(headers or {}), timeout=_timeout(seconds)
        )
        status, head, content = await self._sent(request, doing)
        return self._judged(status, head, content, doing=doing, hide=hide)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str | int] | None = None,
        body: Json = None,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = READ_SECONDS,
    ) -> AsyncGenerator["httpx2.Response"]:
        """The answer while it arrives; `seconds` is the longest silence in it. Cancelling closes the connection."""
        url = await self._url(path)
        with self._talking(doing):
            request = self.client().build_request(
                method, url, params=params, json=body, content=content, headers=dict(headers or {}), timeout=_timeout(seconds)
            )
            response = await self.client().send(request, stream=True)
            try:
                if response.status_code >= 400:
                    refusal = await _bounded(response, doing)
                    self._judged(response.status_code, response.headers, refusal, doing=doing, hide=())
                yield response
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    async def version(self) -> tuple[int, int]:
        """The version that is spoken: ours or the engine's, whichever is older. Asked again after the engine was away."""
        if self._version is None:
            with self._talking("its version"):
                found = await self.client().get("/version", timeout=_timeout(READ_SECONDS))
            self._version = negotiated(
                self._judged(found.status_code, found.headers, found.content, doing="its version", hide=())
            )
        return self._version

    def client(self) -> "httpx2.AsyncClient":
        import httpx2  # 60 ms, and only who deploys to an engine needs it

        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self._base(),
                transport=self.transport or self._transport(),
                headers={"user-agent": "ops-mcp"},
                follow_redirects=False,
                trust_env=False,
            )
        return self._client

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _url(self, path: str) -> str:
        major, minor = await self.version()
        return f"/v{major}.{minor}{path}"

    async def _sent(self, request: "httpx2.Request", doing: str) -> tuple[int, Mapping[str, str], bytes]:
        with anyio.CancelScope(shield=request.method != "GET"), self._talking(doing):
            response = await self.client().send(request, stream=True)
            try:
                return response.status_code, response.headers, await _bounded(response, doing)
            finally:
                await response.aclose()
        raise EngineAway(f"no answer to {doing}")

    def _judged(self, status: int, headers: Mapping[str, str], content: bytes, *, doing: str, hide: Collection[str]) -> Answer:
        answer = Answer(status, headers, _json(content))
        if status < 400:
            return answer
        error = translated(status, _message(answer, content), doing=doing, hide=hide)
        if isinstance(error, EngineAway):
            self._version = None
        raise error

    @contextmanager
    def _talking(self, doing: str) -> Generator[None]:
        """An engine that was away may be another one when it is back."""
        try:
            with _translating(doing):
                yield
        except EngineAway:
            self._version = None
            raise

    def _base(self) -> str:
        if self.endpoint.is_socket:
            return "http://docker"
        return ("https" if self.endpoint.uses_tls else "http") + self.endpoint.host.removeprefix("tcp").rstrip("/")

    def _transport(self) -> "httpx2.AsyncHTTPTransport":
        import httpx2  # as above

        limits = httpx2.Limits(max_keepalive_connections=0)
        if self.endpoint.is_socket:
            return httpx2.AsyncHTTPTransport(uds=self.endpoint.socket_path, limits=limits, trust_env=False)
        verify = tls_context(self.endpoint) if self.endpoint.uses_tls else False
        return httpx2.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)


async def lines_of(response: "httpx2.Response", doing: str) -> AsyncGenerator[JsonObject]:
    """The objects of a stream of JSON lines, as pulls, builds and events send them. A line beyond 1 MiB is passed over."""
    with _translating(doing):
        async for line in response.aiter_lines():
            found = _json(line.encode()) if 0 < len(line) <= _MOST_LINE else None
            if isinstance(found, dict):
                yield found


def negotiated(answer: Answer) -> tuple[int, int]:
    """The newest version that both speak. Raises `NotConfigured` where there is none."""
    theirs, oldest = _pair(answer.object.get("ApiVersion")), _pair(answer.object.get("MinAPIVersion"))
    if theirs is None:
        raise not_understood("its version")
    if theirs < OLDEST:
        raise NotConfigured(
            f"The engine speaks API {_dotted(theirs)}, and at least {_dotted(OLDEST)} is needed.",
            hint="Update it to Docker 20.10 or newer.",
        )
    if oldest is not None and oldest > NEWEST:
        raise NotConfigured(
            f"The engine no longer speaks API {_dotted(NEWEST)}.",
            hint="Update ops-mcp, or lower the engine's oldest API version.",
        )
    return min(theirs, NEWEST)


def tls_context(endpoint: Endpoint) -> "ssl.SSLContext":
    """Raises `NotConfigured` naming the setting whose file cannot be used."""
    import ssl  # as above

    try:
        context = ssl.create_default_context(cafile=endpoint.ca)
    except (OSError, ssl.SSLError) as error:
        raise NotConfigured("[providers.docker] ca is no readable file of certificates.", hint="Correct its path.") from error
    if endpoint.cert is not None:
        try:
            context.load_cert_chain(endpoint.cert, endpoint.key)
        except (OSError, ssl.SSLError) as error:
            raise NotConfigured(
                "[providers.docker] cert and key are no readable pair of files.",
                hint="Correct their paths; the key has no passphrase.",
            ) from error
    return context


@contextmanager
def _translating(doing: str) -> Generator[None]:
    """No answer, and an answer that breaks off, are `EngineAway`."""
    import httpx2  # as above

    try:
        yield
    except httpx2.TimeoutException as error:
        raise EngineAway(f"it did not answer in time to {doing}") from error
    except httpx2.TransportError as error:
        if "Permission denied" in str(error):
            raise NotConfigured(
                "The user that runs ops-mcp may not use the engine's socket.",
                hint="Let it, mostly by the group docker, whose members are root on that host. See docs/providers/docker.md.",
            ) from error
        raise EngineAway(f"no answer to {doing} ({type(error).__name__})") from error


def _timeout(seconds: float | None) -> "httpx2.Timeout":
    import httpx2  # as above

    return httpx2.Timeout(seconds, connect=CONNECT_SECONDS)


async def _bounded(response: "httpx2.Response", doing: str) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > _MOST_BODY:
            raise ProviderError(f"The engine's answer to {doing} is too large.", hint="Remove containers that nobody needs.")
    return bytes(content)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def _message(answer: Answer, content: bytes) -> str:
    said = answer.object.get("message")
    return said if isinstance(said, str) else content[:1000].decode(errors="replace")


def _pair(value: Json) -> tuple[int, int] | None:
    parts = value.split(".") if isinstance(value, str) else []
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(p.isdigit() for p in parts) else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
