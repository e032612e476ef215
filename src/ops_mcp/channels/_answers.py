"""What an HTTP answer means for a notice, in our own errors. The answer's body is never read for it, and never shown."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from ops_mcp.errors import InvalidArguments, NotFound, NotPermitted, OpsError, ProviderError, RateLimited

USUAL_WAIT_SECONDS = 30.0


def refuse(status: int, headers: Mapping[str, str], now: datetime) -> None:
    """Raises for every status that does not say that the notice was taken.

    `RateLimited` and temporary `ProviderError`s are worth another attempt; the others say that the notice was refused.
    """
    if 200 <= status < 300:
        return
    wait = retry_after(headers.get("retry-after", ""), now)
    details = {"http_status": status}
    if status == 429:
        wait = USUAL_WAIT_SECONDS if wait is None else wait
        raise RateLimited("The receiver limits the rate of notices (HTTP 429).", retry_after_seconds=wait, details={**details})
    if status in (408, 425) or status >= 500:
        raise ProviderError(
            f"The receiver answered HTTP {status}.", temporary=True, retry_after_seconds=wait, details={**details}
        )
    raise _refusal(status)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait by `Retry-After`: a number of them, or a date (RFC 9110 10.2.3); None where it says neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _refusal(status: int) -> OpsError:
    said, details = f"The receiver refused the notice (HTTP {status}).", {"http_status": status}
    if 300 <= status < 400:
        return NotFound(
            f"The receiver answered with a redirect (HTTP {status}), which is not followed.",
            hint="Configure the address to which it leads.",
            details={**details},
        )
    if status in (401, 403, 407):
        return NotPermitted(said, hint="Check the key of its signature, then: ops-mcp outbox retry ID", details={**details})
    if status in (404, 405, 410):
        return NotFound(said, hint="Check its address, then: ops-mcp outbox retry ID", details={**details})
    return InvalidArguments(said, hint="See the receiver's log for its reason.", details={**details})
