"""What a running server reads again when it changes: bindings, policies, secrets. An unusable edit keeps the last good."""

import os
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from ops_mcp.domain.calls import Answer
from ops_mcp.errors import NotConfigured, OpsError
from ops_mcp.governance.policy import Action, Policy, PolicyProblem, Ruling
from ops_mcp.governance.policy import load as parse

T = TypeVar("T")
Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
Glance: TypeAlias = tuple[int, ...]

_TICK_NS = 50_000_000
LOOK_SECONDS = 0.02
"""How old what is read may be. A look costs system calls, which in a burst of calls wait for the writer's thread."""


class Watch(NamedTuple):
    """How changed files are noticed: how often they are looked at, and whom an edit that cannot be used is told."""

    tell: Callable[[OpsError], None]
    every_seconds: float = LOOK_SECONDS


class LastGood(Generic[T]):
    """A value read from a folder's files, read again when any of them changes. A failed reading is told once and not used.

    Where the very first one fails there is no last good: `otherwise` says what stands in until the files are mended; without it
    the failure is raised.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        read: Callable[[], T],
        *,
        watch: Watch,
        otherwise: Callable[[OpsError], T] | None = None,
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._read = read
        self._tell = watch.tell
        self._every_seconds = watch.every_seconds
        self._stamp: Stamp = ()
        self._files: tuple[Path, ...] = ()
        self._glance: Glance = ()
        self._looked = 0.0
        try:
            self._stamp = self._present()
            self._value = read()
        except OpsError as problem:
            if otherwise is None:
                raise
            watch.tell(problem)
            self._value = otherwise(problem)

    def __call__(self) -> T:
        """The value as of now, or of the last look where that was just before."""
        if (now := time.monotonic()) - self._looked < self._every_seconds:
            return self._value
        self._looked = now
        glance = _glance(self._folder, self._files)
        if glance != self._glance or _is_fresh(glance):
            self._look()
            self._files = tuple(self._folder / name for name, _, _ in self._stamp)
            self._glance = _glance(self._folder, self._files)
        return self._value

    def _look(self) -> None:
        try:
            present = self._present()
            if present != self._stamp:
                self._stamp = present
                self._value = self._read()
        except OpsError as problem:
            if self._stamp != _UNREADABLE or not isinstance(problem, _Unreadable):
                self._tell(problem)
            if isinstance(problem, _Unreadable):
                self._stamp = _UNREADABLE

    def _present(self) -> Stamp:
        try:
            return stamp(self._folder, self._suffix)
        except OSError as error:
            raise _Unreadable(f"{self._folder} cannot be read: {error.strerror}.", hint="Mend its permissions.") from error


def _glance(folder: Path, files: tuple[Path, ...]) -> Glance:
    """When the folder and the files known in it last changed. A file that comes or goes changes the folder."""
    try:
        seen = [folder.stat().st_mtime_ns]
        for file in files:
            status = file.stat()
            seen += (status.st_mtime_ns, status.st_size)
    except OSError:
        return ()
    return tuple(seen)


def _is_fresh(glance: Glance) -> bool:
    """Whether something changed so lately that a further change may bear the same time: clocks of file systems tick slowly."""
    return bool(glance) and time.time_ns() - max(glance[:1] + glance[1::2]) < _TICK_NS


class _Unreadable(NotConfigured):
    """The folder itself cannot be listed. Reading on would take it for empty, and an empty folder of policies forbids less."""


_UNREADABLE: Stamp = (("", 0, 0),)


def stamp(folder: Path, suffix: str) -> Stamp:
    """Name, time and size of each file that counts; empty where the folder does not exist."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.name.endswith(suffix)]
    except FileNotFoundError:
        return ()
    return tuple(sorted((name, status.st_mtime_ns, status.st_size) for name, status in found))


def read_policy(folder: Path, actions: tuple[Action, ...]) -> Policy:
    """The shipped matrix with the operator's `policies/*.cedar`. Raises `NotConfigured` naming the file that cannot be used."""
    texts = {file.name: _text(file) for file in sorted(folder.glob("*.cedar"))}
    shipped = resources.files("ops_mcp.governance")
    matrix = (shipped / "matrix.cedar").read_text(encoding="utf-8")
    schema = (shipped / "schema.cedarschema").read_text(encoding="utf-8")
    return _usable(parse(matrix, schema, texts, actions=actions))


def closed_policy(problem: OpsError) -> Policy:
    """What stands in for a policy that could not be read at the start: it lets nothing pass, and its trouble says why."""
    why = Ruling(Answer.deny, errors=(problem.message,))
    return Policy(
        digest="", notes=(), actions={}, sees_arguments=False, sees_time=False, judge=lambda _: why, trouble=problem.message
    )


def _usable(parsed: Policy | PolicyProblem) -> Policy:
    if isinstance(parsed, PolicyProblem):
        raise NotConfigured(f"policies/{parsed.file}: {parsed.message}", hint=parsed.hint)
    return parsed


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"{file} cannot be read: {error}.", hint="Mend or move the file away.") from error
