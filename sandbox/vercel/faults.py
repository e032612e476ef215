"""What can go wrong on the way to Vercel and back, on demand; and rate limits, which are counted for each endpoint by itself."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["status", "slow", "timeout", "reset", "truncated"]


class NoAnswer(BaseException):
    """No answer, or only a part of one, reaches the client. No framework on the way may make a 500 of it."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Fault:
    """`operation` is a pattern of operation ids. `after` lets the request be carried out first. `times` None is always.

    `until` ends it at a time in milliseconds. `status` answers with `code`, and with `extra` in the error.
    """

    operation: str
    kind: Kind
    times: int | None = 1
    after: bool = False
    until: float = float("inf")
    seconds: float = 0.0
    status: int = 500
    code: str = "internal_server_error"
    extra: dict[str, object] = field(default_factory=dict)
    named: Literal["error", "err"] = "error"


@dataclass
class Limit:
    """At most `most` requests of an operation in `seconds`."""

    operation: str
    most: int
    seconds: float
    taken: deque[float] = field(default_factory=deque)

    def reset(self, now: float) -> float | None:
        """None where the request fits; else when the next one does, in milliseconds."""
        while self.taken and self.taken[0] <= now - 1000 * self.seconds:
            self.taken.popleft()
        if len(self.taken) < self.most:
            self.taken.append(now)
            return None
        return self.taken[0] + 1000 * self.seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: when, what for, and how it was answered; 0 is no answer."""

    at: float
    operation: str
    status: int


@dataclass
class Trouble:
    """Faults and limits to come, and the count of what was asked."""

    faults: list[Fault] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    odd_versions: set[str] = field(default_factory=set)

    def add(self, operation: str, kind: Kind, **fields: object) -> Fault:
        fault = Fault(operation, kind, **fields)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def due(self, operation: str, now: float, *, after: bool) -> Iterator[Fault]:
        """Faults that strike this request now; each is used up by it."""
        for fault in list(self.faults):
            if fault.after != after or not fnmatchcase(operation, fault.operation) or now >= fault.until or fault.times == 0:
                continue
            if fault.times is not None:
                fault.times -= 1
            yield fault

    def limited(self, operation: str, now: float) -> tuple[Limit, float] | None:
        for limit in self.limits:
            if fnmatchcase(operation, limit.operation) and (reset := limit.reset(now)) is not None:
                return limit, reset
        return None

    def asked(self, operation: str = "*") -> int:
        return sum(1 for seen in self.seen if fnmatchcase(seen.operation, operation))

    def most_per_minute(self, operation: str = "*", *, since: float = 0.0) -> int:
        """The busiest 60 s of all."""
        times = sorted(seen.at for seen in self.seen if fnmatchcase(seen.operation, operation) and seen.at >= since)
        window: deque[float] = deque()
        most = 0
        for at in times:
            window.append(at)
            while window[0] <= at - 60_000:
                window.popleft()
            most = max(most, len(window))
        return most
