"""The baseline: the same tool with the same reply, ungoverned, on the SDK's own high-level server and transport."""

import json
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer

REPLY: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))

server = MCPServer("bare", version="1")


@server.tool()
async def services() -> dict[str, Any]:
    """The services and the environments they are bound in."""
    return REPLY


if __name__ == "__main__":
    server.run("stdio")
