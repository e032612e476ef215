"""What the tables of all kinds of source share."""

from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from ops_mcp.errors import NotConfigured
from ops_mcp.values import JsonObject, Value

V = TypeVar("V", bound=Value)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def parsed(model: type[V], name: str, table: JsonObject) -> V:
    """The table `[sources.NAME]` as its kind understands it. Raises `NotConfigured` naming the field, never its value."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refused(name, f"{where}: {first['msg']}" if where else first["msg"]) from error


def refuse_clear(name: str, url: str) -> None:
    """Raises `NotConfigured` for an address to which a credential would go over a network in clear."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise refused(name, "url would send the token in clear", "Use https.")


def refused(name: str, wrong: str, hint: str = "See docs/languages.") -> NotConfigured:
    """The error for a table that cannot be used."""
    return NotConfigured(f"[sources.{name}] {wrong.rstrip('.')}.", hint=hint)
