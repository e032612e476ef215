"""A real bridge process for its tests: `python -m tests.wire.bridge_process URL`, the token in OPS_MCP_TOKEN."""

import os
import sys

from ops_mcp.wire import claim

wire = claim()

import anyio  # noqa: E402  after the wire is claimed, as the real entry point does

from ops_mcp.bridge import bridge  # noqa: E402
from ops_mcp.values import Secret  # noqa: E402

if __name__ == "__main__":
    anyio.run(bridge, sys.argv[1], Secret(os.environ.get("OPS_MCP_TOKEN", "")), wire)
