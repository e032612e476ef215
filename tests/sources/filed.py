"""A source of files in a folder, and what to write into it."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.sources._scanning import Bounds
from ops_mcp.sources.files import Files, build

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WEB: dict[str, Any] = {"environment": "staging", "service": "web", "files": ["web/*.log*"]}
BOUNDS = Bounds()
REDACTOR = Redactor({}, b"k" * 32)


def source(folder: Path, *logs: dict[str, Any], bounds: Bounds = BOUNDS) -> Files:
    return build("old", {"directory": str(folder), "logs": list(logs or (WEB,))}, redact=REDACTOR.text, bounds=bounds)


def wanted(**asked: Any) -> LogSearch:
    return LogSearch(**{"environment": EnvironmentName("staging"), "service": ServiceName("web"), **asked})


def write(file: Path, *lines: str | bytes, minutes_ago: float = 0.0) -> None:
    """The file with these lines, last written so long before noon; packed where its name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    touch(file, minutes_ago=minutes_ago)


def touch(file: Path, *, minutes_ago: float) -> None:
    at = (NOON - timedelta(minutes=minutes_ago)).timestamp()
    os.utime(file, (at, at))


def line(text: str, *, minutes_ago: float = 1.0, level: str = "INFO") -> str:
    return f"{(NOON - timedelta(minutes=minutes_ago)).isoformat()} {level} {text}"


def texts(found: LogsMatched) -> list[str]:
    return [record.message for record in found.records]


async def every(files: Files, search: LogSearch) -> list[str]:
    """All pages, one after the other."""
    told: list[str] = []
    while True:
        found = await files.search(search)
        told += texts(found)
        if found.next_cursor is None:
            return told
        search = search.evolve(cursor=found.next_cursor)
