"""A search through log files: piece by piece from the wanted end of time, within its bounds. For a thread that may wait."""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.logs.cleaning import cleaned
from ops_mcp.logs.joining import MOST_BYTES, Joiner
from ops_mcp.logs.matching import time_of
from ops_mcp.logs.records import LogRecord, Source, parse
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.sources._opening import LONGEST_LINE, Line, LogFile, line_start, lines_of, opened
from ops_mcp.sources.matching import Sieve

Redact: TypeAlias = Callable[[str], str]

UNORDERED = timedelta(minutes=10)
"""How far the lines of a file may be out of the order of their times, where that decides what is read."""

_LEAD = 2**17
_LONGEST_SECRET = 8_192
_MOST_CHARACTERS = 32 * 2**20
_PEEKED = 50
_AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,17})\.([0-9a-f]{12})\.(\d{1,15})\.([01])\.(\d{1,12})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Owner(NamedTuple):
    """Whose files they are."""

    service: str
    environment: str
    files: Sequence[str]


class Bounds(NamedTuple):
    """How long a search may take. Files are read in pieces of so many bytes, the newest first; packed ones as a whole."""

    seconds: float = 10.0
    piece: int = 8 * 2**20


class _Rank(NamedTuple):
    """A record's place in the order of an answer, which neither new lines nor rotation change."""

    time_us: int
    mark: str
    start: int


class _Hit(NamedTuple):
    rank: _Rank
    record: LogRecord
    lent: bool
    """Whether its time is that of the last write to its file."""


class _After(NamedTuple):
    """Where a cursor goes on, and how many records came before that."""

    rank: _Rank
    lent: bool
    given: int


class _Piece(NamedTuple):
    """Records that begin at `start` or after it, before `end`."""

    file: LogFile
    start: int
    end: int


class Terms(NamedTuple):
    """`stop` is set by who waits for the answer no longer."""

    redact: Redact
    bounds: Bounds
    stop: threading.Event


def scan(directory: Path, owners: Sequence[Owner], wanted: LogSearch, terms: Terms) -> LogsMatched:
    """Raises `OSError` where the directory cannot be read."""
    with opened(directory, [owner.files for owner in owners]) as files:
        return _Scan(owners, wanted, terms).run(files)


class _Scan:
    def __init__(self, owners: Sequence[Owner], wanted: LogSearch, terms: Terms) -> None:
        self._owners, self._wanted, self._sieve = owners, wanted, Sieve.of(wanted)
        self._redact, self._bounds, self._stop = terms
        self._after = _after(wanted)
        self._best: list[_Hit] = []
        self._most = wanted.limit
        self._matched = 0

    def run(self, files: Sequence[LogFile]) -> LogsMatched:
        until = monotonic() + self._bounds.seconds
        counted = all(self._look(piece, until) for piece in self._pieces(files))
        self._trim()
        given = self._after.given if self._after else 0
        more = self._matched > len(self._best)
        cursor = _cursor(self._best[-1], given + len(self._best)) if more and self._best else None
        return LogsMatched(tuple(hit.record for hit in self._best), given + self._matched, counted, cursor)

    def _pieces(self, files: Sequence[LogFile]) -> Iterator[_Piece]:
        """In the order in which they are likely to hold what comes first in the answer."""
        pieces: list[_Piece] = []
        for file in files:
            starts = [0] if file.packed else [line_start(file, at) for at in range(0, file.size, self._bounds.piece)]
            ends = [*starts[1:], 2**62]
            pieces += [_Piece(file, start, end) for start, end in zip(starts, ends, strict=True) if start < end][::-1]
        for piece in reversed(pieces) if self._wanted.oldest_first else pieces:
            if self._may_hold(piece):
                yield piece

    def _may_hold(self, piece: _Piece) -> bool:
        """Whether records of this piece may be in the window that is left, by the last write and the first time in it."""
        since, until = self._wanted.since, self._wanted.until
        if self._after is not None:
            edge = _time(self._after.rank.time_us)
            if self._wanted.oldest_first:
                since = max(since, edge) if since is not None else edge
            else:
                edge += timedelta(microseconds=1)
                until = min(until, edge) if until is not None else edge
        if since is not None and piece.file.written_at < since and not self._goes_on_in(piece.file):
            return False
        if until is None and since is None:
            return True
        first = _first_time(piece.file, piece.start)
        if first is not None and until is not None and first >= until + UNORDERED:
            return False
        after = _first_time(piece.file, piece.end) if since is not None and piece.end < piece.file.size else None
        return after is None or since is None or after >= since - UNORDERED

    def _goes_on_in(self, file: LogFile) -> bool:
        return self._after is not None and self._after.lent and self._after.rank.mark == file.mark

    def _look(self, piece: _Piece, until: float) -> bool:
        """Whether the whole piece could be looked at."""
        file = piece.file
        written_at = _time(self._after.rank.time_us) if self._after and self._goes_on_in(file) else file.written_at
        lent: datetime | None = None
        owner = self._owners[file.owner]
        source = Source(owner.service, owner.environment)
        for number, (start, text) in enumerate(self._joined(piece)):
            if number % 64 == 0 and (self._stop.is_set() or monotonic() > until):
                return False
            plain = cleaned(text, LONGEST_LINE)
            if self._sieve.text is not None and self._sieve.text not in plain.casefold():
                lent = time_of(plain, near=file.written_at) or lent
                continue
            record = parse(self._redact(plain), source, arrived=file.written_at)
            lent = record.time if record.time_stated else lent
            if piece.start <= start:
                timed = record._replace(time=lent or written_at)
                self._offer(_Hit(_Rank(_micros(timed.time), file.mark, start), timed, lent is None))
        return True

    def _joined(self, piece: _Piece) -> Iterator[tuple[int, str]]:
        """Texts of joined lines that begin before the end of the piece. It is begun earlier, to know what the first lines
        belong to."""
        joiner, starts = Joiner(), deque[int]()
        begin = line_start(piece.file, piece.start - _LEAD) if piece.start else 0
        for line in lines_of(piece.file, begin):
            ended = joiner.add(self._whole(line), _AT_ONCE)
            if ended is not None:
                yield starts[0], ended.text
                for _ in range(ended.lines):
                    starts.popleft()
                if line.start >= piece.end:
                    return
            starts.append(line.start)
        if (last := joiner.close()) is not None and starts[0] < piece.end:
            yield starts[0], last.text

    def _whole(self, line: Line) -> str:
        """One that the joiner will cut is redacted before, but for its last word if it was cut already: that may be a half."""
        text = line.data.decode(errors="replace").rstrip("\r")
        if len(line.data) < MOST_BYTES:
            return text
        if len(line.data) == LONGEST_LINE:
            head, _, word = text.rpartition(" ")
            text = head if len(word) <= _LONGEST_SECRET else text[:-_LONGEST_SECRET]
        return self._redact(cleaned(text, LONGEST_LINE))

    def _offer(self, hit: _Hit) -> None:
        wanted, at = self._wanted, hit.record.time
        if (wanted.since is not None and at < wanted.since) or (wanted.until is not None and at >= wanted.until):
            return
        if wanted.severity is not None and hit.record.severity.rank < wanted.severity.rank:
            return
        if not self._sieve.holds(hit.record) or not self._is_after(hit):
            return
        self._matched += 1
        self._best.append(hit)
        if len(self._best) >= 2 * self._most + 100:
            self._trim()

    def _is_after(self, hit: _Hit) -> bool:
        after = self._after
        if after is None:
            return True
        return hit.rank > after.rank if self._wanted.oldest_first else hit.rank < after.rank

    def _trim(self) -> None:
        """Keep those that come first, as many as are asked for and as memory allows."""
        best = sorted(self._best, key=lambda hit: hit.rank, reverse=not self._wanted.oldest_first)[: self._most]
        room = _MOST_CHARACTERS
        for place, hit in enumerate(best):
            room -= len(hit.record.raw)
            if room < 0 and place:
                self._most = place
                break
        self._best = best[: self._most]


def _first_time(file: LogFile, at: int) -> datetime | None:
    if file.packed:
        return None
    for number, line in enumerate(lines_of(file, at)):
        if number == _PEEKED:
            return None
        if found := time_of(line.data[:4096].decode(errors="replace"), near=file.written_at):
            return found
    return None


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _cursor(hit: _Hit, given: int) -> str:
    return f"{max(0, hit.rank.time_us)}.{hit.rank.mark}.{hit.rank.start}.{int(hit.lent)}.{given}"


def _after(wanted: LogSearch) -> _After | None:
    if wanted.cursor is None:
        return None
    found = _CURSOR.fullmatch(wanted.cursor)
    if found is None:
        raise InvalidArguments(
            "cursor is none that this source gave.",
            hint="Give next_cursor as it came, or leave it out.",
            details={"fields": ["cursor"]},
        )
    return _After(_Rank(int(found[1]), found[2], int(found[3])), found[4] == "1", int(found[5]))
