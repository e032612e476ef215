"""Whether an account made for this can log in and out again. Nothing is created; the password and the token are never kept."""

import json
from dataclasses import dataclass
from enum import StrEnum

from ops_mcp.domain.inventory import Found, HealthState, LoginAsked
from ops_mcp.operations.probes.http import HttpSeen, at_pointer, exchange, opened
from ops_mcp.operations.probes.reaching import Means, Trouble, judged_by_certificate, judged_by_latency, unanswered

_LONGEST_TOKEN = 8192


class Entry(StrEnum):
    """What became of logging in, and out."""

    inside = "it logs in"
    there_and_back = "it logs in and out"
    stays = "it logs in, but not out"
    tokenless = "it answers as if logged in, but without a token"


@dataclass(slots=True)
class LoginSeen(HttpSeen):
    """`status` is the answer to logging in, `left` that to logging out."""

    entry: Entry | None = None
    left: int | None = None


async def ask(probe: LoginAsked, means: Means, seen: LoginSeen) -> None:
    seen.now = means.clock()
    said = {**probe.fields, probe.password_field: means.secret(probe.secret).get_secret_value()}
    async with opened(probe.ca_file, (probe.url, probe.logout_url), seen) as client:
        content = {"data": said} if probe.form else {"json": said}
        await exchange(client, "POST", probe.url, seen, read_body=probe.token is not None, **content)
        if seen.status not in probe.status:
            return
        token = _token(seen.body, probe.token) if probe.token is not None else ""
        seen.body = b""
        seen.entry = Entry.tokenless if token is None else Entry.inside
        if token is None or probe.logout_url is None:
            return
        seen.entry = Entry.stays
        out = HttpSeen()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        await exchange(client, "POST", probe.logout_url, out, read_body=False, headers=headers)
        seen.left = out.status
        if seen.left is not None and seen.left < 400:
            seen.entry = Entry.there_and_back


def verdict(probe: LoginAsked, seen: LoginSeen) -> Found:
    if seen.status is None or seen.now is None:
        missing = unanswered(seen, probe.timeout_seconds)
        return missing or Found(HealthState.unhealthy, Trouble.unsaid.value)
    said = f"HTTP {seen.status}"
    found = _judged(probe, seen, said)._replace(http_status=seen.status)
    found = judged_by_latency(seen, probe.latency_ms, found.evidence, found)
    return judged_by_certificate(found, seen.expires, seen.now, probe.certificate_days)


def _judged(probe: LoginAsked, seen: LoginSeen, said: str) -> Found:
    match seen.entry:
        case Entry.there_and_back:
            return Found(HealthState.healthy, seen.entry.value)
        case Entry.inside:
            return Found(HealthState.healthy, seen.entry.value)
        case Entry.stays:
            return Found(HealthState.degraded, seen.entry.value)
        case Entry.tokenless:
            return Found(HealthState.unhealthy, seen.entry.value)
        case None:
            pass
    missing = unanswered(seen, probe.timeout_seconds)
    if seen.status in probe.status:
        return missing or Found(HealthState.unhealthy, Trouble.broken.value)
    return Found(HealthState.unhealthy, f"{said}: {_why(seen)}")


def _why(seen: LoginSeen) -> str:
    match seen.status:
        case 400 | 401 | 403 | 422:
            return "the account or its password is refused"
        case 404 | 405 | 410:
            return "nothing takes logins there"
        case 429:
            return "logins are limited; ask less often"
        case None:
            return "no answer"
        case _:
            return seen.leads or ("logging in fails at its end" if seen.status >= 500 else "that is no login")


def _token(body: bytes, pointer: str) -> str | None:
    """The bearer token, or None where there is none that could be one."""
    try:
        found = at_pointer(json.loads(body), pointer)
    except (ValueError, RecursionError, LookupError):
        return None
    usable = isinstance(found, str) and 0 < len(found) <= _LONGEST_TOKEN and found.isascii() and found.isprintable()
    return found if usable and isinstance(found, str) and " " not in found else None
