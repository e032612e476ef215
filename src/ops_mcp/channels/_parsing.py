"""What the kinds of channels share: their tables read into values, and a channel whose table cannot be used."""

import pkgutil
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from ops_mcp.errors import NotConfigured
from ops_mcp.governance.pacing import ChannelTerms
from ops_mcp.observing import Notice
from ops_mcp.values import JsonObject, Value

V = TypeVar("V", bound=Value)


class Broken:
    """Stands where a channel's table cannot be used: notices wait for it, and at last are dead letters that say why."""

    kind = "broken"

    def __init__(self, error: NotConfigured) -> None:
        self._error = error

    async def send(self, notice: Notice) -> str:  # noqa: ARG002  # the Protocol's
        raise NotConfigured(self._error.message, hint=self._error.hint)

    async def ready(self) -> str:
        raise NotConfigured(self._error.message, hint=self._error.hint)


def kind_of(name: str, table: JsonObject, path: Sequence[str]) -> str:
    """The kind that the table names. Raises `NotConfigured` listing those there are."""
    kinds = sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise NotConfigured(f"[channels.{name}] kind is none that there is.", hint=f"Kinds: {', '.join(kinds)}.")
    return kind


def terms_of(name: str, table: JsonObject) -> ChannelTerms:
    """What the table says that every channel's may. Raises `NotConfigured` naming the field."""
    return _validated(ChannelTerms, name, {key: value for key, value in table.items() if key in _COMMON})


def parsed(model: type[V], name: str, table: JsonObject) -> V:
    """The channel's own table. Raises `NotConfigured` naming the field, never its value."""
    return _validated(model, name, {key: value for key, value in table.items() if key != "kind" and key not in _COMMON})


def _validated(model: type[V], name: str, fields: JsonObject) -> V:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        named = ", ".join(dict.fromkeys((*model.model_fields, *_COMMON)))
        raise NotConfigured(f"[channels.{name}] {where}: {first['msg']}.", hint=f"Its fields: kind, {named}.") from error


_COMMON = ChannelTerms.model_fields.keys()
