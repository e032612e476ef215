"""Serves one MCP client over standard input and output: opens the app, joins server and transport, leaves in time."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
from mcp import stdio_server
from mcp.types import JSONRPCResponse

from ops_mcp import pipes
from ops_mcp.call import call
from ops_mcp.config import Config
from ops_mcp.errors import Unavailable
from ops_mcp.server import CALL, build, stdio_door, withdrawn
from ops_mcp.startup import open_app
from ops_mcp.store.ledger import Admission, Ledger
from ops_mcp.wire import Wire

log = logging.getLogger(__name__)

HARD_STOP_SECONDS = 2.0
"""Clients kill two seconds after they asked us to leave; what is still open then stays visibly `unknown` in the ledger."""


async def serve_stdio(
    config: Config, wire: Wire | None, *, wake_worker: Callable[[], None], beside: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Serve until the client's input ends or a signal arrives. `wire` is what `wire.claim` returned before the imports.

    `beside` runs for as long as the server does.
    """
    for warning in config.cautions:
        log.warning(warning)
    if wire is None:
        await _serve_files(config, wake_worker)
        return
    async with open_app(config, wake_worker=wake_worker) as opened, anyio.create_task_group() as group:
        group.start_soon(beside)
        # What start-up made stays, and most of what a call makes goes without a collection: looking again and again through
        # what a hundred calls in flight hold would cost each of them a tenth.
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)
        gate, ahead = partial(call, opened.app), partial(call, opened.app, ahead=True)
        server = build(gate, opened.app.tools, door=stdio_door(config.token), held_back=ahead)
        await pipes.serve(server, wire, ending=_leave_soon, due=partial(_due, opened.app.ledger))
        group.cancel_scope.cancel()


def _due(ledger: Ledger, reply: JSONRPCResponse) -> Awaitable[JSONRPCResponse] | None:
    """No answer leaves before its call's admission is durable; one whose admission failed leaves as a refusal."""
    meta = reply.result.get("_meta")
    durable = ledger.owed(meta[CALL]) if meta and CALL in meta else None
    return None if durable is None else _once(durable, reply)


async def _once(durable: "asyncio.Future[Admission]", reply: JSONRPCResponse) -> JSONRPCResponse:
    try:
        await durable
    except Unavailable as down:
        return reply.model_copy(update={"result": withdrawn(reply.result, down.problem)})
    return reply


async def _serve_files(config: Config, wake_worker: Callable[[], None]) -> None:
    """Over the SDK's own transport: a terminal, a file, or Windows. Slower, and a signal cannot wake its reading thread."""
    async with stdio_server() as (read, write):
        async with open_app(config, wake_worker=wake_worker) as opened:
            server = build(partial(call, opened.app), opened.app.tools, door=stdio_door(config.token))
            with anyio.CancelScope() as serving:
                _on_signals(serving.cancel)
                await server.run(read, write, server.create_initialization_options())
        if serving.cancel_called:
            # The app is closed. Leaving the transport would wait for its thread, which waits for a line that nobody types.
            os._exit(0)


def _on_signals(act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, act)
        except NotImplementedError:  # Windows ends the process itself
            return


def _leave_soon() -> None:
    """A thread, because what keeps us may be the event loop itself."""
    timer = threading.Timer(HARD_STOP_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()
