"""What was last seen of deployments, so that supervision does not use up the budget: a settled one is looked at rarely."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ops_mcp.ports import Clock
from ops_mcp.providers.railway.answers import Deployed
from ops_mcp.providers.railway.phases import MAKING, SERVING, Phase, phase_of

MOST_REMEMBERED = 500
SERVING_HOLDS = timedelta(seconds=25)
LATELY = timedelta(minutes=15)
OLDEST_TOLD = timedelta(minutes=5)
"""How old a sighting may be that is told while the budget is spared, or Railway cannot be asked."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """`found` is None where Railway shows nothing of it."""

    found: Deployed | None
    at: datetime


@dataclass
class Sightings:
    """By Railway's id. Every worker and server has its own."""

    clock: Clock
    _seen: OrderedDict[str, Sighting] = field(default_factory=OrderedDict[str, Sighting], init=False)

    def note(self, handle: str, found: Deployed | None) -> Sighting:
        seen = self._seen[handle] = Sighting(found, self.clock())
        self._seen.move_to_end(handle)
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return seen

    def forget_all(self) -> None:
        """Something was changed: nothing is known any more."""
        self._seen.clear()

    def fresh(self, handle: str, *, looks_per_second: float) -> Sighting | None:
        """What needs no new look yet. What serves takes turns: the more there is of it, the longer a look has to hold."""
        seen = self._seen.get(handle)
        if seen is None:
            return None
        holds = good_for(seen.found)
        if holds == SERVING_HOLDS:
            holds = max(holds, timedelta(seconds=self._serving() / looks_per_second))
        return seen if self.age(seen) < holds else None

    def usable(self, handle: str) -> Sighting | None:
        """What may be told where there is no new look."""
        seen = self._seen.get(handle)
        return seen if seen and self.age(seen) < max(OLDEST_TOLD, good_for(seen.found)) else None

    def _serving(self) -> int:
        """How many are being supervised, as far as they were looked at lately."""
        return sum(1 for s in self._seen.values() if good_for(s.found) == SERVING_HOLDS and self.age(s) < LATELY)

    def age(self, seen: Sighting) -> timedelta:
        return self.clock() - seen.at


def good_for(found: Deployed | None) -> timedelta:
    """How long a look holds: what cannot change by itself is not looked at every time."""
    phase = phase_of(found) if found else Phase.gone
    if phase in SERVING | {Phase.crashed}:
        return SERVING_HOLDS
    if phase in MAKING | {Phase.leaving, Phase.unknown}:
        return timedelta(seconds=5)
    return timedelta(minutes=10)
