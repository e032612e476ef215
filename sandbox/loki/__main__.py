"""`python -m sandbox.loki --port N`: a Loki on this machine, empty at first; push to it as to the real one.

`--tenant` switches authentication on; `--token` is what a proxy before it wants. Faults: POST /_sandbox/faults.
"""

import argparse
from datetime import UTC, datetime

import uvicorn

from sandbox.loki.app import Loki
from sandbox.loki.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.loki", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tenant", action="append", default=[], help="a tenant; without one nobody is asked who they are")
    parser.add_argument("--token", action="append", default=[], help="a bearer token; may be repeated")
    parser.add_argument("--most-entries", type=int, default=5000, help="max_entries_limit_per_query")
    given = parser.parse_args()
    world = World(
        lambda: datetime.now(UTC),
        tenants=frozenset(given.tenant) or None,
        credentials=frozenset(f"Bearer {token}" for token in given.token),
        most_entries=given.most_entries,
    )
    print(f"Loki's simulator answers on http://127.0.0.1:{given.port}", flush=True)
    uvicorn.run(Loki(world, controlled=True), host="127.0.0.1", port=given.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
