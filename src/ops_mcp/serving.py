"""Serves many MCP clients over HTTP: opens the app, joins server, door and transport, and runs what runs beside them."""

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio

from ops_mcp import doors, web
from ops_mcp.call import call
from ops_mcp.config import Config
from ops_mcp.server import build
from ops_mcp.startup import Opened, open_app
from ops_mcp.visitors import StoredVisitors

log = logging.getLogger(__name__)


async def serve_http(
    config: Config,
    *,
    wake_worker: Callable[[], None],
    started: Callable[[str], None],
    beside: Callable[[Opened], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until a signal arrives. `started` is told the URL; `beside` (the inline worker) runs for as long as this does.

    Raises `NotConfigured` for an address that would expose tokens.
    """
    for warning in config.cautions:
        log.warning(warning)
    http = config.settings.http
    bound = web.listen(http)
    async with open_app(config, wake_worker=wake_worker) as opened, anyio.create_task_group() as group:
        server = build(partial(call, opened.app), opened.app.tools, door=web.door)
        visitors = StoredVisitors(opened.database, opened.app.clock)
        beside_mcp = doors.routes(opened, visitors)
        vital = doors.Vital(opened)
        application = web.application(server, http, visitors, ready=visitors.ready, unwell=vital, beside=beside_mcp)
        group.start_soon(visitors.write_counts)
        group.start_soon(doors.slack_socket.listen, opened, visitors)
        if beside is not None:
            group.start_soon(beside, opened)
        started(f"http://{_in_url(http.host)}:{bound.getsockname()[1]}{web.PATH}")
        await web.serve(application, bound, http, stop=anyio.Event())
        group.cancel_scope.cancel()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
