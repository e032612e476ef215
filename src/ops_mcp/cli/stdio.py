"""Serving one client over stdio, as the entry point does without arguments. Imports no command: its start-up has a bar."""

import gc
import os
import sys
from pathlib import Path

from ops_mcp.wire import Wire, claim


def serve(*, remote: str | None, config_dir: Path | None, state_dir: Path | None) -> int:
    """Serve until the client leaves; the exit code. The streams are claimed first, so that nothing an import prints is sent."""
    wire = claim()
    gc.disable()  # hundreds of classes are made while importing; collecting in between costs a tenth of the start
    from ops_mcp.errors import OpsError

    try:
        return _bridge(wire, remote) if remote is not None else _serve_here(wire, config_dir, state_dir)
    except OpsError as error:
        print(f"ops-mcp: {error.message}\n{error.hint}", file=sys.stderr)
        return 7


def _serve_here(wire: Wire | None, config_dir: Path | None, state_dir: Path | None) -> int:
    import anyio  # the server and all it needs, from here on

    from ops_mcp import config, stdio
    from ops_mcp.cli.waking import keeper, waker

    found = config.load(os.environ, config_dir=config_dir, state_dir=state_dir)
    _collect_again()
    anyio.run(lambda: stdio.serve_stdio(found, wire, wake_worker=waker(found), beside=keeper(found)))
    return 0


def _bridge(wire: Wire | None, url: str) -> int:
    import anyio  # the HTTP client and what it needs, only here

    from ops_mcp.bridge import bridge
    from ops_mcp.values import Secret

    token = os.environ.get("OPS_MCP_TOKEN")
    _collect_again()
    anyio.run(lambda: bridge(url, Secret(token) if token is not None else None, wire))
    return 0


def _collect_again() -> None:
    """What was imported stays for good and is never looked at again."""
    gc.freeze()
    gc.enable()
