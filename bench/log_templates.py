"""How well and how fast templates of log messages are found: on made systems, and on real ones where they are at hand."""

import csv
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

from bench.result import Result, at_least
from ops_mcp.logs.templates import Miner, grouped
from tests.logs.accuracy import grouping_accuracy
from tests.logs.made_logs import SYSTEMS, lines_of

SAMPLES = Path(__file__).parents[2] / "shared" / "loghub"
REAL = ("Apache", "HDFS", "OpenSSH", "Zookeeper")
LINES, ROUNDS = 100_000, 3
Labelled = tuple[list[str], list[object]]


async def measure() -> list[Result]:
    """Needs no house. A rate is of one core: the processor's time, not the clock's."""
    made = [_made(system, 2000) for system in SYSTEMS]
    results = [
        at_least("log templates, 8 made systems: grouping accuracy", _accuracy(made), "mean", 0.90),
        at_least(
            "log templates, 8 made systems: one core", _rate([_made(s, LINES // 8)[0] for s in SYSTEMS]), "lines/s", 100_000
        ),
    ]
    if SAMPLES.is_dir():
        real = [_real(system) for system in REAL]
        repeated = [messages * (LINES // 8000) for messages, _ in real]
        results += [
            at_least("log templates, 4 real systems: grouping accuracy", _accuracy(real), "mean", 0.95),
            at_least("log templates, 4 real systems: one core", _rate(repeated), "lines/s", 100_000),
        ]
    return results


def _made(system: str, count: int) -> Labelled:
    lines = lines_of(system, count=count, seed=1)
    return [line.message for line in lines], [line.label for line in lines]


def _real(system: str) -> Labelled:
    with (SAMPLES / system / f"{system}_2k.log_structured.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["Content"] for row in rows], [row["EventId"] for row in rows]


def _accuracy(systems: Sequence[Labelled]) -> float:
    return mean(grouping_accuracy(grouped(messages), labels) for messages, labels in systems)


def _rate(systems: Sequence[list[str]]) -> float:
    """Lines of all systems mixed, through one miner that begins with nothing."""
    messages = [message for system in systems for message in system]
    random.Random(1).shuffle(messages)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    best = 0.0
    for _ in range(ROUNDS):
        add = Miner().add
        began = time.process_time()
        for message in messages:
            add(message, at)
        best = max(best, len(messages) / (time.process_time() - began))
    return best
