"""What the store asks of a database, whichever it is. `files` and `postgres` answer; nothing else here knows a driver.

`Connection` is the small part of DB-API that units of work use, with `?` marks, so that `sqlite3.Connection` is one as it is:
the embedded database pays nothing for the other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ops_mcp.errors import Unavailable

if TYPE_CHECKING:
    from ops_mcp.store.transaction import AnyWork, Writing

SqlValue: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Any, ...]


class Rows(Protocol):
    """What a statement found, or how many rows it changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """The writer's. Outside a transaction every statement is its own."""

    def execute(self, sql: str, parameters: Sequence[SqlValue] = (), /) -> Rows: ...

    def close(self) -> None: ...


class Storage(Protocol):
    """One database for one process. Reading is done in the event loop, everything else where the batch is judged."""

    async def fetch(self, sql: str, params: Sequence[SqlValue]) -> list[Row]:
        """Raises `Unavailable`."""
        ...

    async def close_readers(self) -> None: ...

    def take_turn(self) -> None:
        """Wait until no other process writes, where that is not the transaction's own beginning."""
        ...

    def take_turn_if_free(self) -> bool: ...

    def give_turn_back(self) -> None: ...

    def refuse_below(self, floor: int, batch: "Sequence[AnyWork]") -> None:
        """Refuse what is not vital where less than `floor` bytes are free."""
        ...

    def open(self, *, doubtful: bool) -> "Writing":
        """The writer's connection, at this release's schema; `doubtful`: the disk did not take what was committed before."""
        ...

    def unavailable(self, error: Exception) -> Unavailable:
        """A failure of this database in ops-mcp's own words."""
        ...

    def close(self) -> None: ...
