"""`python -m sandbox.mailtrap --port N`: Mailtrap's sending API on this machine; the token is in MAILTRAP_TOKEN."""

import argparse
import os

from sandbox.mailtrap.api import server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.mailtrap", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which the first line says")
    given = parser.parse_args()
    with server(given.port, os.environ["MAILTRAP_TOKEN"]) as api:
        print(f"Mailtrap's simulator answers on http://127.0.0.1:{api.server_port}", flush=True)
        api.serve_forever()


if __name__ == "__main__":
    main()
