"""Log bytes of an engine into lines: multiplexed frames or a raw terminal, with time stamps, split anywhere. Pure.

Facts: a frame is 8 bytes (stream 1 or 2, three zeros, the size as a big-endian 32-bit number) and its payload. With `timestamps`
each payload begins with RFC 3339 nanoseconds and a blank. The engine cuts lines at 16 KiB: such a part has no newline at its
end, and the next frame of its stream goes on, under the same time stamp. A frame may end inside a UTF-8 character; what the
driver `json-file` cuts there is lost in the engine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_HEADER = 8
_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr", 3: "engine"}
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
_MOST_LINE = 1 << 15
_MOST_FRAME = 1 << 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Line(NamedTuple):
    """One line of one stream. `nanoseconds` since the epoch is None where it had no time stamp."""

    nanoseconds: int | None
    stream: str
    text: str


class NoFrames(ValueError):
    """The bytes are not what a multiplexed stream holds."""


@dataclass
class Framed:
    """Takes a multiplexed stream as it comes, in any pieces, and gives its lines. `messages` counts what the engine counts for
    `tail`: a cut line is several."""

    messages: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _open: dict[str, "_Partial"] = field(default_factory=dict[str, "_Partial"])

    def feed(self, data: bytes) -> Iterator[Line]:
        """Lines that are whole now. Raises `NoFrames`."""
        self._buffer += data
        while (frame := self._next()) is not None:
            stream, payload = frame
            self.messages += 1
            yield from self._open.setdefault(stream, _Partial(stream)).add_payload(payload)

    def end(self) -> Iterator[Line]:
        """What was left without a newline."""
        for partial in self._open.values():
            yield from partial.end()

    def _next(self) -> tuple[str, bytes] | None:
        if len(self._buffer) < _HEADER:
            return None
        number, size = self._buffer[0], int.from_bytes(self._buffer[4:8], "big")
        if number not in _STREAMS or any(self._buffer[1:4]) or size > _MOST_FRAME:
            raise NoFrames
        if len(self._buffer) < _HEADER + size:
            return None
        payload = bytes(self._buffer[_HEADER : _HEADER + size])
        del self._buffer[: _HEADER + size]
        return _STREAMS[number], payload


@dataclass
class Raw:
    """The same for a terminal's stream, which has no frames: everything is standard output, lines end in CR LF."""

    messages: int = 0
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Line]:
        self._rest += data
        *whole, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in whole:
            self.messages += 1
            yield _line("stdout", *_stamped(line.removesuffix(b"\r")))

    def end(self) -> Iterator[Line]:
        if self._rest:
            self.messages += 1
            yield _line("stdout", *_stamped(bytes(self._rest)))
            self._rest.clear()


@dataclass
class _Partial:
    """A line of one stream whose end has not come yet, and the time of its first part."""

    stream: str
    text: bytearray = field(default_factory=bytearray)
    nanoseconds: int | None = None
    begun: bool = False

    def add_payload(self, payload: bytes) -> Iterator[Line]:
        """One payload is one message of the engine's, with one time stamp at its begin: a line, or a part of one."""
        for piece in _kept_ends(payload):
            moment, text = _stamped(piece)
            if not self.begun:
                self.nanoseconds, self.begun = moment, True
            self.text += text.removesuffix(b"\n")[: max(0, _MOST_LINE - len(self.text))]
            if piece.endswith(b"\n"):
                yield from self.end()

    def end(self) -> Iterator[Line]:
        if self.begun:
            yield _line(self.stream, self.nanoseconds, bytes(self.text).removesuffix(b"\r"))
        self.text, self.nanoseconds, self.begun = bytearray(), None, False


def moment_of(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds_of(moment: datetime) -> int:
    whole = moment - _EPOCH
    return ((whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds) * 1000


def _kept_ends(payload: bytes) -> list[bytes]:
    """Split after newlines alone; a carriage return is part of a line."""
    *whole, rest = payload.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _stamped(data: bytes) -> tuple[int | None, bytes]:
    """The time stamp at the begin, and what follows it."""
    match = _STAMP.match(data)
    if match is None:
        return None, data
    try:
        whole = datetime.fromisoformat((match[1] + match[3].replace(b"Z", b"+00:00")).decode())
    except ValueError:
        return None, data
    fraction = int((match[2] or b"0").ljust(9, b"0"))
    return nanoseconds_of(whole.astimezone(UTC)) + fraction, data[match.end() :]


def _line(stream: str, nanoseconds: int | None, text: bytes) -> Line:
    return Line(nanoseconds, stream, text[:_MOST_LINE].decode(errors="replace"))
