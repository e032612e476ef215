"""HTTP beside MCP, by who comes in: monitoring, Slack, operators with a browser, and whoever looks at tasks and figures.

Each module has `routes(opened, visitors)`: what it serves, nothing where it is not configured.
"""

from collections.abc import Sequence

from starlette.routing import Route

from ops_mcp.doors import alerts, figures, page, slack, slack_socket, tasks
from ops_mcp.doors.vital import Vital
from ops_mcp.startup import Opened
from ops_mcp.visitors import StoredVisitors

__all__ = ["Vital", "routes", "slack_socket"]


def routes(opened: Opened, visitors: StoredVisitors) -> Sequence[Route]:
    """Everything that is served beside MCP."""
    return [route for module in (alerts, tasks, figures, slack, page) for route in module.routes(opened, visitors)]
