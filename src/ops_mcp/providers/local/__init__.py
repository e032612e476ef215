"""The local provider: services as isolated processes on this host. On Windows it says so and does nothing."""

import secrets
import sys

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider, ReadSecret, Sleep


def connect(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Provider:
    """The provider for this host. Each is imported here because neither can be imported where the other one is needed."""
    if sys.platform == "win32":
        from ops_mcp.providers.local.nowhere import Nowhere

        return Nowhere()
    from ops_mcp.providers.local.place import configured

    return configured(config, secret=secret, clock=clock, sleep=sleep, new_nonce=lambda: secrets.token_hex(16))
