"""All logs that can be seen: the embedded store, and the operator's files and Loki. What is no store of templates is mined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import anyio
from anyio import to_thread

from ops_mcp.config import Config
from ops_mcp.domain.observations import Severity
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.errors import NotFound
from ops_mcp.observing import LogSearch, LogsMatched, TemplateCount
from ops_mcp.secrets import Secrets
from ops_mcp.sources import configured
from ops_mcp.sources.tables import environments_named

if TYPE_CHECKING:  # a server that only deploys must start fast
    from ops_mcp.logs.anomalies import History, Series
    from ops_mcp.logs.records import LogRecord
    from ops_mcp.logs.shapes import TemplateId
    from ops_mcp.logs.templates import Patterns

EMBEDDED = "embedded"
MOST_MINED = 50_000
"""Records of a source that are read for its templates or its history: the newest."""

_A_PAGE, _SECONDS, _LOOKED_AT = 10_000, 20.0, 2_048
BUCKET, MOST_BUCKETS = timedelta(minutes=1), 120


class Kept(Protocol):
    """The embedded store."""

    async def search(self, wanted: LogSearch) -> LogsMatched: ...

    async def templates(
        self, environment: EnvironmentName, service: ServiceName | None, since: datetime, until: datetime
    ) -> Sequence[TemplateCount]: ...

    async def history(self, environment: EnvironmentName, service: ServiceName, *, until: datetime) -> History: ...


class Outside(Protocol):
    """A source of the operator's."""

    name: str

    def covers(self, wanted: LogSearch) -> bool:
        """Whether this search is one for it: of an environment and service that the operator gave it."""
        ...

    answers_first: bool
    """Whether it answers for what it covers where no source is named."""

    async def search(self, wanted: LogSearch) -> LogsMatched: ...


class Logs:
    """The `LogBook` of an installation. `redact` is asked for anew each time: secrets change."""

    def __init__(
        self, store: Kept, configured: Callable[[], Config], redact: Callable[[], Callable[[str], str]] | None = None
    ) -> None:
        self._store = store
        self._configured = configured
        self._redact = redact
        self._made: tuple[Mapping[str, Any], Mapping[str, Callable[[], Outside]]] = ({}, {})

    def answering(self, wanted: LogSearch) -> str:
        """The name of the source that a search without one goes to."""
        outside = next((found for found in self._outside(wanted) if found.answers_first and found.covers(wanted)), None)
        return outside.name if outside is not None else EMBEDDED

    async def search(self, wanted: LogSearch, *, source: str | None = None) -> LogsMatched:
        """Search one source by its name; without one, the operator's for that environment, else the embedded store."""
        name = source or self.answering(wanted)
        if name == EMBEDDED:
            return await self._store.search(wanted)
        return await self._named(name, wanted).search(wanted)

    async def templates(
        self, environment: EnvironmentName, service: ServiceName | None, since: datetime, until: datetime
    ) -> Sequence[TemplateCount]:
        """Templates of a stretch of time with their counts, the most frequent first."""
        [found] = await self.windows(environment, service, (since, until))
        return found

    async def windows(
        self, environment: EnvironmentName, service: ServiceName | None, *windows: tuple[datetime, datetime]
    ) -> list[Sequence[TemplateCount]]:
        """Templates of some stretches of time, all named as one miner knows them, so that they can be compared."""
        wanted = LogSearch(environment=environment, service=service)
        if (name := self.answering(wanted)) == EMBEDDED:
            return [await self._store.templates(environment, service, *window) for window in windows]
        source = self._named(name, wanted)
        found = [await _newest(source, wanted.evolve(since=since, until=until)) for since, until in windows]
        return await to_thread.run_sync(_templates, [each.records for each in found], abandon_on_cancel=True)

    async def history(self, environment: EnvironmentName, service: ServiceName, *, until: datetime) -> History:
        """Counts per bucket up to `until`, for anomalies; of a source, as far back as its newest lines go."""
        wanted = LogSearch(environment=environment, service=service)
        if (name := self.answering(wanted)) == EMBEDDED:
            return await self._store.history(environment, service, until=until)
        end = until.replace(second=0, microsecond=0)
        start = end - MOST_BUCKETS * BUCKET
        found = await _newest(self._named(name, wanted), wanted.evolve(since=start, until=end))
        return await to_thread.run_sync(_history, found, start, end, abandon_on_cancel=True)

    def _named(self, name: str, wanted: LogSearch) -> Outside:
        """Raises `NotFound` for a source that there is not, or that keeps nothing of what is asked for."""
        found = next((source for source in self._outside(wanted) if source.name == name), None)
        if found is not None and found.covers(wanted):
            return found
        known = [EMBEDDED, *(source.name for source in self._outside(wanted) if source.covers(wanted))]
        raise NotFound("There is no such source of these logs.", hint=f"Sources of what was asked for: {', '.join(known)}.")

    def _outside(self, wanted: LogSearch) -> list[Outside]:
        """Those that may keep what is wanted. Raises `NotConfigured` for one that cannot be used, which spoils no environment but
        those that it names; one that names none may be meant for any."""
        config = self._configured()
        if config.settings.sources is not self._made[0]:
            vault = Secrets(config.config_dir)
            made = configured(config, "files", "loki", secret=vault.read, redact=self._redacted)
            self._made = (config.settings.sources, made)
        named = {name: environments_named(table) for name, table in config.settings.sources.items()}
        return [make() for name, make in self._made[1].items() if not named[name] or wanted.environment in named[name]]

    def _redacted(self, text: str) -> str:
        return self._redact()(text) if self._redact is not None else text


class _Read(NamedTuple):
    """Records, newest first; `whole` unless older ones of the same window were left unread."""

    records: list[LogRecord]
    whole: bool


async def _newest(source: Outside, wanted: LogSearch) -> _Read:
    """The newest records of a window, as many as are mined, within the time there is."""
    records: list[LogRecord] = []
    cursor: str | None = None
    with anyio.move_on_after(_SECONDS):
        while len(records) < MOST_MINED:
            page = await source.search(wanted.evolve(limit=_A_PAGE, cursor=cursor))
            records += map(_told, page.records)
            cursor = page.next_cursor
            if cursor is None:
                return _Read(records, page.counted)
    return _Read(records, whole=False)


def _told(record: LogRecord) -> LogRecord:
    """What a miner looks at of a record: fifty thousand are held at once."""
    from ops_mcp.logs.joining import headline  # as above

    return record._replace(message=headline(record.message)[:_LOOKED_AT], raw="", fields={})


def _mined(windows: Sequence[Sequence[LogRecord]]) -> tuple[Patterns, list[list[TemplateId]]]:
    from ops_mcp.logs.templates import Miner  # as above

    miner = Miner()
    ids = [[miner.add(record.message, record.time) for record in records] for records in windows]
    patterns = miner.patterns()
    return patterns, [[patterns.current(id) for id in each] for each in ids]


def _templates(windows: Sequence[Sequence[LogRecord]]) -> list[Sequence[TemplateCount]]:
    patterns, ids = _mined(windows)
    known = {template.id: template for template in patterns.templates}
    found: list[Sequence[TemplateCount]] = []
    for records, named in zip(windows, ids, strict=True):
        groups: dict[tuple[TemplateId, Severity], list[datetime]] = {}
        for record, id in zip(records, named, strict=True):
            groups.setdefault((id, record.severity), []).append(record.time)
        counted = [TemplateCount(known[id], bad, len(at), min(at), max(at)) for (id, bad), at in groups.items() if id in known]
        found.append(sorted(counted, key=lambda each: -each.lines))
    return found


def _history(found: _Read, start: datetime, end: datetime) -> History:
    """Where not all could be read, only the buckets that were read whole."""
    from ops_mcp.logs.anomalies import History, Series  # as above

    if not found.whole and found.records:
        oldest = min(record.time for record in found.records)
        start = min(end, start + -((start - oldest) // BUCKET) * BUCKET)
    buckets = (end - start) // BUCKET
    within = [record for record in found.records if start <= record.time < end]
    patterns, [ids] = _mined([within])
    counts: Counter[tuple[TemplateId, Severity, int]] = Counter(
        (id, record.severity, (record.time - start) // BUCKET) for record, id in zip(within, ids, strict=True)
    )
    texts = {template.id: template.text for template in patterns.templates}
    rows: dict[tuple[TemplateId, Severity], list[int]] = {}
    for (id, severity, bucket), count in counts.items():
        rows.setdefault((id, severity), [0] * buckets)[bucket] = count
    series: list[Series] = [Series(id, texts.get(id, ""), severity, each) for (id, severity), each in rows.items()]
    return History(start, BUCKET, tuple(series))
