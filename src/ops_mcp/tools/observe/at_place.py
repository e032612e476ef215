"""What a deployment's own place has of its logs. Its lines are raw: no answer may tell what is hidden in them.

So the place is never asked for words. It is asked for lines, and the words are looked for in what may be shown: else a search for
the parts of a secret would be told by what comes back, by how many match, or by there being more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio import to_thread

from ops_mcp.domain.observations import LogLine, LogQuery
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment
from ops_mcp.errors import InvalidArguments, NotFound, Unsupported
from ops_mcp.governance.redaction import plain
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.ports import DeploymentQuery, Logs, Ops
from ops_mcp.targets import provider_of

if TYPE_CHECKING:  # loaded when somebody asks for logs
    from ops_mcp.logs.records import LogRecord
    from ops_mcp.sources.matching import Sieve

MOST_LOOKED_AT, SECONDS = 20_000, 10.0
"""Lines of a place among which words are looked for in one call, and for how long."""

_A_PAGE = 1000
_LOOKED_AT = 2**16


async def newest(service: ServiceName, environment: EnvironmentName, ops: Ops) -> Deployment:
    """What serves there, else what was deployed last."""
    found = await ops.deployments.serving(service, environment)
    if found is None:
        query = DeploymentQuery(visible=(environment,), service=service, environment=environment, limit=1)
        found = next(iter((await ops.deployments.page(query)).items), None)
    if found is None:
        raise NotFound(f"Nothing was ever deployed as {service} in {environment}.", hint="`services` lists what there is.")
    return found


async def search(deployment: Deployment, wanted: LogSearch, *, ops: Ops) -> LogsMatched:
    """Its lines that match, newest first. A cursor goes on with older ones; a page without a line may have one."""
    from ops_mcp.sources.matching import Sieve

    if wanted.oldest_first:
        raise InvalidArguments(
            "A place tells its newest lines first.", hint="Leave oldest_first out.", details={"fields": ["oldest_first"]}
        )
    keeper, sieve = _keeper(deployment, ops), Sieve.of(wanted)
    asks = wanted.text is not None or wanted.pattern is not None or bool(wanted.fields)
    query = LogQuery(since=wanted.since, until=wanted.until, severity=wanted.severity, limit=_A_PAGE, cursor=wanted.cursor)
    looking = _Looking(keeper, deployment, sieve, ops)
    found = await looking.among(query, wanted.limit) if asks else await looking.page(query.evolve(limit=wanted.limit))
    return LogsMatched(tuple(found.records), len(found.records), found.cursor is None, found.cursor)


class _Page(NamedTuple):
    """`place` tells for each record which of the page's lines it is."""

    records: list[LogRecord]
    places: list[int]
    cursor: str | None


class _Looking(NamedTuple):
    keeper: Logs
    deployment: Deployment
    sieve: Sieve
    ops: Ops

    async def page(self, query: LogQuery) -> _Page:
        found = await self.keeper.logs(self.deployment.placement, query)
        lines = found.items[: query.limit]
        records, places = await to_thread.run_sync(self._matching, lines, abandon_on_cancel=True)
        return _Page(records, places, found.next_cursor)

    async def among(self, query: LogQuery, most: int) -> _Page:
        """Look through page after page for `most` records."""
        records: list[LogRecord] = []
        give_up, looked_at = anyio.current_time() + SECONDS, 0
        while True:
            page = await self.page(query)
            if len(records) + len(page.records) > most:
                last = page.places[most - len(records) - 1]
                page = await self.page(query.evolve(limit=last + 1))
            records += page.records
            looked_at += query.limit
            done = len(records) >= most or looked_at >= MOST_LOOKED_AT or anyio.current_time() >= give_up
            if page.cursor is None or done:
                return _Page(records[:most], [], page.cursor)
            query = query.evolve(cursor=page.cursor)

    def _matching(self, lines: tuple[LogLine, ...]) -> tuple[list[LogRecord], list[int]]:
        records: list[LogRecord] = []
        places: list[int] = []
        for place, line in enumerate(lines):
            record = self._record(line)
            if self.sieve.holds(record):
                records.append(record)
                places.append(place)
        return records, places

    def _record(self, line: LogLine) -> LogRecord:
        """Redacted before it is looked at and before it is cut. Read for fields only where fields are asked for."""
        from ops_mcp.logs.records import LogRecord, Source, parse

        now, deployment = self.ops.clock(), self.deployment
        text = self.ops.redact(plain(line.text[:_LOOKED_AT], _LOOKED_AT))
        source = Source(deployment.service, deployment.environment, deployment.id, line.origin)
        read = parse(text, source, arrived=now) if self.sieve.fields else None
        return LogRecord(
            time=line.at or now,
            time_stated=line.at is not None,
            service=deployment.service,
            environment=deployment.environment,
            deployment=deployment.id,
            severity=line.severity,
            message=text,
            fields=read.fields if read is not None else {},
            origin=line.origin,
            raw=text,
        )


def _keeper(found: Deployment, ops: Ops) -> Logs:
    binding = found.release.binding
    provider = provider_of(binding, ops)
    if not isinstance(provider, Logs):
        raise Unsupported(
            f"{binding.provider} keeps no logs.", hint="Look at the place itself; `deployment` shows what is known."
        )
    return provider
