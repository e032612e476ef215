"""Lines that come at a steady pace, minute by minute, through the miner and into the counts that anomalies are looked for in."""

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import exp
from typing import NamedTuple

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.anomalies import Anomaly, History, Series, find
from ops_mcp.logs.shapes import TemplateId
from ops_mcp.logs.templates import Miner, Patterns
from tests.logs.made_logs import SYSTEMS, lines_of

START = datetime(2026, 11, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEPT = 120


class Line(NamedTuple):
    """One line, and the sentence of the made system that it is."""

    message: str
    severity: Severity
    label: int


def minutes_of(system: str, *, lines: int, each: float, seed: int, uneven: float = 0.0) -> list[list[Line]]:
    """About `lines` lines of one system in whole minutes, Poisson with mean `each`.

    `uneven` is the standard deviation of the logarithm of that mean.
    """
    chance = random.Random(f"pace of {system}/{seed}")
    severities = [
        chance.choices((Severity.info, Severity.warning, Severity.error), (8, 2, 1))[0] for _ in range(len(SYSTEMS[system]))
    ]
    made = [Line(line.message, severities[line.label], line.label) for line in lines_of(system, count=lines, seed=seed)]
    minutes: list[list[Line]] = []
    at = 0
    while at < len(made):
        count = poisson(chance, each * exp(chance.gauss(0, uneven)))
        minutes.append(made[at : at + count])
        at += count
    return minutes[:-1]


def poisson(chance: random.Random, mean: float) -> int:
    """Arrivals in one unit of time whose pauses are exponential."""
    count, at = 0, chance.expovariate(1)
    while at < mean:
        count, at = count + 1, at + chance.expovariate(1)
    return count


class Replay:
    """A collector in short: mines lines, counts them by template and severity a minute, and looks for anomalies when asked."""

    def __init__(self) -> None:
        self._miner = Miner()
        self._minutes: list[Counter[tuple[TemplateId, Severity]]] = []
        self._ids: set[TemplateId] = set()
        self._known: Patterns | None = None

    def add(self, lines: Iterable[Line]) -> None:
        at = START + len(self._minutes) * MINUTE
        counts = Counter((self._miner.add(line.message, at), line.severity) for line in lines)
        self._minutes.append(counts)
        if new := {id for id, _ in counts} - self._ids:
            self._ids |= new
            self._known = None

    def template_of(self, message: str) -> TemplateId:
        """Which template a message that was seen belongs to now. (It is counted once more, in no minute.)"""
        return self.patterns.current(self._miner.add(message, START))

    @property
    def patterns(self) -> Patterns:
        if self._known is None:
            self._known = self._miner.patterns()
        return self._known

    def history(self) -> History:
        texts = {template.id: template.text for template in self.patterns.templates}
        kept = self._minutes[-KEPT:]
        counts: dict[tuple[TemplateId, Severity], list[int]] = {}
        for minute, lines in enumerate(kept):
            for (id, severity), count in lines.items():
                counts.setdefault((self.patterns.current(id), severity), [0] * len(kept))[minute] += count
        series = tuple(Series(id, texts[id], severity, each) for (id, severity), each in counts.items())
        return History(START + (len(self._minutes) - len(kept)) * MINUTE, MINUTE, series)

    def anomalies(self) -> tuple[Anomaly, ...]:
        return find(self.history()).anomalies
