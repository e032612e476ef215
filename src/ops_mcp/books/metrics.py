"""All metrics that can be seen: the embedded store, and an outside Prometheus where the operator named one for an environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from anyio import CapacityLimiter

from ops_mcp.config import Config
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.secrets import Secrets
from ops_mcp.sources import configured
from ops_mcp.store.metrics.store import MetricStore

if TYPE_CHECKING:  # loaded when somebody asks for metrics
    from ops_mcp.books.embedded import Embedded
    from ops_mcp.metrics.exposition import Family
    from ops_mcp.metrics.query import Query, Selection
    from ops_mcp.metrics.series import Series
    from ops_mcp.observing import MetricSource, Observation

_MOST_REMEMBERED = 1_000_000
"""Characters of the queries that are remembered: a tree takes some two hundred bytes for each."""

AT_ONCE = 2
"""Long queries that are computed beside the event loop at the same time."""


class Metrics:
    """Satisfies `observing.MetricBook`. `configured` is the configuration as it stands now."""

    def __init__(self, store: MetricStore, configured: Callable[[], Config]) -> None:
        self.store = store
        self._configured = configured
        self._queries: dict[str, Query] = {}
        self._remembered = 0
        self._embedded: Embedded | None = None
        self._made: tuple[Mapping[str, object], Mapping[str, Callable[[], MetricSource]]] = ({}, {})

    def source(self, environment: EnvironmentName) -> MetricSource:
        """The outside Prometheus that the operator named for this environment, else the embedded store."""
        from ops_mcp.books.embedded import Embedded

        outside = self._outside(environment)
        if outside is not None:
            return outside
        if self._embedded is None:
            self._embedded = Embedded(self.store, self.compiled, CapacityLimiter(AT_ONCE))
        return self._embedded

    def _outside(self, environment: EnvironmentName) -> MetricSource | None:
        """Made once, and anew when the tables change. One that is misconfigured answers nothing, and so does ours in its place:
        what an operator keeps elsewhere is not here."""
        config = self._configured()
        tables = config.settings.sources
        names = [n for n, t in tables.items() if t.get("kind") == "prometheus" and t.get("environment") == environment]
        if not names:
            return None
        if self._made[0] is not tables:
            self._made = (tables, configured(config, "prometheus", secret=Secrets(config.config_dir).read, clock=self.store.now))
        return self._made[1][names[0]]()

    def compiled(self, query: str) -> Query:
        from ops_mcp.metrics.compiling import compiled

        found = self._queries.get(query)
        if found is None:
            found = compiled(query)
            if self._remembered > _MOST_REMEMBERED:
                self._queries, self._remembered = {}, 0
            self._queries[query] = found
            self._remembered += len(query)
        return found

    async def keep(self, samples: Sequence[Observation]) -> int:
        return await self.store.keep(samples)

    async def held(self, environment: EnvironmentName, wanted: Sequence[Selection]) -> Sequence[Series]:
        return await self.store.held(environment, wanted)

    async def describe(self, environment: EnvironmentName, families: Sequence[Family]) -> None:
        """What a target's page says of its metrics."""
        await self.store.describe(environment, families)
