"""A worker that deploys and then holds still where it is told, so that a test can kill it exactly there.

Run as `python -m tests.providers.local.caller ROOT HOLD_AT REPLACES MODE RUNS` with a placement on standard input.
"""

import sys
from pathlib import Path

import anyio

from ops_mcp.domain.releases import Placement
from tests.providers.local.fakes import World, at


async def main() -> None:
    root, hold_at, replaces, mode, runs = sys.argv[1:6]
    world = World(root=Path(root), runs=Path(runs), mode=mode)

    async def tell(doing: str, *, handle: str = "") -> None:
        say(doing)
        if doing == hold_at:
            await anyio.sleep_forever()

    placement = Placement.model_validate_json(sys.stdin.readline())
    ends = None if replaces == "-" else at(placement.release.binding, replaces)
    await world.local.deploy(placement, replaces=ends, tell=tell)
    say("done")
    await anyio.sleep_forever()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main)
