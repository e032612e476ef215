"""Failures on demand, and the hour's budget with its refusals. Counts what was asked, which must stay within bounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sandbox.railway.clock import Clock

HOUR = timedelta(hours=1)

Kind = Literal["500", "429", "timeout_before", "timeout_after", "disconnect", "disconnect_after", "slow", "internal"]
"""What goes wrong. `_after` is after it was carried out; `internal` is an error in the answer, with HTTP 200."""


@dataclass
class Fault:
    """`on` is the name of a document, or `*`; it happens `times` times, or until a moment, whichever is given."""

    kind: Kind
    on: str = "*"
    times: int | None = 1
    until: datetime | None = None
    retry_after: int | None = None
    seconds: float = 0.0


@dataclass
class Faults:
    """The plan of failures, in order; the first that fits happens."""

    clock: Clock
    planned: list[Fault] = field(default_factory=list[Fault])
    happened: list[str] = field(default_factory=list[str])

    def plan(
        self,
        kind: Kind,
        *,
        on: str = "*",
        times: int | None = None,
        seconds: float | None = None,
        retry_after: int | None = None,
        slow: float = 0.0,
    ) -> None:
        """One time, unless `times` or, from now, `seconds` say otherwise."""
        until = self.clock() + timedelta(seconds=seconds) if seconds is not None else None
        count = times if times is not None or until is not None else 1
        self.planned.append(Fault(kind, on, count, until, retry_after, slow))

    def next(self, name: str) -> Fault | None:
        """What goes wrong with this request, if anything does."""
        now = self.clock()
        self.planned = [f for f in self.planned if f.times != 0 and (f.until is None or now < f.until)]
        for fault in self.planned:
            if fault.on in {"*", name}:
                if fault.times is not None:
                    fault.times -= 1
                self.happened.append(f"{fault.kind} {name}")
                return fault
        return None


@dataclass
class Budget:
    """So many requests an hour for everybody with a token of the account, counted from the first one in the hour."""

    clock: Clock
    hourly: int = 1000
    asked: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    refused: int = 0
    _began: datetime | None = None
    _used: int = 0

    def take(self, name: str) -> bool:
        """Whether this request fits; it is counted either way."""
        now = self.clock()
        if self._began is None or now >= self._began + HOUR:
            self._began, self._used = now, 0
        self.asked.append((now, name))
        self._used += 1
        fits = self._used <= self.hourly
        self.refused += not fits
        return fits

    @property
    def resets_in(self) -> float:
        return max(0.0, ((self._began or self.clock()) + HOUR - self.clock()).total_seconds())

    def headers(self) -> dict[str, str]:
        resets = int((self.clock() + timedelta(seconds=self.resets_in)).timestamp())
        left = max(0, self.hourly - self._used)
        return {"x-ratelimit-limit": str(self.hourly), "x-ratelimit-remaining": str(left), "x-ratelimit-reset": str(resets)}

    def most_in_an_hour(self) -> int:
        """The busiest hour so far, wherever it begins."""
        moments = sorted(at for at, _ in self.asked)
        most, first = 0, 0
        for last, at in enumerate(moments):
            while moments[first] <= at - HOUR:
                first += 1
            most = max(most, last - first + 1)
        return most

    def count(self, name: str | None = None, *, since: datetime | None = None) -> int:
        return sum(1 for at, n in self.asked if (name is None or n == name) and (since is None or at >= since))


Observer = Callable[[str, dict[str, object], dict[str, object]], None]
"""Told of every exchange: the document, its variables, and the answer."""
