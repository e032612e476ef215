"""Tickets of the approval page: an operator's signed word in the address of a page, usable once and soon. Pure."""

import base64
import binascii
from datetime import datetime, timedelta

from ops_mcp.errors import NotPermitted
from ops_mcp.governance.attesting import Delegation

SESSION = timedelta(minutes=30)
"""How long a session lasts from the operator's signature on."""

TO_UNLOCK = timedelta(minutes=5)
"""How long after the signature a ticket opens one."""

_SKEW = timedelta(minutes=1)
_LONGEST = 1_000


def written(delegation: Delegation) -> str:
    """The ticket as it stands in an address."""
    return base64.urlsafe_b64encode(delegation.model_dump_json().encode()).decode().rstrip("=")


def read(ticket: str, *, at: datetime) -> Delegation:
    """The word in a ticket, its signature unseen. Raises `NotPermitted` for what is none, or is too old to open a session."""
    try:
        if len(ticket) > _LONGEST:
            raise _unreadable()
        found = Delegation.model_validate_json(base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True))
        left = found.until - at
    except (ValueError, binascii.Error, TypeError) as error:  # a moment without its zone cannot be compared
        raise _unreadable() from error
    if not SESSION - TO_UNLOCK < left <= SESSION + _SKEW:
        raise NotPermitted("This ticket is too old.", hint="A ticket opens the page for five minutes. Get another: ops-mcp page")
    return found


def _unreadable() -> NotPermitted:
    return NotPermitted("This is no ticket.", hint="Copy the whole address that this prints: ops-mcp page")
