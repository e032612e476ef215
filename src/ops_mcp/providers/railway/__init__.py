"""The Railway provider: services by commit, over its public GraphQL API."""

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider, ReadSecret, Sleep


def connect(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Provider:
    """Imported when the first service of this kind is asked for."""
    from ops_mcp.providers.railway.connecting import connected

    return connected(config, secret=secret, clock=clock, sleep=sleep)
