"""Being built."""

from typing import Any


class Health:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)
