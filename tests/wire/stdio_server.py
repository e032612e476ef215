"""A real process that serves the fakes over stdio for the transport tests: `python -m tests.wire.stdio_server [debug]`."""

import logging
import sys

from ops_mcp.wire import claim

wire = claim()
print("printed before serving")  # noqa: T201  must not reach the wire

import anyio  # noqa: E402  after the wire is claimed, as the real entry point does

from ops_mcp import pipes  # noqa: E402
from ops_mcp.server import build  # noqa: E402
from tests.wire.fakes import TOOLS, FakeCalls, door  # noqa: E402


async def main() -> None:
    assert wire is not None
    await pipes.serve(build(FakeCalls(), TOOLS, door=door()), wire, line_limit=100_000)


if __name__ == "__main__":
    if "debug" in sys.argv:
        logging.basicConfig(level=logging.DEBUG)
    anyio.run(main)
    print("printed at exit")  # noqa: T201  the same
