"""How a server process sees to it that a worker is alive. The worker's room is imported when there is work, not before."""

from collections.abc import Callable

from ops_mcp.config import Config


def waker(config: Config) -> Callable[[], None]:
    """What a server calls after it committed work: quick, and never raises."""

    def wake() -> None:
        from ops_mcp.worker import waker  # psutil and the operations, which a server that only reads never needs

        waker(config)()

    return wake
