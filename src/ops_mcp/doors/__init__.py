"""HTTP beside MCP, by who comes in: monitoring, Slack, operators with a browser, and whoever looks at tasks and figures.

Each module has `routes(opened, visitors)`: what it serves, nothing where it is not configured.
"""

from collections.abc import Sequence

from starlette.routing import Route

from ops_mcp.doors import alerts
from ops_mcp.startup import Opened
from ops_mcp.visitors import StoredVisitors


def routes(opened: Opened, visitors: StoredVisitors) -> Sequence[Route]:
    """Everything that is served beside MCP."""
    return [route for module in (alerts,) for route in module.routes(opened, visitors)]
