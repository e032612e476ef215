"""Waiting at Vercel's pace: how often is looked, and how long trouble on the way is waited out. By the injected clock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from ops_mcp.errors import ProviderError
from ops_mcp.ports import Clock, Sleep

T = TypeVar("T")

_PACE = ((15.0, 1.0), (60.0, 5.0), (300.0, 15.0))
"""Vercel's own CLI looks each second for 15 s, then each 5 s up to a minute, each 15 s up to 5 minutes, then each 30 s."""
_SLOWEST = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """`patience` is for how many seconds on end trouble is waited out. A wait of more than `longest`, which Vercel asks for, is
    left to the caller."""

    clock: Clock
    sleep: Sleep
    patience: float
    longest: float

    async def out(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer: for what is read, and what may be asked twice."""
        pauses = Pauses(self)
        while True:
            try:
                return await call()
            except ProviderError as error:
                await pauses.after(error)

    async def pace(self, since: datetime) -> None:
        """Wait until the next look at what began at `since`."""
        await self.sleep(pace((self.clock() - since).total_seconds()))

    def term(self, seconds: float) -> "Term":
        return Term(self, self.clock(), timedelta(seconds=seconds))


@dataclass
class Term:
    """The time that something at Vercel may take. What goes by without an answer from there is not counted."""

    wait: Waiting
    began: datetime
    length: timedelta
    _lost: timedelta = field(default=timedelta(0), init=False)

    async def out(self, call: Callable[[], Awaitable[T]]) -> T:
        """As `Waiting.out`."""
        asked = self.wait.clock()
        found = await self.wait.out(call)
        self._lost += self.wait.clock() - asked
        return found

    async def pace(self) -> None:
        await self.wait.pace(self.began)

    @property
    def is_over(self) -> bool:
        return self.wait.clock() - self.began - self._lost >= self.length


class Pauses:
    """Growing pauses between tries, or longer ones where Vercel asks for them."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._pause = _FIRST_PAUSE
        self._since: datetime | None = None

    async def after(self, error: ProviderError) -> None:
        """Wait before the next try. Raises the error instead, where no try can help or the patience is at its end."""
        wait, asked = self._waiting, error.retry_after_seconds
        self._since = self._since or wait.clock()
        pause = max(asked or 0.0, self._pause)
        passed = (wait.clock() - self._since).total_seconds()
        if not error.temporary or passed + pause > wait.patience or (asked is not None and asked > wait.longest):
            raise error
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        await wait.sleep(pause)


def pace(passed: float) -> float:
    """Seconds until the next look at what began that long ago."""
    return next((every for up_to, every in _PACE if passed < up_to), _SLOWEST)
