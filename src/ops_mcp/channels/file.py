"""A channel that appends to a file, one JSON object a line, durable before it says so. The operator alone names the file."""

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
from pydantic import field_validator

from ops_mcp.channels._parsing import parsed
from ops_mcp.errors import NotConfigured, ProviderError
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject, Value

LOOKED_BACK_BYTES = 16 * 2**20
"""A notice that stands in this last part of the file is not appended again."""

_MOST_IDS = 200_000
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OURS = b'{"id":'


class FileTerms(Value):
    """`path` is absolute; its directory exists. The file is made for its owner alone, and may be rotated at any time."""

    path: Path

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("must be absolute")
        return path


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:  # noqa: ARG001  # every kind's
    """The channel. Nothing is opened before the first notice."""
    return Way(FileChannel(parsed(FileTerms, name, table).path), knows_repeats=True, at_once=1)


class FileChannel:
    """Satisfies `Channel`. Notices that are in the file already, by their id, count as delivered."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: _Read | None = None

    async def send(self, notice: Notice) -> str:
        """Raises temporary `ProviderError`s where the file cannot be written now; nothing half written is left then."""
        return await anyio.to_thread.run_sync(self._append, notice)

    async def ready(self) -> str:
        """Looks at the directory alone: the file is made by the first notice."""
        directory = self._path.parent
        if not directory.is_dir():
            raise NotConfigured("The directory of this channel's file does not exist.", hint=f"Make {directory}.")
        if not os.access(self._path if self._path.exists() else directory, os.W_OK):
            raise NotConfigured("The file of this channel cannot be written.", hint="Check its owner and its directory's.")
        return f"file: {self._path}."

    def _append(self, notice: Notice) -> str:
        try:
            with _opened(self._path) as file:
                known = self._known(file)
                if notice.id not in known.ids:
                    _write(file, _line(notice))
                    known.ids.add(notice.id)
                else:
                    os.fsync(file)  # whoever wrote it may not have lived to do so
                known.size = os.fstat(file).st_size
        except OSError as error:
            raise ProviderError(
                f"The file of this channel cannot be written: {error.strerror}.",
                hint="Check its directory, its owner and the free space of its disk.",
                temporary=True,
            ) from error
        return ""

    def _known(self, file: int) -> "_Read":
        """The ids in the file. It is read again whenever it is not as we left it: rotated, cut, or written by somebody else."""
        found = os.fstat(file)
        here = (found.st_dev, found.st_ino)
        read = self._read
        if read is None or read.file != here or read.size != found.st_size or len(read.ids) > _MOST_IDS:
            read = self._read = _Read(here, _ids(file, found.st_size))
        return read


class _Read:
    """What is known of the file, as of when it had this size."""

    def __init__(self, file: tuple[int, int], ids: set[str]) -> None:
        self.file = file
        self.ids = ids
        self.size = -1


@contextmanager
def _opened(path: Path) -> Generator[int]:
    """The file, locked against another worker that is about to lose its lease."""
    try:
        file = os.open(path, _FLAGS, 0o600)
    except FileNotFoundError as error:
        raise NotConfigured("The directory of this channel's file does not exist.", hint=f"Make {path.parent}.") from error
    try:
        if not os.fstat(file).st_size:
            _sync_directory(path.parent)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise NotConfigured("The path of this channel is no file.", hint="Name a file, or one that is not there yet.")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    finally:
        os.close(file)


def _write(file: int, line: bytes) -> None:
    """Append the whole line, durably, or nothing."""
    size = _mended(file)
    try:
        _write_whole(file, line)
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
        raise


def _write_whole(file: int, line: bytes) -> None:
    """A disk that is full takes a part, and says so only at the next write."""
    if os.write(file, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _mended(file: int) -> int:
    """The size of the file once the line that a crash left unfinished is taken away; a stranger's is ended instead."""
    size = os.fstat(file).st_size
    if not size or os.pread(file, 1, size - 1) == b"\n":
        return size
    tail = os.pread(file, LOOKED_BACK_BYTES, max(0, size - LOOKED_BACK_BYTES))
    rest = tail[tail.rfind(b"\n") + 1 :]
    if rest.startswith(_OURS[: len(rest)]):
        os.ftruncate(file, size - len(rest))
        return size - len(rest)
    os.write(file, b"\n")
    return size + 1


def _ids(file: int, size: int) -> set[str]:
    """Ids of the whole lines in the last part of the file."""
    start = max(0, size - LOOKED_BACK_BYTES)
    lines = os.pread(file, size - start, start).split(b"\n")
    return {id for line in lines[:-1] if (id := _id_in(line))}


def _id_in(line: bytes) -> str:
    if not line.startswith(_OURS):
        return ""
    try:
        found, _ = json.JSONDecoder().raw_decode(line.decode(errors="replace"), len(_OURS))
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def _line(notice: Notice) -> bytes:
    """ASCII, so that no terminal obeys what is in it; the id first, because that is how a repeat is found."""
    fields = notice.json_value()
    ordered = {"id": fields.pop("id"), **fields}
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _sync_directory(directory: Path) -> None:
    """A new file is there after a crash only once its directory is written."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
