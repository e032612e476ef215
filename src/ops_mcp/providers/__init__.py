"""Places where services run: one file or package per provider, found by being here and imported when first asked for."""

import importlib
import pkgutil
from collections.abc import Mapping

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider, ReadSecret
from ops_mcp.providers._lazily import Lazily


def load(config: Config, *, secret: ReadSecret, clock: Clock) -> Mapping[str, Provider]:
    """Every provider by kind, made by its module's `connect` once it is asked for."""

    def connect(kind: str) -> Provider:
        made: Provider = importlib.import_module(f"{__name__}.{kind}").connect(config, secret=secret, clock=clock)
        return made

    kinds = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return Lazily(tuple(kinds), connect)
