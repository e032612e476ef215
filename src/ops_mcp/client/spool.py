"""Checkpoints on disk until the server has them: a file for each task, a JSON line for each checkpoint, in order.

Several processes may write and send at the same time: every change of a file is made under the directory's lock, and a task's
lines are sent by whoever holds that task's. Written through to the system, not to the platter: a killed job loses nothing, a
machine that loses power may lose its last second.
"""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ops_mcp.client.lines import LOCAL, NAME, Line
from ops_mcp.secrets import make_private_directory
from ops_mcp.values import Value

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
LOCK_SECONDS = 2.0
KEPT_SECONDS = 7 * 86_400.0
"""How long the file of a task that was opened late goes on saying which task that became, for its children."""


class Opened(Value):
    """What a local name became; empty when the server refused to open it."""

    opened: str


class SpoolFull(OSError):
    """There is no room for another line, or the lock was not to be had."""


class NeverOpened(OSError):
    """The server refused to open this task, so there is nothing to report on."""


class Spool:
    """The lines of one agent's token. Only the last states of tasks are still taken when it is full."""

    def __init__(self, directory: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.directory = directory
        self.most_bytes = most_bytes

    def append(self, name: str, line: Line) -> None:
        """Put a line behind the others of its task. Raises `OSError` where it cannot be kept."""
        make_private_directory(self.directory)
        text = line.model_dump_json().encode() + b"\n"
        with self._held():
            name = self._goes_under(name)
            self._require_room(len(text), is_final=line.is_final)
            file = self._file(name)
            descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as out:
                out.write(_end_of_a_torn_line(out.fileno()) + text)

    def resolved(self, name: str) -> str | None:
        """What a local name became: a task's id; the name itself while it is not open; empty when the server refused to open
        it; None when nobody knows it."""
        if not name.startswith(LOCAL):
            return name
        lines = self._lines(name)
        if lines is None:
            return None
        return next((line.opened for line in lines if isinstance(line, Opened)), name)

    def pending(self, name: str) -> tuple[Line, ...]:
        """What is still to be sent of a task, oldest first."""
        return tuple(line for line in self._lines(name) or () if isinstance(line, Line))

    def waiting(self) -> tuple[str, ...]:
        """The tasks of which something is still to be sent: those not opened yet first, in the order in which they began."""
        names = (file.stem for file in self.directory.glob("*.jsonl") if re.match(NAME, file.stem))
        return tuple(name for name in sorted(names) if self.pending(name))

    def remove(self, name: str, keys: Collection[str]) -> None:
        """Take the lines out that were sent, or refused for good."""
        with self._held():
            self._rewrite(name, [line for line in self._lines(name) or () if not (isinstance(line, Line) and line.key in keys)])

    def opened(self, name: str, task: str, *, key: str) -> None:
        """A local name became `task`, by the line `key`: what else lay under it goes on under the task's id.

        Interrupted, it is done again, and lines that lie twice are the same line: their keys make them arrive once.
        """
        with self._held():
            rest = [line for line in self.pending(name) if line.key != key]
            if rest and task:
                self._rewrite(task, [*(self._lines(task) or ()), *rest])
            self._rewrite(name, [Opened(opened=task)])

    def forget(self, name: str) -> None:
        """Remove a task's file when nothing of it is left to send."""
        with self._held():
            if not self.pending(name):
                self._file(name).unlink(missing_ok=True)

    def sweep(self, now: float) -> None:
        """Remove what says only what a task became, when nobody can ask for that any more."""
        with self._held():
            for file in self.directory.glob("*.jsonl"):
                if file.stat().st_mtime < now - KEPT_SECONDS and re.match(NAME, file.stem) and not self.pending(file.stem):
                    file.unlink(missing_ok=True)

    @contextmanager
    def sending(self, name: str) -> Generator[bool]:
        """Be the only one to send this task's lines; False when somebody else is."""
        file = self.directory / f"{name}.lock"
        descriptor = _open_lock(file)
        try:
            mine = _try_lock(descriptor) and _is_still(file, descriptor)
            try:
                yield mine
            finally:
                if mine:
                    file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    @contextmanager
    def _held(self) -> Generator[None]:
        descriptor = _open_lock(self.directory / ".lock")
        try:
            ends = time.monotonic() + LOCK_SECONDS
            while not _try_lock(descriptor):
                if time.monotonic() > ends:
                    raise SpoolFull(f"{self.directory} is locked by another process.")
                time.sleep(0.002)
            yield
        finally:
            os.close(descriptor)

    def _goes_under(self, name: str) -> str:
        became = self.resolved(name)
        if became == "":
            raise NeverOpened("The server refused to open this task.")
        return became or name

    def _require_room(self, more: int, *, is_final: bool) -> None:
        held = sum(file.stat().st_size for file in self.directory.glob("*.jsonl"))
        if held + more > self.most_bytes * (2 if is_final else 1):
            raise SpoolFull(f"{self.directory} is full: {held:,} bytes wait to be sent.")

    def _file(self, name: str) -> Path:
        if not re.match(NAME, name):
            raise ValueError("no name of a task")  # it names a file here
        return self.directory / f"{name}.jsonl"

    def _lines(self, name: str) -> list[Line | Opened] | None:
        try:
            raw = self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        return [line for text in raw.split(b"\n") if text and (line := _parsed(text)) is not None]

    def _rewrite(self, name: str, lines: list[Line | Opened]) -> None:
        file = self._file(name)
        if not lines:
            file.unlink(missing_ok=True)
            return
        fresh = file.with_suffix(".fresh")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
        fresh.replace(file)


def _parsed(text: bytes) -> Line | Opened | None:
    try:
        found: object = json.loads(text)
        return Opened.model_validate(found) if isinstance(found, dict) and "opened" in found else Line.model_validate(found)
    except (ValueError, ValidationError):
        log.warning("A line of the spool cannot be read and is left out (%d bytes).", len(text))
        return None


def _end_of_a_torn_line(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""


def _open_lock(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether the lock that was got is the one that others will find: its holder removes it."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
