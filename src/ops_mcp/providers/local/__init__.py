"""The local provider: services as isolated processes on this host. On Windows it says so and does nothing."""

import secrets
import sys
from collections.abc import Callable

from ops_mcp.config import Config
from ops_mcp.domain.identity import Tier
from ops_mcp.ports import Clock, Provider
from ops_mcp.values import Secret


def connect(config: Config, *, secret: Callable[[str], Secret], clock: Clock) -> Provider:
    """The provider for this host."""
    if sys.platform == "win32":
        from ops_mcp.providers.local.nowhere import Nowhere  # noqa: PLC0415 - the other one needs fcntl

        return Nowhere()
    from ops_mcp.providers.local.place import Local

    def beside() -> bool:
        return any(config.environments[b.environment].tier is not Tier.sandbox for b in config.bindings if b.secrets)

    return Local(
        state_dir=config.state_dir,
        config_dir=config.config_dir,
        isolation=config.settings.isolation,
        secret=secret,
        clock=clock,
        new_nonce=lambda: secrets.token_hex(16),
        beside=beside,
        allowed_refs=config.settings.allowed_refs,
    )
