"""Whether a URL answers as it should. Redirects are answers like any other: following one would ask somebody else."""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ops_mcp.domain.inventory import Found, HealthState, HttpAsked, JsonClaim
from ops_mcp.operations.probes.reaching import (
    Means,
    Seen,
    Trouble,
    ends_at,
    judged_by_certificate,
    judged_by_latency,
    tls_context,
    trouble_of,
    unanswered,
)
from ops_mcp.values import Json

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 2**20
"""How much of an answer is read, at most."""

_GONE = (404, 410)
_LOGIN = re.compile(r"log-?in|sign-?in|/auth|/sso", re.IGNORECASE)
_HEADERS = {"connection": "close", "accept-encoding": "identity", "user-agent": "ops-mcp"}


@dataclass(slots=True)
class HttpSeen(Seen):
    """`leads` says where a redirect leads, in our words. `body` is as much of it as is read, `cut` that there was more."""

    status: int | None = None
    leads: str = ""
    body: bytes = field(default=b"", repr=False)
    cut: bool = False
    expires: datetime | None = None
    now: datetime | None = None


async def ask(probe: HttpAsked, means: Means, seen: HttpSeen) -> None:
    seen.now = means.clock()
    read_body = probe.contains is not None or bool(probe.claims)
    async with opened(probe.ca_file, (probe.url, probe.alternative), seen) as client:
        await exchange(client, "GET", probe.url, seen, read_body=read_body)
        if seen.status in _GONE and probe.alternative:
            await exchange(client, "GET", probe.alternative, seen, read_body=read_body)


def verdict(probe: HttpAsked, seen: HttpSeen) -> Found:
    missing = unanswered(seen, probe.timeout_seconds)
    if missing is not None or seen.status is None or seen.now is None:
        return (missing or Found(HealthState.unhealthy, Trouble.unsaid.value))._replace(http_status=seen.status)
    said = f"HTTP {seen.status}"
    found = _judged(probe, seen, said)
    found = judged_by_latency(seen, probe.latency_ms, said, found)._replace(http_status=seen.status)
    return judged_by_certificate(found, seen.expires, seen.now, probe.certificate_days)


@asynccontextmanager
async def opened(ca_file: str | None, urls: Sequence[str | None], seen: Seen) -> "AsyncGenerator[httpx2.AsyncClient]":
    """A client that follows nothing and takes no proxy or password from the environment; its troubles are seen."""
    import httpx2  # 60 ms, and only the process that probes needs it

    secured = any(url is not None and url.startswith("https:") for url in urls)
    # Certificates are not loaded for plain HTTP.
    verify = tls_context(ca_file) if secured else False
    try:
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=verify, timeout=None) as client:
            yield client
    except httpx2.RemoteProtocolError as error:
        silent = "disconnected without sending" in str(error)
        seen.trouble = Trouble.closed if silent else Trouble.broken if seen.heard else Trouble.unsaid
    except httpx2.TransportError as error:
        seen.trouble = trouble_of(error)


async def exchange(
    client: "httpx2.AsyncClient", method: str, url: str, seen: HttpSeen, *, read_body: bool, **content: Any
) -> None:
    """One request, and as much of its answer as is wanted, in `seen`."""

    async def noted(event: str, _info: object) -> None:
        if event == "connection.connect_tcp.complete":
            seen.connected = True

    headers = {**_HEADERS, **content.pop("headers", {})}
    async with client.stream(method, url, headers=headers, extensions={"trace": noted}, **content) as response:
        seen.heard, seen.body, seen.cut = True, b"", False
        seen.status = response.status_code
        seen.leads = _leads(url, response.headers.get("location", "")) if response.status_code // 100 == 3 else ""
        seen.expires = _expiry(response.extensions.get("network_stream")) or seen.expires
        if read_body:
            await _read(response, seen)


def held_by(claims: Sequence[JsonClaim], body: bytes) -> str:
    """Empty where every claim is true of the JSON text, else what is not, in our own words."""
    try:
        document: Json = json.loads(body)
    except (ValueError, RecursionError):
        return "its answer is no JSON"
    return next((why for claim in claims if (why := _untrue(claim, document))), "")


def at_pointer(document: Json, pointer: str) -> Json:
    """What is at an RFC 6901 pointer. Raises `LookupError` where nothing is."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        match document:
            case dict():
                document = document[name]
            case list() if re.fullmatch(r"0|[1-9][0-9]{0,8}", name):
                document = document[int(name)]
            case _:
                raise LookupError(name)
    return document


def _judged(probe: HttpAsked, seen: HttpSeen, said: str) -> Found:
    if seen.status not in probe.status:
        return Found(HealthState.unhealthy, f"{said}: {seen.leads}" if seen.leads else said)
    if probe.contains is not None and probe.contains.encode() not in seen.body:
        where = f"the first {MOST_BYTES // 2**20} MiB of its answer" if seen.cut else "its answer"
        return Found(HealthState.unhealthy, f"{said}, but {where} lacks the text that is wanted")
    if probe.claims and seen.cut:
        return Found(HealthState.degraded, f"{said}, but its answer is too long to be read as JSON")
    untrue = held_by(probe.claims, seen.body) if probe.claims else ""
    return Found(HealthState.degraded, f"{said}, but {untrue}") if untrue else Found(HealthState.healthy, said)


def _untrue(claim: JsonClaim, document: Json) -> str:
    where = claim.pointer or "its answer"
    try:
        found = at_pointer(document, claim.pointer)
    except LookupError:
        return f"{where} is missing"
    if claim.equals is not None and not _same(found, claim.equals):
        return f"{where} is not what is wanted"
    if claim.length is None and claim.at_least is None:
        return ""
    if not isinstance(found, list | dict | str):
        return f"{where} has no entries to count"
    count = len(found)
    if claim.length is not None and count != claim.length:
        return f"{where} has {count} entries, not {claim.length}"
    if claim.at_least is not None and count < claim.at_least:
        return f"{where} has {count} entries, fewer than {claim.at_least}"
    return ""


def _same(found: Json, wanted: Json) -> bool:
    """Equal, and of one kind: in Python 1 equals True."""
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


async def _read(response: "httpx2.Response", seen: HttpSeen) -> None:
    """As it comes: what was packed although that was not asked for stays packed, and matches nothing."""
    async for part in response.aiter_raw():
        seen.body += part[: MOST_BYTES - len(seen.body)]
        if len(seen.body) >= MOST_BYTES:
            seen.cut = True
            return


def _leads(url: str, location: str) -> str:
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        same = old.hostname == new.hostname
    except ValueError:
        return "a redirect that leads nowhere"
    if not location:
        return "a redirect that leads nowhere"
    if _LOGIN.search(new.path):
        return "it redirects to a login page"
    if not same:
        return "it redirects to another host"
    return "it redirects to https" if old.scheme != new.scheme else "it redirects within its host"


def _expiry(stream: Any) -> datetime | None:
    secured = stream.get_extra_info("ssl_object") if stream is not None else None
    shown = secured.getpeercert() if secured is not None else None
    return ends_at(shown["notAfter"]) if shown else None
