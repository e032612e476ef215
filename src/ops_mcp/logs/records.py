"""One log record out of what a service wrote: JSON, logfmt, syslog, web-server and plain lines, and traces joined before."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.cleaning import cleaned
from ops_mcp.logs.formats import FieldValue, Parts, parts_of
from ops_mcp.logs.joining import raised_in
from ops_mcp.logs.matching import time_of
from ops_mcp.logs.severity import severity_of

LONGEST_RAW, LONGEST_MESSAGE = 65_536, 16_384
AHEAD = timedelta(days=1)
"""How far ahead of its arrival a line may say it was written. Beyond that it would stay the newest for good."""


class Source(NamedTuple):
    """Whose lines they are, which the server knows and no line can change. `origin`: a stream, a file, a replica."""

    service: str
    environment: str
    deployment: str = ""
    origin: str = ""


class LogRecord(NamedTuple):
    """One record. Message, fields and raw text are a stranger's words, cleaned and bounded; they are data, whatever they say."""

    time: datetime
    """When the line says it was written; when it arrived, where it says nothing or is more than `AHEAD` of that."""

    time_stated: bool
    service: str
    environment: str
    deployment: str
    severity: Severity
    message: str
    fields: Mapping[str, FieldValue]
    """Nested names joined by dots, for instance `http.status`."""

    origin: str
    raw: str

    @property
    def untrusted(self) -> bool:
        """Always: a service repeats what others tell it."""
        return True


def parse(line: str | bytes, source: Source, *, arrived: datetime) -> LogRecord:
    """The record that a line is, or several joined lines of which the first tells time and severity. Never fails.

    Hand in what is `cleaned` and redacted: here it is cut, and of a secret that is cut a half would remain.
    """
    raw = cleaned(line, LONGEST_RAW)
    parts = parts_of(raw)
    stated = _stated(parts, arrived)
    return LogRecord(
        time=stated or arrived,
        time_stated=stated is not None,
        service=source.service,
        environment=source.environment,
        deployment=source.deployment,
        severity=_severity(parts, raw),
        message=parts.message if len(parts.message) <= LONGEST_MESSAGE else parts.message[: LONGEST_MESSAGE - 1] + "…",
        fields=parts.fields,
        origin=parts.origin or source.origin,
        raw=raw,
    )


def _stated(parts: Parts, arrived: datetime) -> datetime | None:
    found = (time_of(text, near=arrived) for text in parts.times)
    at = next((at for at in found if at is not None), None)
    return None if at is None or at > arrived + AHEAD else at


def _severity(parts: Parts, raw: str) -> Severity:
    found = severity_of(parts.severity)
    if found is Severity.unknown and "\n" in raw:
        return severity_of(raised_in(raw))
    return found
