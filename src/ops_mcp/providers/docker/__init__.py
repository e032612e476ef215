"""The docker provider: services as containers of an Engine, over its API on a unix socket or TCP with TLS."""

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider, ReadSecret, Sleep


def connect(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Provider:
    """The provider as `[providers.docker]` wants it. Nothing is connected to before it is asked."""
    from ops_mcp.providers.docker.place import configured  # the rest of the package, for who deploys to it

    return configured(config, secret=secret, clock=clock, sleep=sleep)
