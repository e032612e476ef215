"""Lines that belong together, as one: traces of Python, Java, Go and Node, and whatever continues indented. Time is an argument.

No line is lost: one that does not fit any more begins the next text, which says that it continues.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.severity import severity_of

PATIENCE = timedelta(seconds=2)
MOST_LINES, MOST_BYTES = 500, 65_536
_LOOKED_AT = 1000


class Joined(NamedTuple):
    """The text of one record, trailing empty lines left out."""

    text: str
    at: datetime
    """When its first line came."""

    lines: int
    """How many lines went into it. Texts come out in the order of their lines, so the sum says how far a stream is read."""

    continues: bool
    """Whether it goes on the text before it, which had grown too long."""


class Joiner:
    """Joins the lines of one stream. A text comes out when another begins, or when `expired` finds that nothing follows.

    A line continues the text before it only within `patience` of its last line. One line longer than `most_bytes` is cut.
    """

    def __init__(self, *, patience: timedelta = PATIENCE, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._patience = patience
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._open: list[str] = []
        self._bytes = 0
        self._began = self._last = datetime.min.replace(tzinfo=UTC)
        self._state = _State.text
        self._continues = False

    def add(self, line: str, at: datetime) -> Joined | None:
        """Take one line without its newline. Returns the text before it, if the line does not belong to that."""
        line, size = _cut(line, self._most_bytes)
        state = self._state_after(line, at)
        fits = len(self._open) < self._most_lines and self._bytes + size <= self._most_bytes
        ended = self.close() if state is None or not fits else None
        if not self._open:
            self._began = at
            self._continues = ended is not None and state is not None
        self._open.append(line)
        self._bytes += size
        self._last = at
        self._state = state or _beginning(line)
        return ended

    def expired(self, now: datetime) -> Joined | None:
        """The open text, if nothing came for longer than `patience`."""
        return self.close() if now - self._last > self._patience else None

    def close(self) -> Joined | None:
        """The open text, at the end of the stream. None where nothing is open."""
        if not self._open:
            return None
        joined = Joined("\n".join(self._open).rstrip("\n"), self._began, len(self._open), self._continues)
        self._open, self._bytes = [], 0
        return joined

    def _state_after(self, line: str, at: datetime) -> "_State | None":
        if not self._open:
            return None
        if at - self._last > self._patience:
            return None
        return _next(self._state, line, self._open[0])


def headline(text: str) -> str:
    """The one line that says what a joined text is about: its first, and with it the exception that the lines below name."""
    first = next((line for line in text.split("\n", _LOOKED_AT) if line.strip()), "")
    raised = raised_in(text)
    if not raised or raised == first:
        return first
    return raised if _TRACEBACK.match(first) or _SCRIPT.match(first) else f"{first} {raised}"


def raised_in(text: str) -> str:
    """The line that names the exception which a trace below the first line is about; empty where there is none."""
    lines = [line for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT] if line.strip()]
    below = [line for line in lines[1:] if not line[0].isspace()]
    if any(_TRACEBACK.match(line) for line in lines):
        return next((line for line in reversed(below) if not _TRACEBACK.match(line)), "")
    return next((line for line in below if _EXCEPTION.match(line) or line.startswith("Error: ")), "")


class _State(Enum):
    """What the lines so far are, as far as it decides about the next."""

    text = auto()
    python = auto()  # in a traceback, before the line that names the exception
    python_raised = auto()  # behind that line; another traceback may follow
    java = auto()  # behind an exception or a frame; .NET and Node print frames alike
    go = auto()
    node = auto()  # behind the place in a script that Node prints first


def _beginning(line: str) -> _State:
    """The state behind the first line of a text."""
    if _TRACEBACK.match(line):
        return _State.python
    if _GO.match(line):
        return _State.go
    if _SCRIPT.match(line):
        return _State.node
    return _State.java if _EXCEPTION.match(line) else _State.text


def _next(state: _State, line: str, first: str) -> _State | None:
    """The state behind `line` if it belongs to the text that began with `first`; None if it begins another."""
    if not line.strip() or _CLOSING.fullmatch(line):
        return state
    if line[0].isspace():
        return _State.java if state is _State.text and _FRAME.match(line) else state
    if _BEGINS.match(line):
        return None
    return _AFTER[state](line, first)


def _after_text(line: str, first: str) -> _State | None:
    """A trace belongs to the line above it where that line may report it."""
    state = _beginning(line)
    if state is _State.python:
        return state if severity_of(first) not in (Severity.trace, Severity.debug, Severity.info) else None
    if state is _State.java:
        return state if "." in line.partition(":")[0] and severity_of(first).rank >= Severity.warning.rank else None
    return None


def _after_python(line: str, _: str) -> _State | None:
    return _State.python if _TRACEBACK.match(line) else _State.python_raised


def _after_raised(line: str, _: str) -> _State | None:
    return _State.python if _TRACEBACK.match(line) else None


def _after_java(line: str, _: str) -> _State | None:
    return _State.java if _GOES_ON.match(line) else None


def _after_go(line: str, _: str) -> _State | None:
    return _State.go if _GO.match(line) or _GO_FRAME.match(line) else None


def _after_node(line: str, _: str) -> _State | None:
    return _State.text if line.startswith("Node.js v") else _State.node


_AFTER: Mapping[_State, Callable[[str, str], _State | None]] = {
    _State.text: _after_text,
    _State.python: _after_python,
    _State.python_raised: _after_raised,
    _State.java: _after_java,
    _State.go: _after_go,
    _State.node: _after_node,
}

_LEVEL = "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|CRITICAL|FATAL"
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_BEGINS = re.compile(
    r"[\[(]?\d{4}[-/]\d\d[-/]\d\d[T _]"  # a time as ISO 8601 or near it
    rf"|<\d{{1,3}}>|(?:{_MONTH}) [ \d]\d \d\d:|\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) "  # syslog, Apache
    r"|[IWEF]\d{4} \d\d:|\d\d:\d\d:\d\d"  # klog; a clock alone
    rf"|\[?(?:{_LEVEL})\b(?!\.)|\{{\"|\S+ \S+ \S+ \[\d\d/(?:{_MONTH})/"  # a level, JSON, an access log
)
_CLOSING = re.compile(r"[}\])]{1,3}[,;]?")
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):"
    r"|During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:"
)
_EXCEPTION = re.compile(
    r"(?:Exception in thread \"|Uncaught )"
    r"|(?:[A-Za-z_$][\w$]{0,80}\.){0,20}[A-Z][\w$]{0,80}(?:Error|Exception|Throwable)(?::|$| \[)"
)
_FRAME = re.compile(r"\s+at \S|\s+\.\.\. \d+ (?:more|common frames)")
_GOES_ON = re.compile(r"Caused by: |Suppressed: |\.\.\. \d+ more|at \S+\(|--- End of ")
_GO = re.compile(r"panic: |fatal error: |goroutine \d+ \[|runtime stack:")
_GO_FRAME = re.compile(r"\S+\(.*\)$|created by |\[signal |\[recovered\]|exit status \d|r\w\w?\s+0x|[er]?flags\s+0x|[cfg]s\s+0x")
_SCRIPT = re.compile(r"(?:file://|node:)?\S+\.[cm]?[jt]s:\d+$")


def _cut(line: str, most: int) -> tuple[str, int]:
    """The line and its size in bytes with the newline; what is longer than `most` ends in `…`."""
    size = len(line) if line.isascii() else len(line.encode(errors="surrogatepass"))
    if size < most:
        return line, size + 1
    kept = line.encode(errors="surrogatepass")[: max(0, most - 4)].decode(errors="ignore")
    return kept + "…", most
