"""Places where services run: one file or package per provider, found by being here and imported when first asked for."""

import importlib
import pkgutil

import anyio

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Closes, Provider, ReadSecret, Sleep
from ops_mcp.providers._lazily import Lazily


def load(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep = anyio.sleep) -> Lazily[Provider]:
    """Every provider by kind, made by its module's `connect` once it is asked for."""

    def connect(kind: str) -> Provider:
        module = importlib.import_module(f"{__name__}.{kind}")
        made: Provider = module.connect(config, secret=secret, clock=clock, sleep=sleep)
        return made

    kinds = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return Lazily(tuple(kinds), connect)


async def close(places: Lazily[Provider]) -> None:
    """Let go of what the providers that were made hold open."""
    for provider in places.made():
        if isinstance(provider, Closes):
            await provider.aclose()
