"""Times as callers say them: ago, or ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

from ops_mcp.errors import InvalidArguments

LONGEST_MOMENT, LONGEST_TEXT, LONGEST_CURSOR = 40, 200, 1200


def at_most(longest: int) -> AfterValidator:
    """A bound that is enforced and not published: each costs every model tokens in every conversation."""

    def check(said: str) -> str:
        if len(said) > longest:
            raise ValueError(f"at most {longest} characters")
        return said

    return AfterValidator(check)


MomentArg = Annotated[str, at_most(LONGEST_MOMENT)]
_AGO = re.compile(r"(\d{1,4})([smhd])", re.ASCII)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def moment(field: str, said: str, now: datetime) -> datetime:
    """A time ago, or an ISO 8601 time, which is UTC where it names no zone. Raises `InvalidArguments` naming the field."""
    if ago := _AGO.fullmatch(said):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        return iso(said)
    except (ValueError, OverflowError) as error:
        raise InvalidArguments(
            f"{field} is no time.",
            hint="Valid: 15m, 1h, 24h, 7d and the like, or an ISO time such as 2026-11-20T12:00:00Z.",
            details={"fields": [field]},
        ) from error


def iso(text: str) -> datetime:
    """Raises `ValueError` or `OverflowError`."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def refuse_backwards(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and since >= until:
        raise InvalidArguments("since is not before until.", hint="Swap them.", details={"fields": ["since", "until"]})
