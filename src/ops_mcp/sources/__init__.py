"""Logs and metrics kept elsewhere: one module for each kind of source, named like it and imported when first asked for.

A module has `KIND` and `build(name, table, **around)`: it parses the operator's table `[sources.NAME]`, out of which the key
`kind` is taken, and returns the source. `around` is what the book that loads gives it, such as `secret`. It raises
`NotConfigured` (see `_table.refused`) and connects to nothing yet.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from typing import Any

from ops_mcp.config import Config
from ops_mcp.sources._table import refused
from ops_mcp.values import JsonObject

KINDS = ("files", "loki", "prometheus", "scrape")


def configured(config: Config, *kinds: str, **around: object) -> Mapping[str, Callable[[], Any]]:
    """The sources of these kinds, or of none that there is, by name, as the file has them: each is made, once, when it is called.
    That raises `NotConfigured` where its table cannot be used, so that it spoils no other."""
    tables = {name: table for name, table in config.settings.sources.items() if _may_be(table.get("kind"), kinds)}
    return {name: cache(partial(_made, name, table, around)) for name, table in tables.items()}


def _may_be(kind: object, kinds: Collection[str]) -> bool:
    return kind in kinds or kind not in KINDS


def _made(name: str, table: JsonObject, around: Mapping[str, object]) -> object:
    if table.get("kind") not in KINDS:
        raise refused(name, "kind is none that there is", f"Kinds: {', '.join(KINDS)}.")
    module = importlib.import_module(f"{__name__}.{table['kind']}")
    return module.build(name, {key: value for key, value in table.items() if key != "kind"}, **around)
