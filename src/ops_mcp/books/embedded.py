"""The embedded store as a place that answers PromQL."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import DeadlineExceeded
from ops_mcp.metrics.bounds import MOST_POINTS, check_steps
from ops_mcp.metrics.downsampling import thinning_said
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.labels import NAME, value_of
from ops_mcp.metrics.listing import listed, wanted_by
from ops_mcp.metrics.query import Data, Query, Selection, selections
from ops_mcp.metrics.series import Answer
from ops_mcp.observing import Listing, Ranged
from ops_mcp.store.metrics.store import MetricStore

T = TypeVar("T")

AT_MOST_SECONDS = 30.0
_INLINE = 20_000
"""Samples times moments up to which an answer is computed in the event loop's own thread."""

_DAY_MS = 86_400_000


class _Gathered(NamedTuple):
    data: Data
    samples: int


class Embedded:
    """Satisfies `observing.MetricSource`. What takes long is computed beside the event loop, two queries at a time."""

    name = "embedded"

    def __init__(self, store: MetricStore, compiled: Callable[[str], Query], limiter: CapacityLimiter) -> None:
        self._store = store
        self._compiled = compiled
        self._limiter = limiter

    async def instant(self, query: str, environment: EnvironmentName, at: datetime) -> Answer:
        asked, moment = self._compiled(query), _milliseconds(at)
        with _in_time():
            gathered = await self._gathered(asked, environment, moment, moment)
            return await self._computed(gathered.samples, lambda: instant(asked, moment, gathered.data))

    async def ranged(
        self, query: str, environment: EnvironmentName, *, start: datetime, end: datetime, step_seconds: float
    ) -> Ranged:
        asked, first, last, step = self._compiled(query), _milliseconds(start), _milliseconds(end), round(step_seconds * 1000)
        check_steps(first, last, step, MOST_POINTS)  # before anything is read
        with _in_time():
            gathered = await self._gathered(asked, environment, first, last)
            work = gathered.samples + ((last - first) // step + 1) * sum(map(len, gathered.data))
            matrix = await self._computed(work, lambda: ranged(asked, first, last, step, gathered.data))
        return Ranged(matrix, self.thinned(asked, first, last))

    async def listed(self, environment: EnvironmentName, *, match: str = "", limit: int = 100) -> Sequence[Listing]:
        wanted = wanted_by(match, self._compiled)
        seen = await self._store.seen(environment, wanted.matchers)
        series = [one for one in seen.series if wanted.part in value_of(one.labels, NAME)]
        newest = [seen.newest_ms.get(one.id, 0) for one in series]
        found = listed([one.labels for one in series], newest, seen.families)
        return [Listing(*one) for one in found[:limit]]

    def thinned(self, query: Query, start_ms: int, end_ms: int) -> str:
        """What thinning out means for an answer that reads so far back; nothing where it reads no thinned samples."""
        oldest = min((wanted.start_ms for wanted in selections(query, start_ms, end_ms)), default=end_ms)
        return thinning_said(oldest, self._store.now_ms() - self._store.terms.thin_after_days * _DAY_MS)

    async def _gathered(self, query: Query, environment: EnvironmentName, start_ms: int, end_ms: int) -> _Gathered:
        wanted: list[Selection] = list(selections(query, start_ms, end_ms))
        data = await self._store.read(environment, wanted)
        return _Gathered(data, sum(len(one.times) for series in data for one in series))

    async def _computed(self, work: int, compute: Callable[[], T]) -> T:
        if work <= _INLINE:
            return compute()
        return await to_thread.run_sync(compute, abandon_on_cancel=True, limiter=self._limiter)


@contextmanager
def _in_time() -> Generator[None]:
    """Gives a query its time, and says so where that was not enough."""
    try:
        with anyio.fail_after(AT_MOST_SECONDS):
            yield
    except TimeoutError as late:
        raise DeadlineExceeded(
            f"The query was not answered within {AT_MOST_SECONDS:g} s.", hint="Narrow it, or ask again later."
        ) from late


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
