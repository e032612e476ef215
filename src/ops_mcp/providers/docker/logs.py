"""What our containers wrote, newest first, in pages. Nothing is read twice as large as it must be: by the tail, then by time."""

import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import anyio

from ops_mcp.domain.observations import LogLine, LogQuery
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, ProviderError, Unsupported
from ops_mcp.logs.matching import matches
from ops_mcp.logs.severity import severity_of
from ops_mcp.ports import Page
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.frames import Framed, Line, NoFrames, Raw, moment_of, nanoseconds_of
from ops_mcp.providers.docker.troubles import cannot_read_logs

_SECOND = 1_000_000_000
_SHORTEST_TAIL = 500
_FIRST_WINDOW = 600 * _SECOND
_WINDOW_GROWS = 6
_MOST_SECONDS = 25.0
_MOST_PAGE_CHARACTERS = 1 << 20
_CURSOR = re.compile(r"^(\d{1,20})\.(\d{1,5})$")


class Found(NamedTuple):
    """A line that matches, in the order of all: by time, then by replica, then as it was written."""

    nanoseconds: int
    replica: int
    number: int
    line: LogLine


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: at lines older than `below` (nanoseconds, exclusive), after `given` lines of the very last of them."""

    below: int
    given: int = 0


async def page(engine: EngineApi, found: Sequence[Ours], query: LogQuery, *, now: datetime) -> Page[LogLine]:
    """The newest lines that match, of all replicas together."""
    upper = _upper(query, now)
    newest: list[Found] = []
    try:
        with anyio.fail_after(_MOST_SECONDS):
            for ours in found:
                newest += await _of_one(engine, ours, query, upper)
    except TimeoutError as error:
        raise DeadlineExceeded(
            "The engine has more lines than can be searched in time.", hint="Narrow the search by since and until."
        ) from error
    newest.sort(key=lambda one: one[:3], reverse=True)
    newest = _without_given(newest, upper)
    shown = _bounded(newest[: query.limit])
    if len(newest) == len(shown):
        return Page(tuple(one.line for one in shown))
    return Page(tuple(one.line for one in shown), _cursor_after(shown, upper))


async def last_lines(engine: EngineApi, ours: Ours, most: int) -> Sequence[str]:
    """The newest lines of one container, oldest first."""
    return [line.text async for line in _lines(engine, ours, _decoder(ours), tail=most)][-most:]


def lines_since(engine: EngineApi, ours: Ours, nanoseconds: int, *, whole: bool) -> AsyncGenerator[Line]:
    """Every line from a moment on, in the engine's order; `whole` leaves out what has no newline yet."""
    return _lines(engine, ours, _decoder(ours), since=nanoseconds // _SECOND, whole=whole)


async def _of_one(engine: EngineApi, ours: Ours, query: LogQuery, upper: Place) -> list[Found]:
    """The newest matches of one container, one more than asked for: it tells whether there is more."""
    wanted = query.limit + upper.given + 1
    floor = _floor(ours, query)
    newest: list[Found] = []
    below = upper.below
    if query.until is None and query.cursor is None:
        tail = max(_SHORTEST_TAIL, 2 * wanted)
        newest, oldest = await _tail(engine, ours, query, tail)
        if len(newest) >= wanted or oldest is None:
            return newest[-wanted:]
        below = oldest + 1
    window = _FIRST_WINDOW
    while len(newest) < wanted and below > floor:
        above = max(floor, below - window)
        newest = [*await _window(engine, ours, query, above, below, wanted), *newest]
        below, window = above, window * _WINDOW_GROWS
    return newest[-wanted:]


async def _tail(engine: EngineApi, ours: Ours, query: LogQuery, tail: int) -> tuple[list[Found], int | None]:
    """Matches among the newest lines, and the moment up to which older ones are still to be read; None where these were all.

    The tail may begin inside a line, or among several of one moment: that moment is left to whoever reads on.
    """
    count, oldest = 0, None
    newest: list[Found] = []
    decoder = _decoder(ours)
    async for line in _lines(engine, ours, decoder, tail=tail):
        count += 1
        oldest = line.nanoseconds if oldest is None else oldest
        newest += _matching(line, ours, query, count)
    if decoder.messages < tail:
        return newest, None
    return [one for one in newest if oldest is None or one.nanoseconds > oldest], oldest


async def _window(engine: EngineApi, ours: Ours, query: LogQuery, above: int, below: int, wanted: int) -> Sequence[Found]:
    """The newest matches with `above <= time < below`; only they are kept, however many lines there are."""
    newest: deque[Found] = deque(maxlen=wanted)
    count = 0
    async for line in _lines(engine, ours, _decoder(ours), since=above // _SECOND, until=-(-below // _SECOND)):
        count += 1
        if line.nanoseconds is not None and above <= line.nanoseconds < below:
            newest.extend(_matching(line, ours, query, count))
    return newest


async def _lines(
    engine: EngineApi,
    ours: Ours,
    decoder: Framed | Raw,
    *,
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    whole: bool = False,
) -> AsyncGenerator[Line]:
    """At least one stream must be asked for, and whole seconds: finer bounds are ours to hold."""
    params: dict[str, str | int] = {"stdout": "true", "stderr": "true", "timestamps": "true"}
    params |= {"tail": str(tail)} if tail is not None else {}
    params |= {"since": since} if since is not None else {}
    params |= {"until": until} if until is not None else {}
    try:
        async with engine.open("GET", f"/containers/{ours.container.id}/logs", doing="its logs", params=params) as response:
            async for data in response.aiter_bytes():
                for line in decoder.feed(data):
                    yield line
            for line in () if whole else decoder.end():
                yield line
    except NoFrames as error:
        raise ProviderError("The engine's log stream is not understood.", hint="Look at the container's logs by hand.") from error
    except ProviderError as error:
        if cannot_read_logs(str(error.details.get("untrusted_output", ""))):
            raise Unsupported(
                "The engine's log driver keeps nothing that could be read.", hint="Use the driver json-file, local or journald."
            ) from error
        raise


def _decoder(ours: Ours) -> Framed | Raw:
    return Raw() if ours.container.config.tty else Framed()


def _matching(line: Line, ours: Ours, query: LogQuery, number: int) -> list[Found]:
    at = moment_of(line.nanoseconds) if line.nanoseconds is not None else None
    origin = line.stream if ours.replica == 1 else f"{line.stream} of replica {ours.replica}"
    shown = LogLine(at=at, severity=severity_of(line.text), text=line.text, origin=origin)
    return [Found(line.nanoseconds or 0, ours.replica, number, shown)] if matches(shown, query) else []


def _floor(ours: Ours, query: LogQuery) -> int:
    """Nothing older can be there, or is wanted."""
    created = nanoseconds_of(ours.container.created) - _SECOND if ours.container.created is not None else 0
    return max(created, nanoseconds_of(query.since)) if query.since is not None else created


def _upper(query: LogQuery, now: datetime) -> Place:
    if query.cursor is not None:
        match = _CURSOR.fullmatch(query.cursor)
        if match is None:
            raise InvalidArguments("cursor is none that this tool gave.", hint="Give next_cursor as it came, or leave it out.")
        return Place(below=int(match[1]) + 1, given=int(match[2]))
    return Place(below=nanoseconds_of(query.until) if query.until is not None else nanoseconds_of(now) + _SECOND)


def _without_given(newest: list[Found], upper: Place) -> list[Found]:
    """Without those lines of the last page's oldest moment that it has given already."""
    same = [one for one in newest if one.nanoseconds == upper.below - 1]
    return newest[min(upper.given, len(same)) :]


def _bounded(found: Sequence[Found]) -> Sequence[Found]:
    """No more than a page may hold; at least one line."""
    room = _MOST_PAGE_CHARACTERS
    for number, one in enumerate(found):
        room -= len(one.line.text)
        if room < 0 and number:
            return found[:number]
    return found


def _cursor_after(shown: Sequence[Found], upper: Place) -> str:
    last = shown[-1].nanoseconds
    given = sum(1 for one in shown if one.nanoseconds == last) + (upper.given if last == upper.below - 1 else 0)
    return f"{last}.{given}"
