"""The embedded metric store, opened by the first that needs it."""

from pathlib import Path

from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.ports import Clock


class MetricStore:
    """Opened at the first use; `aclose` lets go of the file."""

    def __init__(self, path: Path, terms: MetricTerms, clock: Clock) -> None:
        self._path, self._terms, self._clock = path, terms, clock

    async def aclose(self) -> None:
        """Let go of the file."""
