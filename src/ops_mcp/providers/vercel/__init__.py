"""The Vercel provider: services that Vercel builds from git and serves."""

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider, ReadSecret, Sleep


def connect(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Provider:
    """The provider as the configuration wants it. Raises `NotConfigured` for a table that cannot be used."""
    from ops_mcp.providers.vercel.place import configured  # everything below waits until somebody deploys to Vercel

    return configured(config, secret=secret, clock=clock, sleep=sleep)
