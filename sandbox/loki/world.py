"""What a simulated Loki keeps, for each tenant: streams by their labels, and lines by the nanosecond."""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]

HOUR_NS = 3600 * 10**9


class Refused(Exception):
    """An answer of Loki's own: a status and a plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass
class World:
    """`tenants` None is Loki without authentication: everybody is the tenant `fake`. `credentials` is what a proxy in front of it
    wants in `Authorization`, if anything."""

    now: Callable[[], datetime]
    tenants: frozenset[str] | None = None
    credentials: frozenset[str] = frozenset()
    most_entries: int = 5000
    longest_hours: int = 721
    kept: dict[str, dict[Labels, list[tuple[int, str]]]] = field(default_factory=dict)

    @property
    def now_ns(self) -> int:
        return int(self.now().timestamp() * 10**6) * 1000

    def put(self, labels: Mapping[str, str], ns: int, line: str, *, tenant: str = "fake") -> None:
        """An entry that is there already is not stored twice; one an hour behind its stream's newest is refused."""
        stream = self.kept.setdefault(tenant, {}).setdefault(tuple(sorted(labels.items())), [])
        if stream and ns < stream[-1][0] - HOUR_NS:
            raise Refused(400, "entry with timestamp too far behind")
        if (ns, line) not in stream[-1000:]:
            insort(stream, (ns, line))

    def streams(self, tenant: str) -> Iterator[tuple[dict[str, str], list[tuple[int, str]]]]:
        for labels, entries in self.kept.get(tenant, {}).items():
            yield dict(labels), entries
