"""What was read lately and cannot have changed since, so that a call's read need not ask the file again. Knows no SQL."""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

Rows: TypeAlias = list[tuple[Any, ...]]

FRESH_SECONDS = 0.05
_MOST_REMEMBERED = 64


class Recent:
    """Rows by query, each good for one state of the file.

    The writer sees at each of its commits, while it holds the write lock, whether anybody has changed the file; it says so with
    `seen`. A call is admitted by such a commit, so what it reads right afterwards is as of its admission or later. Whoever reads
    without a commit, as a poll does, is never told anything older than 50 ms. `seen` is called from the writer's thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = (0, float("-inf"))
        self._rows: dict[Hashable, tuple[int, Rows]] = {}

    @property
    def state(self) -> int:
        """The state of the file to which rows belong that are asked for from now on."""
        return self._seen[0]

    def seen(self, state: int) -> None:
        """The file is in this state now."""
        self._seen = (state, self._clock())  # one assignment, which another thread sees whole

    def rows(self, query: Hashable) -> Rows | None:
        """What the query is known to find now."""
        state, at = self._seen
        known = self._rows.get(query)
        return known[1] if known and known[0] == state and self._clock() - at <= FRESH_SECONDS else None

    def keep(self, query: Hashable, rows: Rows, *, asked_in: int) -> None:
        """Remember rows that were asked for in this state, or when it had just passed."""
        if len(self._rows) >= _MOST_REMEMBERED:
            self._rows.clear()
        self._rows[query] = (asked_in, rows)
