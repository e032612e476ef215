"""Opening log files below a directory without leaving it, and reading their lines with bounded memory."""

import gzip
import hashlib
import logging
import os
import stat
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

MOST_FILES = 500
"""Of one search, the newest."""

LONGEST_LINE = 2**17
"""Bytes of a line that are looked at. It is longer than a record, so that a secret on the edge is redacted before it is cut."""

_BLOCK = 2**18
_MOST_NAMES = 20_000
_FIRST = 4096
_GZIP = b"\x1f\x8b"


class LogFile(NamedTuple):
    """One file, held open: rotation renames it and changes nothing in what was written.

    `mark` is made of its first line, so it stays the same when the file is renamed, copied or compressed.
    """

    descriptor: int
    mark: str
    size: int
    written_at: datetime
    packed: bool
    owner: int


class Line(NamedTuple):
    """One line without its newline, and where it begins in what the file holds."""

    start: int
    data: bytes


@contextmanager
def opened(directory: Path, patterns: Sequence[Sequence[str]]) -> Generator[Sequence[LogFile]]:
    """The files that match, the newest first. `owner` says by which group of patterns; one file belongs to the first.

    A name that leads out of the directory, or to what is no plain file, is passed over and said in the log. Raises `OSError`
    where the directory itself cannot be read.
    """
    root = directory.resolve(strict=True)
    with ExitStack() as closing:
        base = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        closing.callback(os.close, base)
        found: dict[tuple[int, int], LogFile] = {}
        for path, owner in _newest(root, patterns)[:MOST_FILES]:
            descriptor = _beneath(base, path.relative_to(root).parts)
            if descriptor is None:
                log.warning("not read, because it is no plain file below its directory: %s", path)
                continue
            closing.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) in found or not (mark := _mark(descriptor)):
                continue
            packed = os.pread(descriptor, 2, 0) == _GZIP
            at = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC)
            found[status.st_dev, status.st_ino] = LogFile(descriptor, mark, status.st_size, at, packed, owner)
        yield sorted(found.values(), key=lambda file: file.written_at, reverse=True)


def lines_of(file: LogFile, start: int = 0) -> Iterator[Line]:
    """Whole lines from one's beginning on. What has no newline yet is still being written, unless the file is packed."""
    rest, dropped = b"", 0
    for block in _blocks(file, start):
        pieces = (rest + block).split(b"\n")
        for piece in pieces[:-1]:
            yield Line(start, piece[:LONGEST_LINE])
            start += len(piece) + dropped + 1
            dropped = 0
        rest = pieces[-1]
        if len(rest) > LONGEST_LINE:
            dropped += len(rest) - LONGEST_LINE
            rest = rest[:LONGEST_LINE]
    if rest and file.packed:
        yield Line(start, rest)


def line_start(file: LogFile, at: int) -> int:
    """Where the first line that begins at this place or after it does; the size where there is none."""
    if at <= 0:
        return 0
    at -= 1
    while block := os.pread(file.descriptor, _BLOCK, at):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return file.size


def _newest(root: Path, patterns: Sequence[Sequence[str]]) -> list[tuple[Path, int]]:
    """Real paths below the root and whose they are, the last written first."""
    found: dict[Path, tuple[int, Path, int]] = {}
    for owner, group in enumerate(patterns):
        for path in _named(root, group):
            try:
                real = path.resolve(strict=True)
                written_ns = real.stat().st_mtime_ns
            except OSError:  # it was rotated away meanwhile
                continue
            if real.is_relative_to(root):
                found.setdefault(real, (written_ns, real, owner))
            else:
                log.warning("not read, because it leads out of its directory: %s", path)
    return [(path, owner) for _, path, owner in sorted(found.values(), key=lambda each: -each[0])]


def _named(root: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from islice(root.glob(pattern), _MOST_NAMES)


def _beneath(base: int, parts: Sequence[str]) -> int | None:
    """A descriptor of the file; None where any part became a link since it was resolved, or it is no plain file."""
    with ExitStack() as closing:
        at = base
        try:
            for part in parts[:-1]:
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                closing.callback(os.close, at)
            # A pipe that nobody writes to must not be waited for.
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        except (OSError, IndexError):
            return None
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        return None


def _mark(descriptor: int) -> str:
    """Empty for a file without a whole line."""
    first = os.pread(descriptor, _FIRST, 0)
    if first.startswith(_GZIP):
        first = next(_unpacked(descriptor, _FIRST), b"")[:_FIRST]
    line, newline, _ = first.partition(b"\n")
    return hashlib.sha256(line).hexdigest()[:12] if newline or len(first) == _FIRST else ""


def _blocks(file: LogFile, start: int) -> Iterator[bytes]:
    if file.packed:
        yield from _unpacked(file.descriptor, _BLOCK)
        return
    while block := os.pread(file.descriptor, _BLOCK, start):
        yield block
        start += len(block)


def _unpacked(descriptor: int, size: int) -> Iterator[bytes]:
    """What a packed file holds, as far as it is whole."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as packed, gzip.GzipFile(fileobj=packed) as unpacking:
        while True:
            try:
                block = unpacking.read1(size)
            except (EOFError, OSError, zlib.error):
                return
            if not block:
                return
            yield block
