"""What a build prints: counted while it runs, and its end kept when it fails. Text from strangers, bounded and cleaned."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ops_mcp.errors import OpsError
from ops_mcp.governance.redaction import plain
from ops_mcp.providers.vercel.answers import Deployed, Event
from ops_mcp.providers.vercel.errand import Errand

TAIL_LINES = 20
_TAIL_EVENTS = 60
_LINE_CHARACTERS = 500
_EVERY = timedelta(seconds=30)
_MOST_EVENTS = 1000
PRINTED = ("command", "stdout", "stderr", "fatal")


@dataclass
class Output:
    """How much a build has printed so far: only a number and the step, for what it prints may hold anything."""

    errand: Errand
    id: str
    lines: int = field(default=0, init=False)
    _step: str = field(default="", init=False)
    _seen: float = field(default=0.0, init=False)
    _due: datetime | None = field(default=None, init=False)

    async def told(self) -> str:
        """Progress in a few words. Asked rarely, and left alone for a while when Vercel does not answer."""
        now = self.errand.wait.clock()
        if self._due is None or now >= self._due:
            self._due = now + _EVERY
            try:
                self._count(await self.errand.api.events(self.id, builds=1, limit=_MOST_EVENTS, since=int(self._seen) + 1))
            except OpsError as error:
                self._due = now + max(_EVERY, timedelta(seconds=error.retry_after_seconds or 0.0))
        step = f", step {self._step}" if self._step else ""
        return f"Vercel builds it{step}: {self.lines} lines of output." if self.lines else "Vercel builds it."

    def _count(self, events: list[Event]) -> None:
        new = [event for event in events if event.at > self._seen]
        self.lines += sum(1 for event in new if event.type in PRINTED)
        self._seen = max([self._seen, *(event.at for event in new)])
        self._step = next((event.step for event in reversed(new) if event.step), self._step)


async def tail(errand: Errand, found: Deployed) -> tuple[str, ...]:
    """The last lines of a build that failed, with what Vercel says of it; nothing where they cannot be had."""
    try:
        events = await errand.api.events(found.id, builds=1, direction="backward", limit=_TAIL_EVENTS)
    except OpsError:
        events = []
    printed = sorted((event for event in events if event.type in PRINTED and event.text), key=lambda event: event.at)
    lines = [line for event in printed for line in event.text.splitlines()]
    if found.error_text:
        lines.append(found.error_text)
    return tuple(plain(" ".join(line.split()), _LINE_CHARACTERS) for line in lines[-TAIL_LINES:])
