"""How a server process sees to it that a worker is alive, without importing the worker before there is work."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from ops_mcp.config import Config
from ops_mcp.errors import OpsError

log = logging.getLogger(__name__)

_FIRST_LOOK_SECONDS = 2.0


def waker(config: Config) -> Callable[[], None]:
    """What a server calls after it committed work."""

    def wake() -> None:
        from ops_mcp import worker  # psutil and the operations; a server's first answer does not wait for them

        worker.waker(config)()

    return wake


def keeper(config: Config) -> Callable[[], Coroutine[Any, Any, None]]:
    """What a server runs beside itself: it starts a worker whenever work waits and none is alive.

    A worker of another configuration on the same state is said aloud; nothing is started beside it.
    """

    async def keep() -> None:
        if config.settings.worker == "external":
            return
        await anyio.sleep(_FIRST_LOOK_SECONDS)
        from ops_mcp.worker import keep_worker, refuse_other_worker  # once the client has its first answers

        try:
            refuse_other_worker(config)
        except OpsError as problem:
            log.error("%s %s", problem.message, problem.hint)  # noqa: TRY400  # an expected refusal needs no traceback
            return
        await keep_worker(config)

    return keep
