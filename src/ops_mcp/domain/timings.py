"""How long calls took in this process: a histogram for each tool, in memory only. Reads no clock."""

from bisect import bisect_left
from collections.abc import Iterable

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds; what took longer is counted beyond them."""


class Histogram:
    """Counts by bound, not cumulated, the last one of what took longer than all bounds; and the sum of seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Timings:
    """One histogram for each tool there is. A name that is no tool is a stranger's choice and counted nowhere."""

    __slots__ = ("by_tool",)

    def __init__(self, tools: Iterable[str] = ()) -> None:
        self.by_tool = {tool: Histogram() for tool in tools}

    def add(self, tool: str, seconds: float) -> None:
        found = self.by_tool.get(tool)
        if found is not None:
            found.add(seconds)
