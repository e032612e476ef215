"""The approval page: what waits for an operator in a browser, unlocked with their key, without any script."""

from collections.abc import Sequence

from starlette.routing import Route

from ops_mcp.doors._guests import Visitors
from ops_mcp.doors.page.entry import Page
from ops_mcp.startup import Opened


def routes(opened: Opened, visitors: Visitors) -> Sequence[Route]:
    """Always served: without a session it shows only how to get one."""
    page = Page(opened, visitors)
    return (
        Route("/page", page.path(page.overview), methods=["GET"]),
        Route("/page/unlock", page.path(page.ask_to_unlock), methods=["GET"]),
        Route("/page/unlock", page.path(page.unlock), methods=["POST"]),
        Route("/page/lock", page.path(page.lock), methods=["POST"]),
        Route("/page/approvals/{id}", page.path(page.one), methods=["GET"]),
        Route("/page/approvals/{id}", page.path(page.answer), methods=["POST"]),
    )
