"""Lines of one deployment in the order in which they were written, from a position on, over all files of its keeper."""

import contextlib
import hashlib
import os
import re
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ops_mcp.errors import ProviderError
from ops_mcp.observing import Tailed, TailedLine
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.launch import LOG_FILES

OURS = "ops-mcp"
GONE = "ops-mcp: lines before this one are gone; the place did not keep them until they were read"
_LONGEST = 16 << 20
_ANCHOR_BYTES = 1024
_ATTEMPTS = 20
_POSITION = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,16})\.([0-9a-f]{16})")


def follow(desk: Desk, position: str, *, most_bytes: int) -> Tailed:
    """Complete lines behind the position, at least one if there is one; see `Tails.tail`.

    A position names a file and an offset in it, and what stands before that: the number of a file that is gone is given to a
    new one. Its keeper ends a file with a whole line, so what a file that is no longer written to ends with is one.
    """
    ended = _has_ended(desk)  # asked first: what it wrote before it ended is read now
    with _opened(desk.logs) as files:
        if not files:
            return Tailed((), position, ended=ended)
        number, offset = _found(files, position)
        lines = [TailedLine(GONE, origin=OURS)] if position and number < 0 else []
        number, room = max(number, 0), most_bytes
        while True:
            file, is_last = files[number], number == len(files) - 1
            data = _read(file, offset, room, is_last=is_last)
            lines += _lines(data, file.written_at)
            offset, room = offset + len(data), room - len(data)
            if is_last or room <= 0 or offset < file.size:
                break
            number, offset = number + 1, 0
        more = bool(data) and (offset < file.size or not is_last)
        return Tailed(tuple(lines), _position(file, offset), more=more, ended=ended and not more)


def _has_ended(desk: Desk) -> bool:
    """Whether nothing is left that could write; also where all of it was cleared away."""
    return not desk.path.is_dir() or (desk.started() is not None and desk.started_is_stale())


class _File(NamedTuple):
    descriptor: int
    inode: int
    size: int
    written_at: datetime


@contextlib.contextmanager
def _opened(logs: Path) -> Generator[Sequence[_File]]:
    """The files, oldest first, as they were named at one moment: rotation that comes between is waited for."""
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as closing:
            files: list[_File] = []
            for name in ("current.log", *(f"{number}.log" for number in range(1, LOG_FILES))):
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(logs / name, os.O_RDONLY | os.O_CLOEXEC)
                    closing.callback(os.close, descriptor)
                    status = os.fstat(descriptor)
                    written_at = datetime.fromtimestamp(status.st_mtime, UTC)
                    files.append(_File(descriptor, status.st_ino, status.st_size, written_at))
            if [file.inode for file in files] == _inodes(logs):
                yield files[::-1]
                return
    raise ProviderError("The service's logs are rotated faster than they can be opened.", hint="Try again.", temporary=True)


def _inodes(logs: Path) -> list[int]:
    found: list[int] = []
    for name in ("current.log", *(f"{number}.log" for number in range(1, LOG_FILES))):
        with contextlib.suppress(FileNotFoundError):
            found.append((logs / name).stat().st_ino)
    return found


def _read(file: _File, offset: int, most: int, *, is_last: bool) -> bytes:
    """Whole lines, as many as fit, but at least one; what a file is still written to ends with may go on."""
    wanted = most
    while True:
        data = os.pread(file.descriptor, min(wanted, file.size - offset), offset)
        at_end = offset + len(data) >= file.size
        if at_end and not is_last:
            return data
        if stop := data.rfind(b"\n") + 1:
            return data[:stop]
        if at_end:
            return b""
        if wanted >= _LONGEST:
            return data
        wanted *= 4


def _lines(data: bytes, at: datetime) -> list[TailedLine]:
    """Nobody noted when a line came; it was not after the file was last written to."""
    if not data:
        return []
    return [TailedLine(line.rstrip(b"\r").decode(errors="replace"), at) for line in data.removesuffix(b"\n").split(b"\n")]


def _position(file: _File, offset: int) -> str:
    return f"{file.inode:x}.{offset:x}.{_anchor(file, offset)}"


def _found(files: Sequence[_File], position: str) -> tuple[int, int]:
    """Which file, and where in it; -1 where it is gone, or was never there."""
    if parts := _POSITION.fullmatch(position):
        inode, offset = int(parts[1], 16), int(parts[2], 16)
        for number, file in enumerate(files):
            if file.inode == inode and offset <= file.size and _anchor(file, offset) == parts[3]:
                return number, offset
    return -1, 0


def _anchor(file: _File, offset: int) -> str:
    """What stands before the offset, and how the file begins."""
    begin = max(0, offset - _ANCHOR_BYTES)
    before = os.pread(file.descriptor, offset - begin, begin)
    first = os.pread(file.descriptor, min(offset, _ANCHOR_BYTES), 0)
    return hashlib.sha256(first + b"\0" + before).hexdigest()[:16]
