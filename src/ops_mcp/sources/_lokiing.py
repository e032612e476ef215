"""Asking Loki over HTTP: one request and its lines, and every failure in our words. Connects to the operator's address alone."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ops_mcp.errors import InvalidArguments, NotConfigured, OpsError, ProviderError
from ops_mcp.governance.redaction import plain
from ops_mcp.values import Secret

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
MOST_BYTES = 32 * 2**20
_LONGEST_WAIT = 3600.0
_MORE_THAN_ALLOWED = "max_entries_limit_per_query"


class Entry(NamedTuple):
    """One line of one stream, at a nanosecond."""

    ns: int
    labels: tuple[tuple[str, str], ...]
    line: str


class TooMany(Exception):
    """Loki hands out fewer entries at once than were asked for."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


@dataclass
class Loki:
    """`headers` are made when they are needed: secrets change."""

    name: str
    url: str
    tenant: str | None = None
    transport: "httpx2.AsyncBaseTransport | None" = field(default=None, repr=False)

    async def entries(self, params: Mapping[str, str | int], token: Secret | None, user: str | None) -> list[Entry]:
        """What `query_range` answers. Raises `TooMany` for a limit that is too large, else `OpsError`s."""
        import httpx2  # 60 ms, and only who asks Loki needs it

        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with (
                httpx2.AsyncClient(
                    base_url=self.url, timeout=timeout, transport=self.transport, follow_redirects=False, trust_env=False
                ) as client,
                client.stream(
                    "GET", "/loki/api/v1/query_range", params=dict(params), headers=self._headers(token, user)
                ) as found,
            ):
                body = await _bounded(found)
        except httpx2.TimeoutException as error:
            raise ProviderError(f"{self._named} did not answer in time.", hint="Ask for less time.", temporary=True) from error
        except httpx2.TransportError as error:
            raise ProviderError(
                f"{self._named} cannot be reached: {type(error).__name__}.", hint="Try again later.", temporary=True
            ) from error
        if body is None:
            raise ProviderError(f"{self._named} answered with too much.", hint="Ask for less: a shorter time, a smaller limit.")
        if found.status_code != 200:
            raise self._failure(found, body)
        return self._read(body)

    @property
    def _named(self) -> str:
        return f"Loki (source {self.name})"

    def _headers(self, token: Secret | None, user: str | None) -> dict[str, str]:
        headers = {"user-agent": "ops-mcp", "accept": "application/json"}
        if self.tenant is not None:
            headers["x-scope-orgid"] = self.tenant
        if token is not None and user is not None:
            headers["authorization"] = "Basic " + b64encode(f"{user}:{token.get_secret_value()}".encode()).decode()
        elif token is not None:
            headers["authorization"] = f"Bearer {token.get_secret_value()}"
        return headers

    def _failure(self, found: "httpx2.Response", body: bytes) -> OpsError | TooMany:
        said = plain(body[:2000].decode(errors="replace"), 200).strip()
        match found.status_code:
            case 400 if _MORE_THAN_ALLOWED in said and (most := _last_number(said)):
                return TooMany(most)
            case 400 if "range exceeds" in said or "query length" in said:
                return InvalidArguments(
                    f"{self._named} takes no such long time.", hint="Give a later since.", details={"fields": ["since"]}
                )
            case 400:
                return InvalidArguments(
                    f"{self._named} cannot read the query.",
                    hint="If a pattern was given, it must be of RE2's syntax.",
                    details={"fields": ["pattern"], "untrusted_answer": said},
                )
            case 401 | 403:
                return NotConfigured(
                    f"{self._named} refuses our credential or tenant.",
                    hint=f"An operator mends [sources.{self.name}] token or tenant.",
                    details={"http_status": found.status_code},
                )
            case 429:
                return self._temporary("limits the rate of requests", found, 60.0)
            case status if status >= 500:
                return self._temporary(f"answered HTTP {status}", found, None)
            case status:
                return ProviderError(
                    f"{self._named} answered HTTP {status}, which is no answer of Loki's.",
                    hint=f"An operator checks [sources.{self.name}] url; redirections are not followed.",
                    details={"http_status": status},
                )

    def _temporary(self, what: str, found: "httpx2.Response", otherwise: float | None) -> ProviderError:
        wait = _retry_after(found.headers) or otherwise
        return ProviderError(
            f"{self._named} {what}.",
            hint=f"It takes more in {wait:.0f} s." if wait else "Try again later.",
            temporary=True,
            retry_after_seconds=wait,
            details={"http_status": found.status_code},
        )

    def _read(self, body: bytes) -> list[Entry]:
        try:
            streams: Any = json.loads(body)["data"]["result"]
            return [
                Entry(int(ns), tuple(sorted((str(k), str(v)) for k, v in stream["stream"].items())), str(line))
                for stream in streams
                for ns, line, *_ in stream["values"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProviderError(
                f"{self._named} answered with something else than log streams.",
                hint=f"An operator checks [sources.{self.name}] url.",
            ) from error


async def _bounded(found: "httpx2.Response") -> bytes | None:
    """The body; None where it is larger than is read."""
    parts: list[bytes] = []
    size = 0
    async for part in found.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            return None
    return b"".join(parts)


def _last_number(said: str) -> int | None:
    """M of `(N > M)`."""
    number = said.rstrip(" )\n").rpartition(">")[2].strip()
    return int(number) if number.isdecimal() and 0 < int(number) < 10**6 else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date by the clock of who answered (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    try:
        wait = _date(said) - _date(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return min(max(wait.total_seconds(), 0.0), _LONGEST_WAIT)


def _date(said: str) -> datetime:
    at = parsedate_to_datetime(said)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
