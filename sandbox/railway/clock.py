"""The world's time: the real one, a faster one, or one that passes only when somebody waits."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio

Clock = Callable[[], datetime]


def real(speed: float = 1.0) -> Clock:
    """The present moment; with a speed of 10 every second brings ten."""
    began, started = datetime.now(UTC), time.monotonic()
    return lambda: began + timedelta(seconds=(time.monotonic() - started) * speed)


class Hourglass:
    """Time that passes only while somebody sleeps on it, at most `step` seconds at once, so that others can see it pass.

    `pause` is how long that takes in earnest: whoever works beside it, in threads or over sockets, needs some.
    """

    def __init__(self, now: datetime, *, step: float | None = None, pause: float = 0.0) -> None:
        self.now = now
        self.step = step
        self.pause = pause
        self.slept: list[float] = []
        self._due: list[datetime] = []

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        due = self.now + timedelta(seconds=seconds)
        self.slept.append(seconds)
        self._due.append(due)
        try:
            while self.now < due:
                await anyio.sleep(self.pause)
                next_due = min(self._due)
                ahead = self.now + timedelta(seconds=self.step) if self.step else next_due
                self.now = max(self.now, min(next_due, ahead))
        finally:
            self._due.remove(due)

    def pass_by(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.now += timedelta(seconds=seconds)
