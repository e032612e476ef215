"""What places tell of themselves: log lines, measurements and variables. Their text comes from strangers."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from ops_mcp.values import Secret, Value


class Severity(StrEnum):
    """How bad a log line says it is, least first; `unknown` is what says nothing."""

    unknown = "unknown"
    trace = "trace"
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
    critical = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class LogQuery(Value):
    """Which lines are wanted: of `since <= at < until`, holding `text` in any case, at least as bad as `severity`."""

    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    severity: Severity | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = None


class LogLine(Value):
    """One line as its place has it. `origin` says what wrote it: a stream, a replica, the build."""

    at: datetime | None
    severity: Severity
    text: str
    origin: str = ""


class Sample(Value):
    """One measurement: `cpu_cores`, `memory_bytes` and the like, as the place counts them."""

    name: str
    value: float
    at: datetime


class Variable(Value):
    """One variable of a service. `value` is None where the place does not tell it; `note` says why, or for which targets."""

    name: str
    value: Secret | None = None
    note: str = ""
    changed_at: datetime | None = None
