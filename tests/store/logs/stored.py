"""A log store with records in it, and all pages of a search."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.logs.records import LogRecord, Source, parse
from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import LogSearch
from ops_mcp.store.logs.appending import Batch, Position, Read
from ops_mcp.store.logs.searching import Limits
from ops_mcp.store.logs.store import LogStore

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
STAGING = EnvironmentName("staging")


def line(text: str, *, seconds: float = 0, origin: str = "", deployment: str = "dep_1", service: str = "web") -> LogRecord:
    """A record that states its time."""
    at = NOON + timedelta(seconds=seconds)
    return parse(f"{at.isoformat()} {text}", Source(service, STAGING, deployment, origin), arrived=at)


@dataclass
class Shelf:
    """A store, its clock, and where each deployment's lines are read on."""

    path: Path
    terms: LogTerms = field(default_factory=LogTerms)
    limits: Limits = field(default_factory=Limits)
    now: datetime = NOON
    positions: dict[str, Position] = field(default_factory=dict[str, Position])

    def __post_init__(self) -> None:
        self.store = self.opened()

    def opened(self) -> LogStore:
        return LogStore(self.path, self.terms, lambda: self.now, limits=self.limits)

    async def reopen(self) -> None:
        await self.store.aclose()
        self.store = self.opened()

    async def add(self, *records: LogRecord, deployment: str = "dep_1", service: str = "web") -> None:
        was = self.positions.get(deployment, Position())
        now = Position(f"{was.revision + 1}")
        read = Read(STAGING, service, deployment, was, now, records)
        (self.positions[deployment],) = await self.store.append(Batch(self.now, (read,)))

    async def pages(self, limit: int = 50, **wanted: object) -> list[Sequence[LogRecord]]:
        found: list[Sequence[LogRecord]] = []
        cursor: str | None = None
        while True:
            asked = LogSearch.model_validate({"environment": STAGING, **wanted, "limit": limit, "cursor": cursor})
            page = await self.store.search(asked)
            found.append(page.records)
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def texts(self, limit: int = 50, **wanted: object) -> list[str]:
        return [record.message for page in await self.pages(limit, **wanted) for record in page]
