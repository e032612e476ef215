"""Ways to tell people: one file per kind, found by being here and imported when a configured channel is of its kind."""

import importlib
from collections.abc import Mapping

from ops_mcp.channels._parsing import Broken, kind_of, terms_of
from ops_mcp.errors import NotConfigured
from ops_mcp.observing import Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject


def load(tables: Mapping[str, JsonObject], *, secret: ReadSecret, clock: Clock) -> dict[str, Way]:
    """Every channel of the configuration. One that cannot be used says so to whatever is sent to it, and stops no other."""

    def way(name: str, table: JsonObject) -> Way:
        try:
            module = importlib.import_module(f"{__name__}.{kind_of(name, table, __path__)}")
            terms = terms_of(name, table)
            made: Way = module.connect(name, table, secret=secret, clock=clock)
        except NotConfigured as error:
            return Way(Broken(error))
        return made._replace(terms=terms, gap_seconds=max(made.gap_seconds, terms.gap_seconds))

    return {name: way(name, table) for name, table in tables.items()}
