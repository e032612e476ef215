"""`python -m sandbox.vercel --port N`: a Vercel on this machine, with the team `acme`, its project `web`, and sites that answer.

Tokens, domains and how fast builds are, are options; everything else is steered over `/_sandbox/…` (see `control`).
"""

import argparse
from dataclasses import replace
from datetime import UTC, datetime

import uvicorn

from sandbox.vercel.app import Vercel
from sandbox.vercel.world import Pace, World, acme

_QUICK = Pace(queued=0.1, initializing=0.1, building=0.5, checking=0.3, assigning=0.1, job_pending=0.1, job=0.3, stages=2.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.vercel", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", action="append", default=[], help="a token with access to the team; may be repeated")
    parser.add_argument("--domain", action="append", default=[], help="a production domain of `web`, such as localhost:PORT")
    parser.add_argument("--build-seconds", type=float, default=_QUICK.building)
    parser.add_argument("--plan", choices=["hobby", "pro", "enterprise"], default="pro")
    given = parser.parse_args()
    pace = replace(_QUICK, building=given.build_seconds)
    world = World(lambda: datetime.now(UTC), host=f"127.0.0.1:{given.port}", pace=pace)
    project = acme(world)
    project.domains = given.domain
    team = world.teams[project.owner]
    team.plan = given.plan
    for token in given.token:
        world.token(token, team)
    app = Vercel(world, controlled=True)
    print(f"Vercel's simulator answers on http://127.0.0.1:{given.port}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
