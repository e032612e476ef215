"""`make bench`: measure every claim and write bench/results.json. Names of measurements as arguments choose some of them."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import (
    alert_rules,
    checkpoints,
    definitions,
    disk,
    ledger_size,
    log_search,
    log_templates,
    observed,
    overhead,
    paced,
    startup,
    verification,
    writers,
)
from bench.house import house
from bench.result import Result, save, table
from sandbox.world import free_port

RESULTS = Path(__file__).with_name("results.json")
# In this order: `ledger_size` makes the million records that `verification` reads, so both share the last house.
NAMES = (
    "disk", "definitions", "overhead", "startup", "paced", "checkpoints", "writers",
    "ledger_size", "verification", "log_templates", "log_search", "alert_rules", "observed",
)  # fmt: skip


async def run(names: Sequence[str]) -> list[Result]:
    """Each measurement in turn, nothing else beside it."""
    found: list[Result] = []
    port = free_port()
    with house(port=port) as home:
        measurements = {
            "disk": lambda: disk.measure(home),
            "definitions": lambda: definitions.measure(home),
            "overhead": lambda: overhead.measure(home),
            "startup": lambda: startup.measure(home),
            "paced": lambda: paced.measure(home, port),
            "checkpoints": lambda: checkpoints.measure(home, port),
            "writers": lambda: writers.measure(home),
            "ledger_size": lambda: ledger_size.measure(home),
            "verification": lambda: verification.measure(home),
            "log_templates": log_templates.measure,
            "log_search": log_search.measure,
            "alert_rules": alert_rules.measure,
            "observed": lambda: observed.measure(home, port),
        }
        for name in [n for n in NAMES if n in names]:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            measured = await measurements[name]()
            save(measured, RESULTS)
            print(table(measured), file=sys.stderr, flush=True)
            found += measured
    return found


def main() -> int:
    names = sys.argv[1:] or list(NAMES)
    if unknown := set(names) - set(NAMES):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    results = asyncio.run(run(names))
    print(table(results))
    return 0 if all(r.met is not False for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
