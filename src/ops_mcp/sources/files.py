"""Log files on this machine, of a directory that the operator names. Nothing outside it is read, whatever a link in it says."""

import threading
from functools import partial
from pathlib import Path, PurePosixPath

from anyio import CapacityLimiter, to_thread
from pydantic import Field

from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName, ServiceName
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.sources._scanning import Bounds, Owner, Redact, Terms, scan
from ops_mcp.sources._table import parsed, refused
from ops_mcp.values import JsonObject, Value

KIND = "files"
_BOUNDS = Bounds()
AT_ONCE = 2
"""Scans at the same time: each may keep a processor busy."""


class LogFiles(Value):
    """The files of one service in one environment: globs below the directory, rotated and gzipped ones among them."""

    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    service: ServiceName = Field(pattern=NAME_PATTERN)
    files: tuple[str, ...] = Field(min_length=1)


class FilesTable(Value):
    """`[sources.NAME]` of kind `files`. If it `answers_first`, it is asked for what it covers unless a search names another."""

    directory: str
    logs: tuple[LogFiles, ...] = Field(min_length=1)
    answers_first: bool = True


def build(name: str, table: JsonObject, *, redact: Redact, bounds: Bounds = _BOUNDS, **_: object) -> "Files":
    """Raises `NotConfigured` for a table that cannot be used."""
    options = parsed(FilesTable, name, table)
    if not Path(options.directory).is_absolute():
        raise refused(name, "directory is no absolute path", 'For example directory = "/var/log/shop".')
    for pattern in (pattern for logs in options.logs for pattern in logs.files):
        path = PurePosixPath(pattern)
        if not pattern or path.is_absolute() or ".." in path.parts:
            raise refused(name, "files has a pattern that leaves the directory", 'For example files = ["web/*.log*"].')
    return Files(name, options, redact, bounds)


class Files:
    """A `LogSource` that reads files each time it is asked, in a thread, within bounds of time and memory."""

    def __init__(self, name: str, options: FilesTable, redact: Redact, bounds: Bounds) -> None:
        self.name = name
        self.answers_first = options.answers_first
        self._options = options
        self._redact = redact
        self._bounds = bounds
        self._threads = CapacityLimiter(AT_ONCE)

    def covers(self, wanted: LogSearch) -> bool:
        """Files belong to a service. Which of its deployments wrote a line, they do not tell."""
        return wanted.deployment is None and bool(self._covered(wanted))

    async def search(self, wanted: LogSearch) -> LogsMatched:
        """Records in the order of their time. One that states none has that of the nearest above it in its file that does, else
        that of the last write to its file."""
        owners = [Owner(logs.service, logs.environment, logs.files) for logs in self._covered(wanted)]
        stop = threading.Event()
        terms = Terms(self._redact, self._bounds, stop)
        run = partial(scan, Path(self._options.directory), owners, wanted, terms)
        try:
            return await to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._threads)
        except OSError as error:
            wrong = f"directory cannot be read: {error.strerror}"
            raise refused(self.name, wrong, "An operator mends the directory's path or rights.") from error
        finally:
            stop.set()

    def _covered(self, wanted: LogSearch) -> list[LogFiles]:
        return [
            logs
            for logs in self._options.logs
            if logs.environment == wanted.environment and wanted.service in (None, logs.service)
        ]
