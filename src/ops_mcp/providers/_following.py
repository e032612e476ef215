"""Exactly the lines that were not told yet, at places that have no offset but only moments. Pure.

A position is a moment and, of the lines told since then, their digests. Asked from that moment on, a place tells those again, and
what is left is new; so lines of one moment, and lines that come a little late, are neither lost nor told twice.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, cast

from ops_mcp.errors import InvalidArguments

OURS = "ops-mcp"
GONE = "ops-mcp: lines before this one are gone; the place did not keep them until they were read"
MOST_TOLD = 2_000


class Told(NamedTuple):
    """One line as a place tells it. `key` tells it from every other of its moment, as far as anything does."""

    nanoseconds: int
    key: str
    text: str
    origin: str = ""


class Mark(NamedTuple):
    """From when on to ask, and what was told since. 0: nothing was told yet."""

    since: int = 0
    told: tuple[str, ...] = ()

    @classmethod
    def of(cls, position: str) -> "Mark":
        """Out of its written form. Raises `InvalidArguments` for what is none."""
        if not position:
            return cls()
        try:
            since, told = cast(tuple[int, str], json.loads(position))
            return cls(int(since), tuple(told.split()))
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidArguments("A position is none that this place gave.") from error

    def __str__(self) -> str:
        return json.dumps((self.since, " ".join(self.told)), separators=(",", ":"))


class Fresh(NamedTuple):
    """What is new, in the order in which it was told; `more` where there was no room for all of it. `gone`: nothing of what was
    told before was told again, though something must have been."""

    lines: tuple[Told, ...]
    mark: Mark
    more: bool
    gone: bool


class Following:
    """Takes what a place tells since `mark.since`, line by line, until it is `full`."""

    def __init__(self, mark: Mark, *, most_bytes: int, lag: int) -> None:
        self._mark, self._room, self._lag = mark, most_bytes, lag
        self._again = Counter(mark.told)
        self._kept: list[tuple[int, str]] = []
        self._fresh: list[Told] = []
        self._seen_again = 0
        self.full = False

    def take(self, line: Told) -> None:
        if line.nanoseconds < self._mark.since or self.full:
            return
        digest = _digest(line)
        if self._again[digest] > 0:
            self._again[digest] -= 1
            self._seen_again += 1
            self._kept.append((line.nanoseconds, digest))
            return
        if self._room <= 0:
            self.full = True
            return
        self._room -= len(line.text) + 1
        self._fresh.append(line)
        self._kept.append((line.nanoseconds, digest))

    def take_all(self, lines: Iterable[Told]) -> "Fresh":
        for line in lines:
            self.take(line)
        return self.done()

    def done(self) -> Fresh:
        gone = bool(self._mark.told) and not self._seen_again and bool(self._fresh)
        return Fresh(tuple(self._fresh), self._after(), self.full, gone)

    def _after(self) -> Mark:
        """As far back as lines may come late, but no more than can be remembered; never behind what was asked for."""
        if not self._fresh:
            return self._mark
        newest = max(at for at, _ in self._kept)
        since = max(self._mark.since, newest - self._lag)
        kept = [(at, digest) for at, digest in self._kept if at >= since]
        if len(kept) > MOST_TOLD:
            since = sorted(at for at, _ in kept)[-MOST_TOLD]
            kept = [(at, digest) for at, digest in kept if at >= since]
        return Mark(since, tuple(digest for _, digest in kept))


def _digest(line: Told) -> str:
    return hashlib.sha256(f"{line.nanoseconds}\0{line.key}".encode(errors="surrogatepass")).hexdigest()[:12]
