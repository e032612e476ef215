"""`python -m sandbox.slack --port N`: a Slack workspace on this machine. Its bot token is `xoxb-sandbox-bot`."""

import argparse

import uvicorn

from sandbox.slack.app import Slack
from sandbox.slack.world import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.slack", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    print(f"Slack's simulator answers on http://127.0.0.1:{given.port}/api/", flush=True)
    uvicorn.run(Slack(Workspace()), host="127.0.0.1", port=given.port, log_level="critical", access_log=False, ws="wsproto")


if __name__ == "__main__":
    main()
