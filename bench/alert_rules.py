"""How long a round of 10,000 alert rules over 1,000 series takes, from the stored samples to the stored states."""

import tempfile
import time
from pathlib import Path

from bench.result import Result, at_most
from ops_mcp.alerting.rules import Rule
from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation
from ops_mcp.store.alerts import rules
from ops_mcp.store.database import Transaction
from tests.alerts.watching import Watched, watched

RULES, SERIES, ROUNDS = 10_000, 1_000, 8
EVERY_SECONDS = 15


async def measure() -> list[Result]:
    """Needs no house of the bench. The slowest of the rounds after the first counts; the first compiles every rule."""
    with tempfile.TemporaryDirectory(prefix="ops-mcp-bench-") as directory:
        async with watched(Path(directory)) as world:
            await world.home.database.write(lambda tx: _store(tx, world))
            for step in range(24):  # six minutes, so that windows of five are full
                await _record(world, step)
            first, *later = [await _round(world, 24 + number) for number in range(ROUNDS + 1)]
            firing = (await world.home.database.fetch("SELECT COUNT(*) FROM alerts WHERE state = 'firing'"))[0][0]
    name = f"{RULES:,} alert rules over {SERIES:,} series"
    return [
        at_most(f"{name}: the slowest of {ROUNDS} rounds", max(later), "s", 2.0),
        Result(f"{name}: the first round of a worker", round(first, 3), "s"),
        Result(f"{name}: alerts that fire meanwhile", float(firing), "alerts"),
    ]


async def _round(world: Watched, step: int) -> float:
    await _record(world, step)
    began = time.perf_counter()
    await world.rounds.evaluate()
    return time.perf_counter() - began


async def _record(world: Watched, step: int) -> None:
    """One sample of every series; a hundredth of the gauges is high for two intervals at a time."""
    home = world.home
    home.advance(seconds=EVERY_SECONDS)
    home.advance(seconds=-home.now[0].timestamp() % EVERY_SECONDS)
    at_ms = round(home.now[0].timestamp() * 1000)
    samples: list[Observation] = []
    for number in range(SERIES // 2):
        labels = {"service": f"svc-{number % 50}", "instance": f"i-{number}", "environment": "staging"}
        depth = 100.0 if (number + step // 2) % 100 == 0 else float(number % 7)
        samples.append(Observation(labels_of(labels, name="queue_depth"), at_ms, depth))
        samples.append(Observation(labels_of(labels, name="jobs_total"), at_ms, float(step * (1 + number % 5))))
    await home.app.sights.metrics.keep(samples)


def _store(tx: Transaction, world: Watched) -> None:
    for number in range(RULES):
        fields = {
            "name": f"Rule{number}",
            "environment": "staging",
            "expression": _expression(number),
            "for_seconds": (0, 15, 60)[number % 3],
            "annotations": {"summary": "{{ $labels.instance }}: {{ $value | humanize }}"},
            "channels": ["pager"] if number % 10 == 0 else [],
        }
        rules.put(tx, Rule.model_validate(fields), by="bench", at=world.home.now[0])


def _expression(number: int) -> str:
    """No two are equal. Six of ten compare a series, three its rate, the others look at a window or sum over a service."""
    instance = number % (SERIES // 2)
    match number % 10:
        case 0 | 1 | 2 | 3 | 4 | 5:
            return f'queue_depth{{instance="i-{instance}"}} > {20 + number / 1000}'
        case 6 | 7 | 8:
            return f'rate(jobs_total{{instance="i-{instance}"}}[5m]) > {1 + number / 1000}'
        case _:
            if number % 100 == 99:
                return f'sum by (service) (queue_depth{{service="svc-{number % 50}"}}) > {1000 + number}'
            return f'avg_over_time(queue_depth{{instance="i-{instance}"}}[5m]) > {90 + number / 10_000}'
