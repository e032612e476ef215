"""Log lines: bounded out of Vercel's endless stream of runtime logs, or a build's output where nothing ever ran.

The stream has no cursor and no end. Reading stops at enough lines, at silence, at the row that says that the limit is reached,
and at a deadline. A build's output is paged by time.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
from pydantic_core import from_json

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.errors import InvalidArguments, NotFound, ProviderError
from ops_mcp.governance.redaction import plain
from ops_mcp.ports import Page
from ops_mcp.providers.vercel.answers import Deployed, Event, milliseconds, moment, number, table, text
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.output import PRINTED
from ops_mcp.providers.vercel.states import BUILT, phase_of
from ops_mcp.values import Json, JsonObject

_LINE_CHARACTERS = 4000
_MOST_BYTES = 8 << 20
_BUILD_EVENTS = 1000
_CURSOR = "build-"
_SEVERITY = {
    "trace": Severity.trace,
    "debug": Severity.debug,
    "info": Severity.info,
    "warning": Severity.warning,
    "error": Severity.error,
    "fatal": Severity.critical,
}


@dataclass(frozen=True, slots=True)
class Listening:
    """How long a stream is listened to: until it has said nothing for `quiet_seconds`, and never longer than `most_seconds`."""

    quiet_seconds: float = 3.0
    most_seconds: float = 15.0


async def read(errand: Errand, query: LogQuery, listening: Listening) -> Page[LogLine]:
    """Lines that match, newest first."""
    found = await errand.located()
    if found is None:
        raise NotFound("Vercel has nothing of this deployment.", hint="Use an id from `deployments`.")
    if phase_of(found) not in BUILT:
        return await _build(errand, found, query)
    if query.cursor is not None:
        raise InvalidArguments("cursor: there is nothing older to go on with.", hint="Leave cursor out: Vercel tells no history.")
    heard = await _heard(errand, found, query, listening)
    return Page(_newest(heard.lines, query.limit))


async def rows_of(errand: Errand, found: Deployed, listening: Listening, *, most: int) -> list[tuple[str, LogLine]]:
    """What the stream tells in its time, each line with its row's id."""
    heard = await _heard(errand, found, LogQuery(limit=most), listening)
    return list(zip(heard.ids, heard.lines, strict=True))


async def _heard(errand: Errand, found: Deployed, query: LogQuery, listening: Listening) -> "_Heard":
    heard = _Heard(query)
    try:
        with anyio.move_on_after(listening.most_seconds):
            async with errand.api.runtime_logs(found.project, found.id) as chunks:
                await _listen(chunks, heard, listening.quiet_seconds)
    except ProviderError:
        if not heard.lines:
            raise
    return heard


async def _listen(chunks: AsyncIterator[bytes], heard: "_Heard", quiet_seconds: float) -> None:
    quiet_since = anyio.current_time()
    while not heard.has_enough:
        chunk: bytes | None = None
        with anyio.CancelScope(deadline=quiet_since + quiet_seconds):
            chunk = await anext(chunks, None)
        if chunk is None:  # the end of it, or silence
            return
        if heard.take(chunk):
            quiet_since = anyio.current_time()


@dataclass
class _Heard:
    """Rows out of a stream of JSON lines, as far as they match."""

    query: LogQuery
    lines: list[LogLine] = field(default_factory=list[LogLine])
    ids: list[str] = field(default_factory=list[str])
    has_enough: bool = False
    _bytes: int = 0
    _rest: bytes = b""

    def take(self, chunk: bytes) -> bool:
        """Whether there was a row in it; keep-alives are none."""
        self._bytes += len(chunk)
        self.has_enough = self._bytes > _MOST_BYTES
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        rows = [self._take_row(row) for row in whole]
        return any(rows)

    def _take_row(self, written: bytes) -> bool:
        row = _row(written)
        if text(row, "source") == "delimiter":  # Vercel's own limit is reached
            self.has_enough = True
        if not text(row, "rowId"):
            return False
        line = _line(row)
        if _matches(line, self.query) and len(self.lines) < self.query.limit:
            self.lines.append(line)
            self.ids.append(text(row, "rowId"))
        self.has_enough = self.has_enough or len(self.lines) >= self.query.limit
        return True


def _row(written: bytes) -> JsonObject:
    try:
        found: Json = from_json(written)
    except ValueError:
        return {}
    return table(found)


def _line(row: JsonObject) -> LogLine:
    method, path, status = text(row, "requestMethod"), text(row, "requestPath"), number(row, "responseStatusCode")
    request = f"{method} {path}{f' {status:.0f}' if status > 0 else ''}".strip()
    said = text(row, "message") + ("…" if row.get("messageTruncated") is True else "")
    return LogLine(
        at=moment(number(row, "timestampInMs")),
        severity=_SEVERITY.get(text(row, "level"), Severity.unknown),
        text=plain(f"{request} {said}".strip(), _LINE_CHARACTERS),
        origin=plain(text(row, "source"), 40),
    )


async def _build(errand: Errand, found: Deployed, query: LogQuery) -> Page[LogLine]:
    until = _until(query)
    window: dict[str, str | int] = {} if until is None else {"until": until}
    if query.since is not None:
        window["since"] = milliseconds(query.since)
    events = await errand.wait.out(
        lambda: errand.api.events(found.id, builds=1, direction="backward", limit=_BUILD_EVENTS, **window)
    )
    asked = [event for event in reversed(events) if until is None or event.at < until]
    lines = _newest([line for event in asked for line in _printed(event) if _matches(line, query)], query.limit)
    return Page(lines, _cursor(lines, asked, query.limit))


def _until(query: LogQuery) -> int | None:
    """Where to go on, going back: a cursor is the time before which nothing was told yet."""
    if query.cursor is None:
        return milliseconds(query.until) if query.until is not None else None
    at = query.cursor.removeprefix(_CURSOR)
    if at == query.cursor or not at.isdecimal() or len(at) > 15:
        raise InvalidArguments(
            "cursor is none that this service's logs gave.", hint="Pass next_cursor of the answer before, or none."
        )
    return int(at)


def _cursor(lines: tuple[LogLine, ...], asked: list[Event], limit: int) -> str | None:
    """Goes on before the oldest line told, or before the oldest one looked at where all of them were told."""
    if len(lines) >= limit and lines[-1].at is not None:
        return f"{_CURSOR}{milliseconds(lines[-1].at)}"
    if len(asked) >= _BUILD_EVENTS:
        return f"{_CURSOR}{int(min(event.at for event in asked))}"
    return None


def _printed(event: Event) -> Iterator[LogLine]:
    if event.type in PRINTED and event.text:
        severity = Severity.critical if event.type == "fatal" else _SEVERITY.get(event.level, Severity.unknown)
        yield LogLine(at=moment(event.at), severity=severity, text=plain(event.text, _LINE_CHARACTERS), origin="build")


def _matches(line: LogLine, query: LogQuery) -> bool:
    if query.severity is not None and line.severity.rank < query.severity.rank:
        return False
    if query.text is not None and query.text.lower() not in line.text.lower():
        return False
    since, until = query.since, query.until
    return line.at is None or ((since is None or line.at >= since) and (until is None or line.at < until))


def _newest(lines: list[LogLine], limit: int) -> tuple[LogLine, ...]:
    """Of lines in the order of their writing: what was written later comes first, also within the same instant."""
    return tuple(sorted(lines, key=lambda line: line.at or datetime.min.replace(tzinfo=UTC))[::-1][:limit])
