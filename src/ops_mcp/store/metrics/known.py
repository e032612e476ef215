"""Which series there are, held in memory and found by their labels; read again as far as others have changed it."""

import json
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import aiosqlite

from ops_mcp.metrics.labels import NAME, Labels, value_of
from ops_mcp.metrics.matchers import Match, Matchers, matches
from ops_mcp.store.metrics.files import fetched

_STATE = "SELECT (SELECT value FROM meta WHERE name = 'generation'), (SELECT value FROM meta WHERE name = 'next_series')"
_MOST_REMEMBERED = 4_000_000
"""Series in all answers that are remembered together, each answer counting for `_AN_ANSWER` more: some 50 MB."""

_AN_ANSWER = 50


class Known(NamedTuple):
    """A series. Those of hosts have no environment, and are seen from each."""

    id: int
    labels: Labels
    environment: str


class KnownSeries:
    """Used from several threads: a search may take long, where patterns are many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0
        self.next_id = 0
        self._by_labels: dict[Labels, Known] = {}
        self._by_pair: dict[tuple[str, str], list[Known]] = {}
        self._of_agents: dict[str, int] = {}
        self._found: dict[tuple[str, Matchers], tuple[Known, ...]] = {}
        self._remembered = 0

    def __len__(self) -> int:
        return len(self._by_labels)

    async def refresh(self, connection: aiosqlite.Connection) -> None:
        """Bring it up to what this connection sees. A generation ends when series are forgotten."""
        ((generation, next_id),) = await fetched(connection, _STATE)
        if generation == self._generation and next_id == self.next_id:
            return
        since = self.next_id if generation == self._generation else 0
        rows = await fetched(connection, "SELECT id, labels, environment FROM series WHERE id >= ?", (since,))
        with self._lock:
            if generation != self._generation:
                self._clear()
                self._generation = generation
            self._add(Known(row[0], labels_of_text(row[1]), row[2]) for row in rows)
            self.next_id = max(self.next_id, next_id)

    def get(self, labels: Labels) -> Known | None:
        return self._by_labels.get(labels)

    def has(self, name: str) -> bool:
        """Whether a metric of this name, or a histogram or summary, has series."""
        return any((NAME, name + end) in self._by_pair for end in ("", "_bucket", "_sum", "_count"))

    def of_agent(self, agent: str) -> int:
        """How many series have this label `agent`."""
        return self._of_agents.get(agent, 0)

    def matching(self, environment: str, matchers: Matchers) -> Sequence[Known]:
        """Those that match and may be seen from that environment, ordered by labels. Remembered until series come or go."""
        with self._lock:
            found = self._found.get((environment, matchers))
            if found is not None:
                return found
            candidates, generation = self._candidates(matchers), (self._generation, self.next_id)
        seen = [one for one in candidates if one.environment in (environment, "") and matches(matchers, one.labels)]
        found = tuple(sorted(seen, key=lambda one: one.labels))
        with self._lock:
            if generation == (self._generation, self.next_id):
                if self._remembered >= _MOST_REMEMBERED:
                    self._forget_found()
                self._found[environment, matchers] = found
                self._remembered += len(found) + _AN_ANSWER
        return found

    def _candidates(self, matchers: Matchers) -> Sequence[Known]:
        """The fewest series that any one label narrows it down to."""
        equal = [(one.name, one.value) for one in matchers if one.match is Match.equal and one.value]
        if not equal:
            return tuple(self._by_labels.values())
        return tuple(min((self._by_pair.get(pair, []) for pair in equal), key=len))

    def _add(self, series: Iterable[Known]) -> None:
        self._forget_found()
        for one in series:
            if one.labels in self._by_labels:
                continue
            self._by_labels[one.labels] = one
            for pair in one.labels:
                self._by_pair.setdefault(pair, []).append(one)
            if agent := value_of(one.labels, "agent"):
                self._of_agents[agent] = self._of_agents.get(agent, 0) + 1

    def _forget_found(self) -> None:
        self._found.clear()
        self._remembered = 0

    def _clear(self) -> None:
        for held in (self._by_labels, self._by_pair, self._of_agents):
            held.clear()
        self._forget_found()
        self.next_id = 0


def text_of(labels: Labels) -> str:
    """As it is stored: equal label sets have equal texts."""
    return json.dumps(labels, separators=(",", ":"))


def labels_of_text(text: str) -> Labels:
    return tuple((name, value) for name, value in json.loads(text))
