"""When people are left alone, and when many notices become one: what of a channel's queue is sent now, alone or in a digest."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, time
from itertools import takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from ops_mcp.values import Value

TASKS = "task "
"""Threads of tasks begin so: their posts are spaced already, and a digest would tear them out of their thread."""

URGENT = frozenset({"critical", "high"})
_QUIET = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")


class ChannelTerms(Value):
    """What the table of a channel of any kind may say. `rate` is in messages a minute. In the hours of `quiet`
    (`22:00-07:00`, in `quiet_zone`) only what is critical or high is sent. More than `digest_over` notices that wait become one.
    `agents` says whether `notify` may name the channel, `environments` from where; empty is every one."""

    rate: float | None = Field(default=None, gt=0, le=6000)
    quiet: str = ""
    quiet_zone: str = "UTC"
    digest_over: int | None = Field(default=None, ge=1, le=1000)
    agents: bool = True
    environments: tuple[str, ...] = ()

    @field_validator("quiet")
    @classmethod
    def _is_a_span(cls, quiet: str) -> str:
        begins, _, ends = quiet.partition("-")
        if quiet and (not _QUIET.match(quiet) or begins == ends):
            raise ValueError("must be two different times of day, such as 22:00-07:00")
        return quiet

    @field_validator("quiet_zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError("is no time zone that this machine knows, such as Europe/Berlin") from error
        return zone

    @property
    def gap_seconds(self) -> float:
        """What lies between two messages."""
        return 60.0 / self.rate if self.rate else 0.0

    @property
    def chooses(self) -> bool:
        """Whether anything is ever withheld or summarised."""
        return bool(self.quiet) or self.digest_over is not None


class Waiting(NamedTuple):
    """A notice in the queue. `tried` are those on which something hangs already: they were sent once, or are in a digest.

    `asks` are those with buttons for an answer, and changes of a message that is there: they expire, or disturb nobody.
    """

    position: int
    thread: str
    severity: str
    since: datetime
    tried: bool = False
    asks: bool = False


class Paced(NamedTuple):
    """Positions to send alone, and those to send together; all others are withheld. `quiet` says that these were withheld."""

    alone: tuple[int, ...]
    together: tuple[int, ...] = ()
    quiet: bool = False


def paced(waiting: Iterable[Waiting], terms: ChannelTerms, now: datetime) -> Paced:
    """Decide about a channel's queue, given in its order.

    The order within each thread stays: what comes together is before what goes alone, what is withheld after both. Something
    urgent takes with it what is before it in its thread.
    """
    passing = [one for thread in _threads(waiting) for one in _passing(thread, terms, now)]
    threads = list(_threads(passing))
    most = terms.digest_over
    many = [one for thread in threads for one in takewhile(_may_be_summed, thread)]
    if most is not None and len(many) > most:
        return _split(passing, many, quiet=False)

    def was_withheld(one: Waiting) -> bool:
        return _may_be_summed(one) and one.severity not in URGENT and is_quiet(terms, one.since)

    late = [] if is_quiet(terms, now) else [one for thread in threads for one in takewhile(was_withheld, thread)]
    return _split(passing, late if len(late) > 1 else [], quiet=True)


def is_quiet(terms: ChannelTerms, at: datetime) -> bool:
    """Whether people are to be left alone then. The first minute of the span belongs to it, the last does not."""
    if not terms.quiet:
        return False
    begins, ends = (time.fromisoformat(text) for text in terms.quiet.split("-"))
    local = at.astimezone(ZoneInfo(terms.quiet_zone)).time()
    return begins <= local < ends if begins < ends else local >= begins or local < ends


class Digest(NamedTuple):
    """The words of one message about many. `untrusted` are the titles of the first ones."""

    severity: str
    title: str
    text: str
    untrusted: str


def summed(notices: Sequence[tuple[str, str]], *, quiet: bool, first: int = 10) -> Digest:
    """One message about notices, given as severity and title in their order; the most severe are named first."""
    ordered = sorted(notices, key=lambda one: _rank(one[0]))
    words = [severity for severity, _ in ordered]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    named = "\n".join(f"- {title}" for _, title in ordered[:first])
    more = f"\n(and {len(ordered) - first:,} more)" if len(ordered) > first else ""
    why = "They were held back during quiet hours." if quiet else "They came at once."
    return Digest(words[0], f"[{words[0]}] {len(ordered):,} notices: {counts}", why, named + more)


_RANKS = ("critical", "high", "medium", "low", "info")


def _rank(severity: str) -> int:
    return _RANKS.index(severity) if severity in _RANKS else len(_RANKS)


def _threads(waiting: Iterable[Waiting]) -> Iterable[list[Waiting]]:
    found: dict[str, list[Waiting]] = {}
    for one in waiting:
        found.setdefault(one.thread, []).append(one)
    return found.values()


def _passing(thread: list[Waiting], terms: ChannelTerms, now: datetime) -> list[Waiting]:
    if not is_quiet(terms, now):
        return thread
    return thread[: max((n for n, one in enumerate(thread, start=1) if one.severity in URGENT or one.asks), default=0)]


def _may_be_summed(one: Waiting) -> bool:
    return not (one.tried or one.asks or one.thread.startswith(TASKS))


def _split(passing: Iterable[Waiting], together: Iterable[Waiting], *, quiet: bool) -> Paced:
    summed_up = {one.position for one in together}
    alone = (one.position for one in passing if one.position not in summed_up)
    return Paced(tuple(sorted(alone)), tuple(sorted(summed_up)), quiet and bool(summed_up))
