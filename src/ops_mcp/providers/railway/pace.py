"""How often Railway may be asked: its plans allow so many requests an hour, for everybody who uses the same account."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ops_mcp.ports import Clock

HOUR = timedelta(hours=1)
SPARED_SHARE = 0.5
"""The part of the hour's budget that looks may use up; the rest is for what must be done, and for others."""


@dataclass
class Pace:
    """One token's requests. What must be asked waits only for the whole budget; a look that can be spared for its share of it.

    It trusts its own count and the answer's headers, whichever leaves less. Limits as published: 100, 1,000 or 10,000 requests
    an hour, told in `X-RateLimit-Limit`, `-Remaining` and `-Reset`, whose format is not published.
    """

    hourly: int
    clock: Clock
    _sent: deque[datetime] = field(default_factory=deque[datetime], init=False)
    _spared: float | None = field(default=None, init=False)
    _refilled: datetime | None = field(default=None, init=False)
    _left: int | None = field(default=None, init=False)
    _resets: datetime | None = field(default=None, init=False)
    _closed_until: datetime | None = field(default=None, init=False)

    def must_wait(self) -> float:
        """Seconds until a request may be sent at all; 0 when it may now."""
        now = self.clock()
        self._forget(now)
        ends = [self._closed_until] if self._closed_until else []
        if len(self._sent) >= self.hourly:
            ends.append(self._sent[-self.hourly] + HOUR)
        if self._left == 0 and self._resets:
            ends.append(self._resets)
        return max((_seconds(end - now) for end in ends), default=0.0)

    def look_in(self) -> float:
        """Seconds until a look that could be spared fits into its share; 0 when it does now."""
        now = self.clock()
        wait = self.must_wait()
        if self._left is not None and self._resets and self._left <= self.hourly * (1 - SPARED_SHARE) / 2:
            wait = max(wait, _seconds(self._resets - now))
        missing = 1.0 - self._tokens(now)
        return max(wait, missing / self.looks_per_second if missing > 0 else 0.0)

    def sent(self) -> None:
        """A request goes out now."""
        now = self.clock()
        self._sent.append(now)
        self._spared = max(0.0, self._tokens(now) - 1.0)

    def told(self, headers: Mapping[str, str]) -> None:
        """What an answer says of the budget. A limit lower than configured is believed."""
        now = self.clock()
        limit, left, resets = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))
        if limit.isdigit() and int(limit) > 0:
            self.hourly = min(self.hourly, int(limit))
        self._left = int(left) if left.isdigit() else None
        self._resets = _moment(resets, now)

    def closed(self, seconds: float) -> None:
        """Railway takes no requests for so long."""
        self._closed_until = self.clock() + timedelta(seconds=seconds)

    @property
    def looks_per_second(self) -> float:
        return self.hourly * SPARED_SHARE / HOUR.total_seconds()

    @property
    def _most(self) -> float:
        """How many looks may follow each other without a pause: a deployment begins with several."""
        return max(6.0, self.hourly * 0.02)

    def _tokens(self, now: datetime) -> float:
        if self._spared is None or self._refilled is None:
            self._spared, self._refilled = self._most, now
        grown = self._spared + (now - self._refilled).total_seconds() * self.looks_per_second
        self._spared, self._refilled = min(self._most, grown), now
        return self._spared

    def _forget(self, now: datetime) -> None:
        while self._sent and now - self._sent[0] >= HOUR:
            self._sent.popleft()
        if self._resets and now >= self._resets:
            self._left, self._resets = None, None
        if self._closed_until and now >= self._closed_until:
            self._closed_until = None


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())


def _moment(text: str, now: datetime) -> datetime | None:
    """A reset as seconds from now, as an epoch in seconds or milliseconds, or as ISO 8601; never more than an hour ahead."""
    try:
        if text.replace(".", "", 1).isdigit():
            number = float(text)
            scale = 1000.0 if number > 1e11 else 1.0
            found = datetime.fromtimestamp(number / scale, UTC) if number > 1e9 else now + timedelta(seconds=number)
        else:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return min(found, now + HOUR)
