"""A service's page of metrics in Prometheus's text format, fetched within bounds; the operator names its address."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from pydantic import Field

from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName, ServiceName
from ops_mcp.errors import DeadlineExceeded, ProviderError
from ops_mcp.ports import ReadSecret
from ops_mcp.sources._table import parsed, refuse_clear
from ops_mcp.values import JsonObject, Value

if TYPE_CHECKING:
    import httpx2

KIND = "scrape"
ACCEPT = "text/plain;version=0.0.4;q=0.9,*/*;q=0.1"


class Table(Value):
    """`[sources.NAME]` of this kind: whose page it is, where, how often it is fetched, and how much of it is read."""

    url: str = Field(pattern=r"^https?://[^\s#@]+$", max_length=500)
    service: ServiceName = Field(pattern=NAME_PATTERN)
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    interval_seconds: float = Field(default=15.0, ge=1, le=300)
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    most_bytes: int = Field(default=8 * 2**20, ge=1024, le=64 * 2**20)
    most_series: int = Field(default=2_000, ge=1, le=100_000)
    token: str = ""


def build(name: str, table: JsonObject, *, secret: ReadSecret, **_: object) -> "Page":
    """`secret` reads the bearer token that the table names."""
    given = parsed(Table, name, table)
    if given.token:
        refuse_clear(name, given.url)
    return Page(name, given, secret)


class Page:
    """Where it is, and its bytes. `instance` tells several pages of one service apart, as Prometheus does."""

    def __init__(self, name: str, table: Table, secret: ReadSecret) -> None:
        self.name = name
        self.table = table
        self._secret = secret

    @property
    def instance(self) -> str:
        return urlsplit(self.table.url).netloc

    async def fetched(self) -> bytes:
        """The page as it is now. Raises `ProviderError` where it is not there, and `DeadlineExceeded`."""
        import httpx2  # 60 ms, and only who asks elsewhere needs it

        seconds = self.table.timeout_seconds
        headers = {"Accept": ACCEPT, "X-Prometheus-Scrape-Timeout-Seconds": f"{seconds:g}"}
        if self.table.token:
            headers["Authorization"] = f"Bearer {self._secret(self.table.token).get_secret_value()}"
        try:
            with anyio.fail_after(seconds):
                async with (
                    httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds) as client,
                    client.stream("GET", self.table.url, headers=headers) as response,
                ):
                    if response.status_code != 200:
                        raise ProviderError(f"{self.name} answers {response.status_code}.")
                    return await self._body(response)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} did not answer within {seconds:g} s.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderError(f"{self.name} cannot be fetched: {type(error).__name__}.", temporary=True) from error

    async def _body(self, response: "httpx2.Response") -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > self.table.most_bytes:
                raise ProviderError(f"{self.name} is longer than {self.table.most_bytes:,} bytes.")
            parts.append(part)
        return b"".join(parts)
