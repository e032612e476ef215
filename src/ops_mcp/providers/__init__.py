"""Places where services run: one file or package per provider, found by being here and imported when first asked for."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping

from ops_mcp.config import Config
from ops_mcp.ports import Clock, Provider
from ops_mcp.values import Secret


class Providers(Mapping[str, Provider]):
    """Every provider by kind; each module's `connect(config, secret=…, clock=…)` makes its own, once."""

    def __init__(self, config: Config, *, secret: Callable[[str], Secret], clock: Clock) -> None:
        self._config, self._secret, self._clock = config, secret, clock
        self._kinds = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
        self._made: dict[str, Provider] = {}

    def __getitem__(self, kind: str) -> Provider:
        if kind not in self._made:
            if kind not in self._kinds:
                raise KeyError(kind)
            module = importlib.import_module(f"{__name__}.{kind}")
            self._made[kind] = module.connect(self._config, secret=self._secret, clock=self._clock)
        return self._made[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def load(config: Config, *, secret: Callable[[str], Secret], clock: Clock) -> Mapping[str, Provider]:
    """The providers of this installation; nothing is imported or connected before it is used."""
    return Providers(config, secret=secret, clock=clock)
