"""A worker that deploys and then holds still where it is told, so that a test can kill it exactly there.

Run as `python -m tests.providers.local.caller ROOT HOLD_AT DEPLOYMENT REPLACES MODE RUNS` with a release on standard input.
"""

import sys
from pathlib import Path

import anyio

from ops_mcp.domain.releases import DeploymentId, Release
from tests.providers.local.fakes import World


async def main() -> None:
    root, hold_at, deployment, replaces, mode, runs = sys.argv[1:7]
    world = World(root=Path(root), runs=Path(runs), mode=mode)

    async def narrate(doing: str) -> None:
        say(doing)
        if doing == hold_at:
            await anyio.sleep_forever()

    local = world.installation(narrate=narrate)
    release = Release.model_validate_json(sys.stdin.readline())
    await local.deploy(release, DeploymentId(deployment), replaces=None if replaces == "-" else DeploymentId(replaces))
    say("done")
    await anyio.sleep_forever()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main)
