"""`python -m sandbox.webhook --port N`: a receiver of ops-mcp's webhooks on this machine, which checks what it is sent."""

import argparse
import os

from sandbox.webhook.receiver import server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.webhook", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which the first line says")
    given = parser.parse_args()
    key = os.environ["WEBHOOK_KEY"].encode()
    with server(given.port, key) as receiver:
        print(f"The receiver answers on http://127.0.0.1:{receiver.server_port}", flush=True)
        receiver.serve_forever()


if __name__ == "__main__":
    main()
