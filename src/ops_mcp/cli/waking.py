"""How a server process sees to it that a worker is alive, without importing the worker before there is work."""

from collections.abc import Callable

from ops_mcp.config import Config


def waker(config: Config) -> Callable[[], None]:
    """What a server calls after it committed work."""

    def wake() -> None:
        from ops_mcp import worker  # psutil and the operations; a server's first answer does not wait for them

        worker.waker(config)()

    return wake
