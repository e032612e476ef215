"""One look at a database that is not opened for work. Who looks wants to know what is there, and takes silence for nothing."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import OpsError
from ops_mcp.store.seam import Row, SqlValue

_SECONDS = 8.0


def glance(place: Path | Address, sql: str, *params: SqlValue) -> list[Row]:
    """The rows of a query, none where the database cannot be read. Waits for a server up to some seconds."""
    if isinstance(place, Address):
        return _of_server(place, sql, params)
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            return connection.execute(sql, params).fetchall()
    except sqlite3.Error:
        return []


def _of_server(address: Address, sql: str, params: tuple[SqlValue, ...]) -> list[Row]:
    """In a thread of its own: the driver needs a loop, and whoever asks may be in one."""
    from ops_mcp.store.postgres import look  # with its driver, which few need

    found: list[Row] = []

    def ask() -> None:
        try:
            found.extend(look(address, sql, *params))
        except OpsError:  # what is wrong is said by whoever opens it for work
            return

    thread = threading.Thread(target=ask, name="glance", daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return list(found)
