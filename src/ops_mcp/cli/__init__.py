"""The entry point `ops-mcp`: a stdio server without arguments, the operator's terminal with them."""

import sys

from ops_mcp.cli.entry import start


def main() -> None:
    """What the console script runs."""
    raise SystemExit(start(sys.argv[1:]))
