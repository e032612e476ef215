"""Lines of one deployment into records: cleaned, redacted, joined. What may go on is kept open, and is given out to be stored."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias, cast

from ops_mcp.logs.cleaning import cleaned
from ops_mcp.logs.joining import Joined, Joiner
from ops_mcp.logs.records import LONGEST_RAW, LogRecord, Source, parse
from ops_mcp.observing import TailedLine

Redact: TypeAlias = Callable[[str], str]
_Held: TypeAlias = dict[str, tuple[int, list[tuple[str, str]]]]
"""Lines that are open, of each origin, with how much of a private key may still follow: as they are stored."""

_MARGIN = 8_192
"""Cut that far behind what is kept, so that a secret at the cut is seen whole."""

_MOST_OF_A_KEY = 200


class Owner(NamedTuple):
    """Whose lines they are."""

    environment: str
    service: str
    deployment: str


class _Waiting(NamedTuple):
    text: str
    at: datetime


@dataclass(slots=True)
class _Origin:
    """One stream's open text, and the lines that it consists of, which are stored with the position behind them."""

    joiner: Joiner = field(default_factory=Joiner)
    waiting: deque[_Waiting] = field(default_factory=deque[_Waiting])
    of_a_key: int = 0
    """How many more lines may belong to a private key that has begun."""


class Lines:
    """The lines of one deployment, each origin's on its own. `open` is what was given out as open when it was stored."""

    def __init__(self, owner: Owner, open: str, *, now: datetime) -> None:
        self._owner = owner
        self._origins: dict[str, _Origin] = {}
        self._ready: list[tuple[str, Joined]] = []
        """Texts of lines that were open before: what went on an overlong text may look like several when read alone."""

        held = cast(_Held, json.loads(open) if open else {})
        for origin, (of_a_key, lines) in held.items():
            state = self._origins[origin] = _Origin(of_a_key=of_a_key)
            for text, at in lines:
                joined = state.joiner.add(text, now)
                self._ready += [(origin, joined)] if joined is not None else []
                state.waiting.append(_Waiting(text, datetime.fromisoformat(at)))

    def take(self, lines: Iterable[TailedLine], *, now: datetime, redact: Redact) -> list[LogRecord]:
        """The records that ended with these lines, or because nothing follows them; `now` is when the lines were read."""
        ready, self._ready = self._ready, []
        found = [record for origin, joined in ready for record in self._record(origin, self._origins[origin], joined, redact)]
        found += [record for line in lines for record in self._take(line, now, redact)]
        return [*found, *self._ended(lambda joiner: joiner.expired(now), redact)]

    def closed(self, *, redact: Redact) -> list[LogRecord]:
        """What is open, where the deployment writes no more."""
        return list(self._ended(lambda joiner: joiner.close(), redact))

    @property
    def open(self) -> str:
        """The lines that no record was made of yet, cleaned and redacted like those that were."""
        held: _Held = {
            origin: (state.of_a_key, [(line.text, line.at.isoformat()) for line in state.waiting])
            for origin, state in self._origins.items()
            if state.waiting or state.of_a_key
        }
        return json.dumps(held, separators=(",", ":")) if held else ""

    def _take(self, line: TailedLine, now: datetime, redact: Redact) -> Iterator[LogRecord]:
        state = self._origins.setdefault(line.origin, _Origin())
        text = _redacted(state, cleaned(line.text, LONGEST_RAW + _MARGIN), redact)
        joined = state.joiner.add(text, now)
        if joined is not None:
            yield from self._record(line.origin, state, joined, redact)
        state.waiting.append(_Waiting(text, line.at or now))

    def _ended(self, end: Callable[[Joiner], Joined | None], redact: Redact) -> Iterator[LogRecord]:
        for origin, state in self._origins.items():
            joined = end(state.joiner)
            if joined is not None:
                yield from self._record(origin, state, joined, redact)

    def _record(self, origin: str, state: _Origin, joined: Joined, redact: Redact) -> Iterator[LogRecord]:
        arrived = state.waiting[0].at
        for _ in range(joined.lines):
            state.waiting.popleft()
        if not joined.text.strip():
            return
        # What no line holds alone, several may hold together.
        text = redact(joined.text) if joined.lines > 1 else joined.text
        source = Source(self._owner.service, self._owner.environment, self._owner.deployment, origin)
        yield parse(text, source, arrived=arrived)


def _redacted(state: _Origin, text: str, redact: Redact) -> str:
    """Without secrets, and without the lines of a private key, none of which looks like one alone."""
    if state.of_a_key:
        state.of_a_key -= 1
        if _KEY_END in text:
            state.of_a_key = 0
            return _KEY_GONE
        if _KEY_LINE.fullmatch(text):
            return _KEY_GONE
        state.of_a_key = 0
    if _KEY_BEGIN in text and (begun := _PRIVATE.search(text)) and _KEY_END not in text[begun.end() :]:
        state.of_a_key = _MOST_OF_A_KEY
    return redact(text)


_KEY_GONE = "[REDACTED:private-key]"
_KEY_BEGIN, _KEY_END = "-----BEGIN ", "-----END "
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_LINE = re.compile(r".{0,80}?[A-Za-z0-9+/=_-]{8,}\s*|\s*|[A-Za-z-]{1,40}: .{0,200}")
