"""Logs and metrics kept elsewhere: one module for each kind of source, named like it and imported when first asked for.

A module has `KIND` and `build(name, table, **around)`: it parses the operator's table `[sources.NAME]`, out of which the key
`kind` is taken, and returns the source. `around` is what the book that loads gives it, such as `secret`. It raises
`NotConfigured` (see `_table.refused`) and connects to nothing yet.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from ops_mcp.config import Config
from ops_mcp.sources._table import refused
from ops_mcp.values import JsonObject

KINDS = ("files", "loki", "prometheus", "scrape")


def configured(config: Config, *kinds: str, **around: object) -> Mapping[str, Callable[[], Any]]:
    """The sources of these kinds by name, as the file has them: each is made, once, when it is called. Raises `NotConfigured` for
    a kind that there is not; calling one does where its table cannot be used, so that it spoils no other."""
    tables = config.settings.sources
    if unknown := [name for name, table in tables.items() if table.get("kind") not in KINDS]:
        raise refused(unknown[0], "kind is none that there is", f"Kinds: {', '.join(KINDS)}.")
    return {name: cache(partial(_made, name, table, around)) for name, table in tables.items() if table["kind"] in kinds}


def _made(name: str, table: JsonObject, around: Mapping[str, object]) -> object:
    module = importlib.import_module(f"{__name__}.{table['kind']}")
    return module.build(name, {key: value for key, value in table.items() if key != "kind"}, **around)
