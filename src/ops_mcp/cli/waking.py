"""How a server process sees to it that a worker is alive."""

from collections.abc import Callable

from ops_mcp.config import Config


def waker(config: Config) -> Callable[[], None]:
    """What a server calls after it committed work. Until the worker's room is joined here, it starts nothing."""
    _ = config
    return _nothing


def _nothing() -> None:
    """The work waits for a worker that somebody else started."""
