"""A team's database: PostgreSQL, which any number of servers on any hosts share (docs/decisions/postgres.md).

Batches of all processes are one after the other, as in a file: each begins with the installation's advisory lock. The writer's
thread has a connection and an event loop of its own; what is read comes over a pool in the app's loop.
"""

import asyncio
import importlib
import re
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar
from zlib import crc32

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import NotConfigured, Unavailable
from ops_mcp.store.chain import Signer
from ops_mcp.store.outages import MaybeWritten, from_postgres, is_postgres_itself
from ops_mcp.store.postgres_schema import require_schema
from ops_mcp.store.seam import Connection, Row, SqlValue
from ops_mcp.store.transaction import AnyWork, Writing

T = TypeVar("T")
Driver: TypeAlias = Any
"""A connection or a pool of asyncpg's, which says nothing of its types."""

CONNECT_SECONDS, STATEMENT_SECONDS = 5.0, 30.0
_DOUBT = 4.0
"""The writer looks for a batch whose COMMIT was not answered for so many times as long as it waits for its turn."""
_LOOK_AGAIN_SECONDS = 0.2


def _installed() -> Driver:
    try:
        return importlib.import_module("asyncpg")
    except ModuleNotFoundError as error:
        raise NotConfigured("The driver for PostgreSQL is not installed.", hint="Run: pip install 'ops-mcp[postgres]'") from error


_READERS = 4
_asyncpg: Driver = _installed()
_LOST: tuple[type[Exception], ...] = (_asyncpg.PostgresConnectionError, _asyncpg.InterfaceError, ConnectionError)
_FAILURES: tuple[type[Exception], ...] = (_asyncpg.PostgresError, _asyncpg.InterfaceError, OSError, TimeoutError)
_UNDONE: type[Exception] = _asyncpg.InFailedSQLTransactionError
_OURS = 0x0B5_3C9
_TURN = "SELECT pg_advisory_xact_lock({key})"
_NUMBERED = "WITH turn AS MATERIALIZED ({turn}) SELECT nextval('batches'), CAST(pg_current_xact_id() AS TEXT) FROM turn"
_QUOTED_OR_MARK = re.compile(r"'(?:[^']|'')*'|\?")


class Statement(NamedTuple):
    """A statement as the driver takes it."""

    text: str
    finds_rows: bool


@lru_cache(maxsize=4096)
def translated(sql: str) -> Statement:
    """`?` outside of quotes becomes `$1`, `$2`, and so on."""
    count = 0

    def mark(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] != "?":
            return found[0]
        count += 1
        return f"${count}"

    text = _QUOTED_OR_MARK.sub(mark, sql)
    begins = text.lstrip().split(None, 1)[0].upper()
    return Statement(text, begins in {"SELECT", "WITH", "VALUES"} or " RETURNING " in text)


def sayable(params: Sequence[SqlValue]) -> Sequence[SqlValue]:
    """PostgreSQL keeps no NUL in text: it becomes U+FFFD. Bodies are JSON, where it is escaped and stays as it is."""
    return [p.replace("\0", "\ufffd") if type(p) is str and "\0" in p else p for p in params]


class Found(NamedTuple):
    """What a statement came to."""

    rows: list[Row]
    rowcount: int

    def fetchone(self) -> Row | None:
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[Row]:
        return self.rows


class ServerConnection:
    """`seam.Connection` over the driver: one thread's, which waits in a loop of its own. Raises the driver's errors."""

    def __init__(self, address: Address, *, lock_seconds: float) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self.driver: Driver = self.wait(_connected(address, lock_seconds))
        except BaseException:
            self._loop.close()
            raise
        self.turn = _TURN.format(key=f"{_OURS}, {crc32(address.room.encode()) - 2**31}")
        """Waits until no other process of this installation writes, and keeps them waiting until the transaction ends."""
        self.numbered = _NUMBERED.format(turn=self.turn)
        """The same, and tells the batch's number and the transaction's own id."""

    @property
    def is_lost(self) -> bool:
        return self.driver.is_closed()

    def execute(self, sql: str, parameters: Sequence[SqlValue] = (), /) -> Found:
        statement = translated(sql)
        if statement.finds_rows:
            rows = [tuple(row) for row in self.wait(self.driver.fetch(statement.text, *sayable(parameters)))]
            return Found(rows, len(rows))
        said = self.wait(self.driver.execute(statement.text, *sayable(parameters)))
        if sql == "COMMIT" and said != "COMMIT":  # of a transaction that had failed, which PostgreSQL undoes without an error
            raise _UNDONE("the transaction was undone")
        count = said.rpartition(" ")[2]
        return Found([], int(count) if count.isdigit() else -1)

    def script(self, sql: str) -> None:
        """Several statements without parameters, for as long as they take."""
        self.wait(self.driver.execute(sql, timeout=3600))

    def wait(self, coming: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            coming.close()
            raise ConnectionResetError("the connection was closed")
        return self._loop.run_until_complete(coming)

    def close(self) -> None:
        """At once: what was not committed is undone by the server."""
        if self._loop.is_closed():
            return
        self.driver.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class ServerWriting(Writing):
    """Batches in a PostgreSQL. A connection that was lost between two of them is made anew, which costs nothing but time."""

    def __init__(
        self, connect_again: Callable[[], ServerConnection], signer: Callable[[Connection], Signer], *, doubt_seconds: float
    ) -> None:
        self._connect = connect_again
        self._doubt_seconds = doubt_seconds
        self._server = connect_again()
        try:
            require_schema(self._server)
            super().__init__(self._server, signer(self._server))
        except BaseException:
            self._server.close()
            raise
        self._number: int = 0
        self._version: int = 0
        self._transaction = ""

    def begin(self, *, seconds: float, durable: bool = True) -> None:  # noqa: ARG002  # the session has its own lock_timeout
        try:
            self._begin_here()
        except Exception as error:
            if not self.is_the_databases(error) or not self._server.is_lost:
                raise
            self._anew()
            self._begin_here()

    def version(self) -> int:
        """Batches are numbered as they begin; while no number is missing between ours, nobody else wrote."""
        return self._version

    def refuse_other_schema(self) -> None:
        require_schema(self._server)
        row = self._server.execute("SELECT value FROM facts WHERE name = 'ledger_id'").fetchone()
        if row is None or row[0] != self._signer.ledger:
            raise Unavailable(
                "The database holds another ledger than when this server opened it.",
                hint="Restart this server; `ops-mcp audit verify` with an anchor tells which database is the right one.",
            )

    def is_the_databases(self, error: Exception) -> bool:
        return is_postgres_itself(error)

    def close(self) -> None:
        self._server.close()

    def _begin_here(self) -> None:
        self._server.execute("BEGIN")
        row = self._server.execute(self._server.numbered).rows[0]
        number, self._transaction = int(row[0]), str(row[1])
        if number != self._number + 1:
            self._version = number
        self._number = number

    def _anew(self) -> None:
        self._server.close()
        self._server = self.connection = self._connect()
        self._known, self._number = None, 0

    def _commit(self) -> None:
        """A COMMIT without an answer may have been carried out: then it is looked for, and never done again."""
        try:
            self._server.execute("COMMIT")
        except _UNDONE:
            raise
        except Exception as error:
            if not self._was_committed(error):
                raise _not_written() from error

    def _was_committed(self, error: Exception) -> bool:
        """Raises `MaybeWritten` where it cannot be learnt in time."""
        until = time.monotonic() + self._doubt_seconds
        while True:
            try:
                self._anew()
                return self._found()
            except Exception as failed:
                if not self.is_the_databases(failed):
                    raise
                if time.monotonic() >= until:
                    raise MaybeWritten from error
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _found(self) -> bool:
        """Looked for once it is our turn: the transaction that was not answered had it, and has ended then."""
        signed, transaction = self._signed, self._transaction
        self._server.execute("BEGIN")
        self._server.execute(self._server.turn)
        if signed is not None:
            rows = self._server.execute("SELECT hash FROM ledger WHERE id = ?", (signed.number,)).rows
            found = rows == [(signed.hash,)]
        else:
            said = self._server.execute("SELECT pg_xact_status(CAST(CAST(? AS TEXT) AS xid8))", (transaction,)).rows[0][0]
            if said not in {"committed", "aborted"}:
                raise MaybeWritten
            found = said == "committed"
        self._server.execute("ROLLBACK")
        return found


class ServerStorage:
    """`seam.Storage` in a PostgreSQL."""

    def __init__(self, address: Address, signer: Callable[[Connection], Signer], *, lock_seconds: float) -> None:
        self._address = address
        self._signer = signer
        self._lock_seconds = lock_seconds
        self._pool: Driver = None

    async def fetch(self, sql: str, params: Sequence[SqlValue]) -> list[Row]:
        text, given = translated(sql).text, sayable(params)
        try:
            try:
                return await self._fetch(text, given)
            except _LOST:
                return await self._fetch(text, given)  # the server was restarted since; to read twice does no harm
        except _FAILURES as error:
            raise self.unavailable(error) from error

    async def close_readers(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def take_turn(self) -> None:
        """The transaction takes it as it begins."""

    def take_turn_if_free(self) -> bool:
        return False

    def give_turn_back(self) -> None:
        """The transaction gives it back as it ends."""

    def refuse_below(self, floor: int, batch: Sequence[AnyWork]) -> None:
        """The server's disk is not ours to look at."""

    def open(self, *, doubtful: bool) -> Writing:  # noqa: ARG002  # a server that answers COMMIT has it on its disk
        return ServerWriting(
            lambda: ServerConnection(self._address, lock_seconds=self._lock_seconds),
            self._signer,
            doubt_seconds=_DOUBT * self._lock_seconds,
        )

    def unavailable(self, error: Exception) -> Unavailable:
        return from_postgres(error, self._address.shown)

    def close(self) -> None:
        """Connections are closed by those who hold them."""

    async def _fetch(self, text: str, params: Sequence[SqlValue]) -> list[Row]:
        if self._pool is None:
            self._pool = _asyncpg.create_pool(
                self._address.url.get_secret_value(),
                min_size=0,
                max_size=_READERS,
                init=_dress,
                reset=_as_it_is,
                timeout=CONNECT_SECONDS,
                command_timeout=STATEMENT_SECONDS + 5,
                statement_cache_size=512,
                server_settings=_settings(self._address, self._lock_seconds, read_only=True),
            )
        pool = await self._pool
        async with pool.acquire(timeout=CONNECT_SECONDS + STATEMENT_SECONDS) as connection:
            return [tuple(row) for row in await connection.fetch(text, *params)]


def _settings(address: Address, lock_seconds: float, *, read_only: bool) -> dict[str, str]:
    """A server that stands still with the turn in its hands loses it, and with it the transaction."""
    return {
        "application_name": "ops-mcp",
        "search_path": address.room,
        "statement_timeout": f"{STATEMENT_SECONDS:g}s",
        "lock_timeout": f"{max(1, int(lock_seconds * 1000))}ms",
        "idle_in_transaction_session_timeout": f"{max(1000, int(lock_seconds * 2000))}ms",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "on" if read_only else "off",
        "standard_conforming_strings": "on",
    }


async def _connected(address: Address, lock_seconds: float) -> Driver:
    """A connection whose every wait has an end, on the server's side too."""
    connection: Driver = await _asyncpg.connect(
        address.url.get_secret_value(),
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS + 5,
        statement_cache_size=512,
        server_settings=_settings(address, lock_seconds, read_only=False),
    )
    await _dress(connection)
    return connection


async def _dress(connection: Driver) -> None:
    """A sum of our integers is one as well, not a Decimal."""
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text")


async def _as_it_is(_connection: Driver) -> None:
    """What only reads leaves nothing behind that would have to be asked away, once more over the network, after each query."""


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _not_written() -> Unavailable:
    return Unavailable(
        "The ledger cannot be written: the connection was lost, and what was being written is not there.",
        hint="Nothing of it was done. Try again; an operator can run `ops-mcp doctor`.",
        retry_after_seconds=1.0,
    )


def look(address: Address, sql: str, *params: SqlValue) -> list[Row]:
    """The rows of one query. Not for a thread with an event loop. Raises `Unavailable`."""
    with connected(address) as connection:
        return connection.execute(sql, params).rows


@contextmanager
def connected(address: Address) -> Generator[ServerConnection]:
    """A connection for a thread without an event loop. Raises `Unavailable` for what the server does not do."""
    try:
        connection = ServerConnection(address, lock_seconds=STATEMENT_SECONDS)
        try:
            yield connection
        finally:
            connection.close()
    except _FAILURES as error:
        raise from_postgres(error, address.shown) from error
