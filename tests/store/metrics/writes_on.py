"""Writes the same rising number into two series until it is killed; says each number once it is durable. Run by a test."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio

from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.observing import Observation
from ops_mcp.store.metrics.store import MetricStore

START_MS = 1_795_000_000_000


async def main(path: Path) -> None:
    store = MetricStore(path, MetricTerms(), lambda: datetime.fromtimestamp(START_MS / 1000 + 3600, UTC))
    number = 0
    while True:
        at = START_MS + number * 1000
        await store.keep([Observation(labels_of({"side": side}, name="written"), at, float(number)) for side in "ab"])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
