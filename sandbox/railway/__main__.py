"""`python -m sandbox.railway`: the simulator on loopback, with a small world, until it is interrupted."""

import argparse
import sys
from pathlib import Path

import uvicorn

from sandbox.railway import houses
from sandbox.railway.answering import OWN, PUBLISHED
from sandbox.railway.app import PATH, Railway
from sandbox.railway.clock import real


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.railway", description=__doc__)
    parser.add_argument("--port", type=int, default=8712)
    parser.add_argument("--schema", type=Path, help="the published schema; our own part of it is used where it is not at hand")
    parser.add_argument("--hourly", type=int, default=1000, help="requests an hour")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the world per real second")
    given = parser.parse_args()
    schema = given.schema or (PUBLISHED if PUBLISHED.is_file() else OWN)
    if not schema.is_file():
        print(f"There is no schema at {schema}; leave --schema out to use our own part of it.", file=sys.stderr)
        return 2
    world = houses.world(real(given.speed))
    world.any_commit = True
    world.base_url = f"http://127.0.0.1:{given.port}"
    railway = Railway(world, schema_path=schema, hourly=given.hourly)
    print(f"Railway, simulated: http://127.0.0.1:{given.port}{PATH} with the schema {schema.name}")
    print(f"project {houses.PROJECT} · service {houses.WEB} · staging {houses.STAGING} · production {houses.PRODUCTION}")
    print(f"project tokens: {houses.STAGING_TOKEN} · {houses.PRODUCTION_TOKEN} · workspace: {houses.WORKSPACE_TOKEN}", flush=True)
    uvicorn.run(railway.app, host="127.0.0.1", port=given.port, log_level="warning", date_header=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
