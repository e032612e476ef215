"""Logs that Loki keeps. What an environment is there, the operator says by labels; a caller's words are only ever quoted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from pydantic import Field

from ops_mcp.domain.observations import Severity
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.logs.cleaning import cleaned
from ops_mcp.logs.records import LogRecord, Source, parse
from ops_mcp.logs.severity import severity_of
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.ports import ReadSecret
from ops_mcp.sources import _logql
from ops_mcp.sources._lokiing import Entry, Loki, TooMany
from ops_mcp.sources._table import parsed, refuse_clear, refused
from ops_mcp.sources.matching import Sieve
from ops_mcp.values import JsonObject, Value

if TYPE_CHECKING:
    import httpx2

KIND = "loki"
MOST_LOOKED_AT, SECONDS = 50_000, 20.0
"""Lines that one search looks through, and for how long."""

A_PAGE = 1_000
_LONGEST_LINE = 2**17
_WITHOUT_SINCE_HOURS = 720
_CURSOR = re.compile(r"([bf])(\d{1,19})\.(\d{1,6})\.(\d{1,12})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEVELS = ("level", "severity", "detected_level")

Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,127}$")]
Environment = Annotated[EnvironmentName, Field(pattern=NAME_PATTERN)]


class LokiTable(Value):
    """`[sources.NAME]` of kind `loki`. `environments` maps each to the labels that its streams have, and no others have.

    `token` is the name of a secret, sent as a bearer's, or with `user` as HTTP basic. `tenant` is the organisation's id.
    """

    url: str
    environments: dict[Environment, dict[Label, str]] = Field(min_length=1)
    service_label: Label = "service"
    deployment_label: Label | None = None
    tenant: str | None = Field(default=None, max_length=150, pattern=r"^[!-~]+$")
    token: str | None = None
    user: str | None = None
    answers_first: bool = True


def build(
    name: str,
    table: JsonObject,
    *,
    secret: ReadSecret,
    redact: Callable[[str], str],
    transport: httpx2.AsyncBaseTransport | None = None,
    **_: object,
) -> LokiSource:
    """Raises `NotConfigured` for a table that cannot be used. A credential is not sent over a network in clear."""
    options = parsed(LokiTable, name, table)
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise refused(name, "url is no address of a Loki", 'For example url = "https://loki.example.org".')
    if options.token is not None:
        refuse_clear(name, options.url)
    if not all(any(labels.values()) for labels in options.environments.values()):
        raise refused(name, "environments: one has no label with a value", 'For example staging = { env = "staging" }.')
    loki = Loki(name, options.url.rstrip("/"), options.tenant, transport)
    return LokiSource(name, options, loki, secret, redact)


class LokiSource:
    """A `LogSource`. The time of a record is Loki's own."""

    def __init__(self, name: str, options: LokiTable, loki: Loki, secret: ReadSecret, redact: Callable[[str], str]) -> None:
        self.name = name
        self.answers_first = options.answers_first
        self._options, self._loki, self._secret, self._redact = options, loki, secret, redact
        self._page = A_PAGE

    def covers(self, wanted: LogSearch) -> bool:
        known = wanted.environment in self._options.environments
        return known and (wanted.deployment is None or self._options.deployment_label is not None)

    async def search(self, wanted: LogSearch) -> LogsMatched:
        """Records that match. Loki looks for text and pattern in lines as they are; counted and told is only what also matches
        with secrets hidden. So such a search never claims to have counted all: that it had more to look through would tell of
        what is hidden."""
        sieve, at = Sieve.of(wanted), _place(wanted)
        pushed = wanted.text is not None or wanted.pattern is not None
        records: list[LogRecord] = []
        after = at
        async for page in self._pages(wanted, at):
            found = await to_thread.run_sync(self._matching, page, wanted, sieve, abandon_on_cancel=True)
            for place, record in found:
                if len(records) == wanted.limit:
                    given = at.given + len(records)
                    return LogsMatched(tuple(records), given + 1, counted=False, next_cursor=after.written(wanted, given))
                records.append(record)
                after = place
            if page.more is not None and not pushed:
                given = at.given + len(records)
                return LogsMatched(tuple(records), given, counted=False, next_cursor=page.more.written(wanted, given))
        return LogsMatched(tuple(records), at.given + len(records), counted=not pushed)

    async def _pages(self, wanted: LogSearch, at: _Place) -> AsyncIterator[_Page]:
        """Entries in order, each once, until there are no more or the bounds are reached; the last page then says where."""
        give_up, looked_at = anyio.current_time() + SECONDS, 0
        while True:
            entries, size = await self._asked(wanted, at)
            looked_at += len(entries)
            edge = entries[-1].ns if entries else 0
            full = len(entries) >= size
            crowded = full and entries[0].ns == edge
            # The last nanosecond of a full page may be cut: it is asked for once more, from its beginning.
            whole = [entry for entry in entries if entry.ns != edge] if full and not crowded else entries
            skipped = at.skip if at.ns is not None else 0
            counted = list(_numbered(whole))
            kept = [(number, entry) for number, entry in counted if entry.ns != at.ns or number > skipped]
            done = looked_at >= MOST_LOOKED_AT or anyio.current_time() >= give_up
            at = _Place(edge, 10**6 if crowded else 0, at.given)
            yield _Page(kept, at if full and done else None)
            if not full or done:
                return

    async def _asked(self, wanted: LogSearch, at: _Place) -> tuple[list[Entry], int]:
        """One page, sorted so that the same nanosecond always has the same order; and how many it could have had."""
        options = self._options
        token = self._secret(options.token) if options.token is not None else None
        try:
            found = await self._loki.entries(self._params(wanted, at), token, options.user)
        except TooMany as bound:
            self._page = min(bound.most, self._page - 1) or 1
            found = await self._loki.entries(self._params(wanted, at), token, options.user)
        size = self._page
        if wanted.oldest_first:
            return sorted(found), size
        return sorted(found, key=lambda entry: (-entry.ns, entry.labels, entry.line)), size

    def _params(self, wanted: LogSearch, at: _Place) -> dict[str, str | int]:
        labels = dict(self._options.environments[wanted.environment])
        if wanted.service is not None:
            labels[self._options.service_label] = wanted.service
        if wanted.deployment is not None and self._options.deployment_label is not None:
            labels[self._options.deployment_label] = wanted.deployment
        start = _ns(wanted.since) if wanted.since is not None else None
        end = _ns(wanted.until) if wanted.until is not None else None
        if at.ns is not None and wanted.oldest_first:
            start = at.ns + (at.skip >= 10**6)
        elif at.ns is not None:
            end = at.ns + (at.skip < 10**6)
        params: dict[str, str | int] = {
            "query": _logql.query(labels, text=wanted.text, pattern=wanted.pattern),
            "limit": self._page,
            "direction": "forward" if wanted.oldest_first else "backward",
        }
        params |= {"start": start} if start is not None else {"since": f"{_WITHOUT_SINCE_HOURS}h"}
        return params | ({"end": end} if end is not None else {})

    def _matching(self, page: _Page, wanted: LogSearch, sieve: Sieve) -> list[tuple[_Place, LogRecord]]:
        records = ((_Place(entry.ns, number), self._record(entry, wanted)) for number, entry in page.entries)
        least = wanted.severity.rank if wanted.severity is not None else 0
        return [(place, record) for place, record in records if record.severity.rank >= least and sieve.holds(record)]

    def _record(self, entry: Entry, wanted: LogSearch) -> LogRecord:
        """Redacted before it is looked at. Labels are fields, where the line says nothing under their names."""
        options, labels = self._options, dict(entry.labels)
        at = _EPOCH + timedelta(microseconds=entry.ns // 1000)
        text = self._redact(cleaned(entry.line, _LONGEST_LINE))
        service = wanted.service or cleaned(labels.get(options.service_label, ""), 63)
        deployment = cleaned(labels.get(options.deployment_label, ""), 80) if options.deployment_label else ""
        record = parse(text, Source(service, wanted.environment, deployment), arrived=at)
        said = {cleaned(name, 128): self._redact(cleaned(value, 2048)) for name, value in list(labels.items())[:32]}
        severity = record.severity
        if severity is Severity.unknown:
            said_levels = (severity_of(f"level={labels[name][:20]}") for name in _LEVELS if name in labels)
            severity = next((level for level in said_levels if level is not Severity.unknown), severity)
        return record._replace(time=at, time_stated=True, fields={**said, **record.fields}, severity=severity)


class _Place(NamedTuple):
    """Where a search goes on: behind the first `skip` entries of a nanosecond, or where the window begins. `skip` of a million
    is all of them. `given` is how many records came before."""

    ns: int | None = None
    skip: int = 0
    given: int = 0

    def written(self, wanted: LogSearch, given: int) -> str:
        return f"{'f' if wanted.oldest_first else 'b'}{self.ns or 0}.{self.skip}.{given}"


class _Page(NamedTuple):
    """Entries with their numbers within their nanosecond. `more` says where to go on, where bounds ended the search here."""

    entries: Sequence[tuple[int, Entry]]
    more: _Place | None


def _place(wanted: LogSearch) -> _Place:
    if wanted.cursor is None:
        return _Place()
    found = _CURSOR.fullmatch(wanted.cursor)
    if found is None or (found[1] == "f") is not wanted.oldest_first:
        raise InvalidArguments(
            "cursor is none that this source gave in this order.",
            hint="Give next_cursor as it came, or leave it out.",
            details={"fields": ["cursor"]},
        )
    return _Place(int(found[2]), int(found[3]), int(found[4]))


def _numbered(entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
    """Each with its number within its nanosecond, from 1."""
    found: list[tuple[int, Entry]] = []
    number, ns = 0, -1
    for entry in entries:
        number = number + 1 if entry.ns == ns else 1
        ns = entry.ns
        found.append((number, entry))
    return found


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
