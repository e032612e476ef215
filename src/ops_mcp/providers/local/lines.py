"""The lines that a keeper kept of one deployment, newest first over all its files, read backwards a block at a time."""

import contextlib
import hashlib
import os
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.logs.matching import matches, time_of
from ops_mcp.logs.severity import severity_of
from ops_mcp.ports import Page
from ops_mcp.providers.local.launch import LOG_FILES

_BLOCK = 1 << 16
_MOST_PAGE_CHARACTERS = 1 << 20
_TAIL_CHARACTERS = 2000
_MOST_LENT = 100
_ANCHOR_BYTES = 1024
_CURSOR = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,16})\.([0-9a-f]{16})")


def page(logs: Path, query: LogQuery) -> Page[LogLine]:
    """The newest matching lines, at most `limit` of them and 1 MiB.

    `at` is the time that the line itself states; what a service prints without one has none. For `since` and `until` such a
    line counts with the nearest line above it that states a time, at most 100 lines away: so a traceback comes with its error.
    Where there is none either, it is taken to be as new as the last write to its file, which is the latest it can be. A file
    last written before `since` is not read.

    A cursor names the oldest line of its page by file and offset, so that neither new lines nor rotation move it.
    """
    found: list[LogLine] = []
    oldest: _Line | None = None
    room = _MOST_PAGE_CHARACTERS
    with _opened(logs) as files:
        for line in _asked_for(files, query):
            room -= len(line.text)
            if oldest is not None and (len(found) == query.limit or room < 0):
                return Page(tuple(found), _cursor_at(oldest))
            found.append(LogLine(at=line.time, severity=severity_of(line.text), text=line.text))
            oldest = line
    return Page(tuple(found))


def tail(logs: Path, most: int) -> Sequence[str]:
    """The newest lines, oldest first; bounded in number and length."""
    with _opened(logs) as files:
        newest = [line.text[:_TAIL_CHARACTERS] for line in islice(_backwards(files, None), most)]
    return newest[::-1]


class _File(NamedTuple):
    """One log file, held open: rotation renames it and changes nothing in what was written."""

    descriptor: int
    inode: int
    size: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class _Line:
    file: _File
    start: int
    text: str

    @property
    def time(self) -> datetime | None:
        return time_of(self.text, near=self.file.written_at)


@contextlib.contextmanager
def _opened(logs: Path) -> Generator[Sequence[_File]]:
    """The files, newest first. Rotation moves each to the next older name: whoever opens in this order meets one twice, or
    misses a name for a moment, but skips none."""
    with contextlib.ExitStack() as closing:
        files: dict[int, _File] = {}
        for name in ("current.log", *(f"{number}.log" for number in range(1, LOG_FILES))):
            try:
                descriptor = os.open(logs / name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            closing.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            written_at = datetime.fromtimestamp(status.st_mtime, UTC)
            files.setdefault(status.st_ino, _File(descriptor, status.st_ino, status.st_size, written_at))
        yield tuple(files.values())


def _asked_for(files: Sequence[_File], query: LogQuery) -> Iterator[_Line]:
    """Of hundreds of thousands of lines few are asked for, so what is cheap to tell is told first."""
    but_severity = query.evolve(severity=None)
    bounded = query.since is not None or query.until is not None
    every = _backwards(files, query.cursor, since=query.since)
    for line, moment in _timed(every) if bounded else ((line, None) for line in every):
        plain = LogLine(at=moment, severity=Severity.unknown, text=line.text)
        if not matches(plain, but_severity):
            continue
        if query.severity is None or matches(plain.evolve(severity=severity_of(line.text)), query):
            yield line


def _timed(lines: Iterator[_Line]) -> Iterator[tuple[_Line, datetime]]:
    """Each line with the time that it counts with, which depends on nothing below it."""
    waiting: deque[_Line] = deque()
    for line in lines:
        if (at := line.time) is None:
            waiting.append(line)
            if len(waiting) > _MOST_LENT:
                newest = waiting.popleft()
                yield newest, newest.file.written_at
        else:
            yield from ((below, at) for below in waiting)
            waiting.clear()
            yield line, at
    yield from ((line, line.file.written_at) for line in waiting)


def _backwards(files: Sequence[_File], cursor: str | None, *, since: datetime | None = None) -> Iterator[_Line]:
    """Lines, the last one first: all, or those above the line of the cursor; none of a file last written before `since`."""
    at, end = _found(files, cursor) if cursor is not None else (0, None)
    for file in files[at:]:
        if since is None or file.written_at >= since:
            yield from _lines_of(file, file.size if end is None else end)
        end = None


def _lines_of(file: _File, end: int) -> Iterator[_Line]:
    """Whole lines before `end`, the last one first. What has no newline yet is still being written."""
    rest = b""
    while end > 0:
        begin = max(0, end - _BLOCK)
        data = os.pread(file.descriptor, end - begin, begin) + rest
        stop = data.rfind(b"\n") + 1
        while stop > 0:
            start = data.rfind(b"\n", 0, stop - 1) + 1
            if start == 0 and begin > 0:
                break
            text = data[start : stop - 1].decode(errors="replace").rstrip("\r")
            yield _Line(file, begin + start, text)
            stop = start
        rest = data[:stop]
        end = begin


def _cursor_at(line: _Line) -> str:
    return f"{line.file.inode:x}.{line.start:x}.{_anchor(line.file, line.start)}"


def _found(files: Sequence[_File], cursor: str) -> tuple[int, int]:
    """Which file, and where in it. Raises `InvalidArguments` for no cursor of ours, `NotFound` for lines that are gone."""
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise InvalidArguments("cursor is none that this tool gave.", hint="Give next_cursor as it came, or leave it out.")
    inode, offset = int(parts[1], 16), int(parts[2], 16)
    for number, file in enumerate(files):
        # The number of a file that is gone is given to a new one, so what stands there must be the same, too.
        if file.inode == inode and offset < file.size and _anchor(file, offset) == parts[3]:
            return number, offset
    raise NotFound(
        "The lines that cursor goes on with are no longer kept.",
        hint="Leave cursor out and begin again; the oldest lines go when new ones need their room.",
    )


def _anchor(file: _File, offset: int) -> str:
    line = os.pread(file.descriptor, _ANCHOR_BYTES, offset).partition(b"\n")[0]
    return hashlib.sha256(line).hexdigest()[:16]
