"""What the tables of all kinds of source share."""

from typing import TypeVar

from pydantic import ValidationError

from ops_mcp.errors import NotConfigured
from ops_mcp.values import JsonObject, Value

V = TypeVar("V", bound=Value)


def parsed(model: type[V], name: str, table: JsonObject) -> V:
    """The table `[sources.NAME]` as its kind understands it. Raises `NotConfigured` naming the field, never its value."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refused(name, f"{where}: {first['msg']}" if where else first["msg"]) from error


def refused(name: str, wrong: str, hint: str = "See docs/languages.") -> NotConfigured:
    """The error for a table that cannot be used."""
    return NotConfigured(f"[sources.{name}] {wrong.rstrip('.')}.", hint=hint)
