"""A search of the store: chunk by chunk from the wanted end of time, until all are counted or its own limits are reached."""

import heapq
import re
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple, TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.store.logs import filtering
from ops_mcp.store.logs.chunks import Stream, chunk_from, record_of
from ops_mcp.store.logs.filtering import Matches, Wanted

SEARCH_SECONDS, COUNT_SECONDS = 10.0, 2.0
"""A search ends after the first; after the second, if all that is left to do is to count."""

Rank: TypeAlias = tuple[int, int, int]
"""A record's place in the order of an answer, the greatest first: time, stream and number, or their negatives."""

_CURSOR = re.compile(r"([no])(-?\d{1,18})\.(-?\d{1,18})\.(-?\d{1,18})\.(\d{1,9})")
_LAST = 2**62


class Limits(NamedTuple):
    search_seconds: float = SEARCH_SECONDS
    count_seconds: float = COUNT_SECONDS


class _Listed(NamedTuple):
    id: int
    stream: int
    first_us: int
    last_us: int


class _Hit(NamedTuple):
    rank: Rank
    text: str
    time_us: int
    severity: int
    stream: int


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Search:
    """One search, in a thread of its own. `stop` is set by who waits for it no longer."""

    def __init__(self, search: LogSearch, limits: Limits, stop: threading.Event, matches: Matches | None = None) -> None:
        self._search, self._limits, self._stop, self._matches = search, limits, stop, matches
        self._sign = -1 if search.oldest_first else 1
        self._wanted = Wanted.of(search)
        self._after, self._given = _place_of(search)
        self._best: list[_Hit] = []
        self._matched = 0

    def run(self, connection: sqlite3.Connection) -> LogsMatched:
        """Within a reading transaction: what is stored meanwhile is not seen."""
        streams = _streams(connection, self._search)
        listed = self._listed(connection, list(streams))
        began = monotonic()
        for place, chunk in enumerate(listed):
            if self._stop.is_set():
                raise Cancelled
            spent = monotonic() - began
            if place and (spent > self._limits.search_seconds or (spent > self._limits.count_seconds and self._is_full(chunk))):
                return self._answer(streams, left=chunk)
            self._look(connection, chunk, streams[chunk.stream])
        return self._answer(streams, left=None)

    def _listed(self, connection: sqlite3.Connection, streams: Sequence[int]) -> Sequence[_Listed]:
        """Chunks that may hold something, in the order of the answer: by their end nearest to where it begins."""
        since, until = self._wanted.since, self._wanted.until
        if self._after is not None:
            time = self._after[0] * self._sign
            since, until = (max(since, time), until) if self._search.oldest_first else (since, min(until, time + 1))
        found: list[_Listed] = []
        for stream in streams:
            found += [
                _Listed(*row)
                for row in connection.execute(
                    "SELECT id, stream, first_us, last_us FROM chunks WHERE stream = ? AND last_us >= ? AND first_us < ?"
                    " AND worst >= ?",
                    (stream, since, until, self._wanted.rank),
                )
            ]
        if self._search.oldest_first:
            return sorted(found, key=lambda chunk: chunk.first_us)
        return sorted(found, key=lambda chunk: -chunk.last_us)

    def _look(self, connection: sqlite3.Connection, listed: _Listed, stream: Stream) -> None:
        row = connection.execute(
            "SELECT first_number, records, ascii, packed, marks, body FROM chunks WHERE id = ?", (listed.id,)
        ).fetchone()
        first_number, records, ascii, packed, marks, body = row
        chunk = chunk_from(records, marks, body, packed=bool(packed))
        if self._only_counts(listed):
            self._matched += filtering.count_of(chunk, self._wanted.rank)
            return
        found = filtering.wanted_of(chunk, self._wanted, stream, ascii=bool(ascii))
        if self._matches is not None and found:
            found = self._matches(chunk, found)
        if self._after is not None:
            found = [n for n in found if self._rank(chunk.times[n], stream.id, first_number + n) < self._after]
        self._matched += len(found)
        # Those that come first in the answer are taken first, so that most of the others are turned away at once.
        for n in found if self._search.oldest_first else reversed(found):
            rank = self._rank(chunk.times[n], stream.id, first_number + n)
            if len(self._best) < self._search.limit:
                heapq.heappush(self._best, _Hit(rank, chunk.text(n), chunk.times[n], chunk.severities[n], stream.id))
            elif rank > self._best[0].rank:
                heapq.heapreplace(self._best, _Hit(rank, chunk.text(n), chunk.times[n], chunk.severities[n], stream.id))

    def _only_counts(self, listed: _Listed) -> bool:
        """Whether nothing of the chunk can be shown, all of it is in the window, and only severities are asked for."""
        return (
            self._matches is None
            and filtering.is_simple(self._wanted)
            and self._wanted.since <= listed.first_us
            and listed.last_us < self._wanted.until
            and self._is_full(listed)
            and (self._after is None or self._edge(listed) < self._after[0])
        )

    def _is_full(self, rest: _Listed) -> bool:
        """Whether all that is to be shown is found, and nothing from this chunk on comes before it."""
        return len(self._best) >= self._search.limit and self._best[0].rank[0] > self._edge(rest)

    def _edge(self, listed: _Listed) -> int:
        """The end of the chunk that is nearer to where the answer begins, as the time of a rank."""
        return -listed.first_us if self._search.oldest_first else listed.last_us

    def _rank(self, time_us: int, stream: int, number: int) -> Rank:
        return (time_us, stream, number) if self._sign > 0 else (-time_us, -stream, -number)

    def _answer(self, streams: Mapping[int, Stream], left: _Listed | None) -> LogsMatched:
        """`left`: the first chunk that was not looked at. What it may come before is not shown yet, lest a page skips it."""
        best = sorted(self._best, reverse=True)
        after: Rank | None = best[-1].rank if best and self._matched > len(best) else None
        if left is not None:
            bound = self._edge(left)
            sure = [hit for hit in best if hit.rank[0] > bound]
            after = sure[-1].rank if len(sure) == len(best) and len(best) >= self._search.limit else (bound, _LAST, _LAST)
            best = sure
        records = tuple(record_of(hit.text, hit.time_us, hit.severity, streams[hit.stream]) for hit in best)
        cursor = _cursor(after, self._given + len(best), oldest_first=self._search.oldest_first) if after is not None else None
        return LogsMatched(records, self._given + self._matched, counted=left is None, next_cursor=cursor)


def _streams(connection: sqlite3.Connection, search: LogSearch) -> dict[int, Stream]:
    where, params = ["environment = ?"], [str(search.environment)]
    for column, value in (("service", search.service), ("deployment", search.deployment)):
        if value is not None:
            where.append(f"{column} = ?")
            params.append(value)
    rows = connection.execute(
        f"SELECT id, environment, service, deployment, origin FROM streams WHERE {' AND '.join(where)}", params
    )
    return {row[0]: Stream(*row) for row in rows}


def _cursor(after: Rank, given: int, *, oldest_first: bool) -> str:
    time, stream, number = after
    return f"{'o' if oldest_first else 'n'}{time}.{min(stream, 10**17)}.{min(number, 10**17)}.{given}"


def _place_of(search: LogSearch) -> tuple[Rank | None, int]:
    if search.cursor is None:
        return None, 0
    match = _CURSOR.fullmatch(search.cursor)
    if match is None:
        raise InvalidArguments("cursor is none that this store gave.", hint="Give next_cursor as it came, or leave it out.")
    if (match[1] == "o") is not search.oldest_first:
        raise InvalidArguments("cursor belongs to the other order.", hint="Keep the order, or leave cursor out and begin again.")
    return (int(match[2]), int(match[3]), int(match[4])), int(match[5])
