"""A worker that evaluates round after round, to be killed at any moment.

Run as `python -m tests.alerts.killable DIRECTORY FIRST LAST`: it prints the number of each round once that is over. What is
recorded follows from the number alone, so that rounds made twice, or by another process, see the same.
"""

import sys
from datetime import timedelta
from pathlib import Path

import anyio

from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation
from tests.alerts.watching import Watched, watched
from tests.house import START

INSTANCES = 12
RULES = (("Wait", "queue_depth > 5", 45.0), ("Now", "queue_depth > 7", 0.0), ("Sum", "sum(queue_depth) > 60", 30.0))


async def evaluate(directory: Path, first: int, last: int) -> None:
    """Rounds `first` to before `last`."""
    async with watched(directory) as world:
        for name, expression, seconds in RULES:
            await world.rule(name, expression, for_seconds=seconds, channels=["pager"], idempotency_key=name)
        for number in range(first, last):
            world.home.now[0] = START + timedelta(seconds=15 * number)
            await record(world, number)
            await world.rounds.evaluate()
            await world.rounds.tell()
            print(number, flush=True)  # noqa: T201  whoever started it reads this


async def record(world: Watched, number: int) -> None:
    """Every instance is high for some rounds and low for others, each in its own rhythm."""
    at_ms = round(world.home.now[0].timestamp() * 1000)
    samples: list[Observation] = []
    for instance in range(INSTANCES):
        labels = {"service": "web", "environment": "staging", "instance": f"i-{instance}"}
        depth = (number // (2 + instance % 5) + instance) % 3 * 4
        samples.append(Observation(labels_of(labels, name="queue_depth"), at_ms, float(depth)))
    await world.home.app.sights.metrics.keep(samples)


if __name__ == "__main__":
    anyio.run(evaluate, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
