"""Units of work, and the batches in which the writer thread commits them: one transaction, one signed head."""

import asyncio
import contextlib
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from ops_mcp.domain.outcomes import Record
from ops_mcp.store.chain import Head, Signer, chained, signed_head
from ops_mcp.store.seam import Connection, Row, SqlValue
from ops_mcp.values import canonical, sayable

T = TypeVar("T")

_CONNECTIONS = itertools.count()

_AGAIN_SECONDS = 0.1

LEDGER_ROWS = 300
"""Most ledger rows in one INSERT; both databases take more than 32,000 parameters."""


class Transaction:
    """What a unit of work may do. Valid only while the unit runs, in the writer thread, inside the batch's transaction.

    Ledger rows, and what other modules `hold`, are written together at the end of the batch, or before a statement that names
    their table: a hundred calls then cost a handful of statements.
    """

    __slots__ = ("_connection", "_head", "_held", "_rows", "memory", "undone", "wrote")

    def __init__(self, connection: Connection, head: Head, undone: int, memory: dict[str, Any]) -> None:
        self._connection = connection
        self.undone = undone
        """How many transactions of this process were undone so far: what was remembered across one may never have been true."""
        self.wrote = False
        """Whether rows were changed that readers ask for: anything but the ledger and what is held."""
        self._head = head
        self._rows: list[SqlValue] = []
        self._held: dict[str, Callable[[Transaction], None]] = {}
        self.memory = memory
        """What modules remember of a table, by its name, until a statement or another process changes it. See `_Known`."""

    @property
    def head(self) -> Head:
        """The end of the chain, this transaction's own records included."""
        return self._head

    def fetch(self, sql: str, *params: SqlValue) -> list[Row]:
        """All rows of a query, as of this transaction."""
        self._write_what_is_named(sql)
        return self._connection.execute(sql, params).fetchall()

    def execute(self, sql: str, *params: SqlValue) -> int:
        """Run a statement; the number of rows it changed."""
        self._write_what_is_named(sql)
        self.wrote = True
        for table in [table for table in self.memory if table in sql]:
            del self.memory[table]
        return self._connection.execute(sql, params).rowcount

    def fetch_past(self, sql: str, *params: SqlValue) -> list[Row]:
        """Like `fetch` for a module that asks for rows it does not hold itself."""
        return self._connection.execute(sql, params).fetchall()

    def execute_held(self, sql: str, *params: SqlValue) -> None:
        """Run a statement that writes what is in `memory`, which therefore stays true."""
        self._connection.execute(sql, params)

    def hold(self, table: str, write: "Callable[[Transaction], None]") -> None:
        """Have rows of `table` that a module keeps in `memory` written by `write`, at the latest at the end of the batch."""
        self._held[table] = write

    def record(self, record: Record) -> int:
        """Append to the ledger; the record's number. Committed and signed with everything else in this transaction."""
        return self.record_body(body_of(record))

    def record_body(self, body: bytes) -> int:
        """Like `record`, for a body that was made before."""
        number, link = self._head.number + 1, chained(self._head.hash, body)
        self._rows += (number, body.decode(), link)
        self._head = Head(number, link)
        return number

    def write_held(self) -> None:
        """Write everything that is held back."""
        held, self._held = self._held, {}
        for write in held.values():
            write(self)
        for start in range(0, len(self._rows), LEDGER_ROWS * 3):
            rows = self._rows[start : start + LEDGER_ROWS * 3]
            places = ", ".join(["(?, ?, ?)"] * (len(rows) // 3))
            self._connection.execute(f"INSERT INTO ledger (id, body, hash) VALUES {places}", rows)
        self._rows = []

    def _write_what_is_named(self, sql: str) -> None:
        if (self._rows and "ledger" in sql) or (self._held and any(table in sql for table in self._held)):
            self.write_held()


@dataclass(eq=False, slots=True)
class Work(Generic[T]):
    """A queued unit. Whoever takes `claim` first decides: the writer to run it, or its caller to abandon it."""

    unit: Callable[[Transaction], T]
    done: "asyncio.Future[T] | None"
    vital: bool
    claim: threading.Lock = field(default_factory=threading.Lock)
    value: T | None = None
    error: BaseException | None = None
    finished: bool = False

    def finish(self, value: T | None, error: BaseException | None) -> None:
        self.error, self.value, self.finished = error, value, True

    def judged(self) -> tuple[T] | None:
        """The value, unless the unit has not run or has failed. Another thread may be in `finish`: what is set last there is
        read first here, so that a value is never that of a failure."""
        if not self.finished:
            return None
        value = self.value
        return (cast(T, value),) if self.error is None else None


AnyWork: TypeAlias = Work[Any]


class _Known(NamedTuple):
    """What this connection knows of the database since its last commit. `version` moves when anybody else commits; while it
    stands still inside our own transaction, nothing that we remember can have changed."""

    version: int
    head: Head
    memory: dict[str, Any]


class Writing(ABC):
    """One connection's batches. A batch is one transaction; what a unit raises undoes that unit alone."""

    def __init__(self, connection: Connection, signer: Signer) -> None:
        self.connection = connection
        self._signer = signer
        # Unlike that of any connection before: one that failed at its COMMIT takes back what was remembered across it, too.
        self._undone = next(_CONNECTIONS) << 32
        self._known: _Known | None = None
        self._after: _Known | None = None
        self._wrote = False
        self._durable = True
        self._signed: Head | None = None
        self.state = time.monotonic_ns()
        """Another number whenever readers may find something else, also when the connection was opened anew. While a batch is
        judged it is that of what readers find until then."""

    @abstractmethod
    def begin(self, *, seconds: float, durable: bool = True) -> None:
        """Begin the batch's transaction, waiting that long for somebody who writes past our turn, as a person may.

        One that is not `durable` at its commit is left to the kernel's cache; whoever commits sees to the rest. Raises what
        `is_the_databases` knows when the time is over; nothing has changed then.
        """

    @abstractmethod
    def version(self) -> int:
        """Another number when anybody else has committed since. Asked once, right after the transaction began."""

    @abstractmethod
    def refuse_other_schema(self) -> None:
        """Raises `Unavailable` where this release must not write. Asked when somebody else has committed."""

    @abstractmethod
    def is_the_databases(self, error: Exception) -> bool:
        """Whether the database is what failed, and not what one unit asked of it."""

    def judge(self, batch: Sequence[AnyWork]) -> None:
        """Run every unit that its caller has not abandoned; nothing is durable before `commit`. When one fails, all run again,
        each in a savepoint."""
        try:
            # Not before: while another process holds the database, callers may still abandon their work when their time is up.
            taken = [work for work in batch if work.claim.acquire(blocking=False)]
            self._after = self._run_together(taken)
            if self._after is None:
                self._undo()
                self.begin(seconds=_AGAIN_SECONDS, durable=self._durable)
                self._run_apart(taken)
        except BaseException:
            self._give_up()
            raise

    def commit(self) -> None:
        """Make what was judged durable."""
        try:
            self._commit()
            self._known, self._after = self._after, None
            self.state, self._wrote = self.state + self._wrote, False
        except BaseException:
            self._give_up()
            raise

    def close(self) -> None:
        self.connection.close()

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    def _give_up(self) -> None:
        with contextlib.suppress(Exception):  # what keeps it from being undone is why it is given up
            self._undo()

    def _undo(self) -> None:
        self._undone += 1
        self._known = self._after = None
        self.connection.execute("ROLLBACK")

    def _begin(self) -> _Known:
        """What is known at the start of a transaction: all that was, or what must be read again because others wrote."""
        known, self._known, self._signed = self._known, None, None
        version = self.version()
        if known is not None and known.version == version:
            return known
        self.state += 1
        self.refuse_other_schema()
        return _Known(version, _read_head(self.connection), {})

    def _run_together(self, batch: Sequence[AnyWork]) -> _Known | None:
        """What is known after the batch, or None where a unit failed."""
        known = self._begin()
        transaction = Transaction(self.connection, known.head, self._undone, known.memory)
        for work in batch:
            try:
                work.finish(work.unit(transaction), None)
            except Exception as error:  # whatever it is, the unit is run again alone, then it goes to its caller
                if self.is_the_databases(error):
                    raise
                return None
        try:
            transaction.write_held()
        except Exception as error:  # what one unit held back cannot be written; run apart, it is that unit's own error
            if self.is_the_databases(error):
                raise
            return None
        self._sign(known.head, transaction.head)
        self._wrote = transaction.wrote
        return known._replace(head=transaction.head)

    def _run_apart(self, batch: Sequence[AnyWork]) -> None:
        before = head = self._begin().head
        self._wrote = True
        for work in batch:
            self.connection.execute("SAVEPOINT unit")
            transaction = Transaction(self.connection, head, self._undone, {})
            try:
                value = work.unit(transaction)
                transaction.write_held()
            except Exception as error:  # a unit's own error belongs to its caller, and must not take others along
                if self.is_the_databases(error):
                    raise
                self._undone += 1
                self.connection.execute("ROLLBACK TO unit")
                work.finish(None, error)
            else:
                head = transaction.head
                work.finish(value, None)
            self.connection.execute("RELEASE unit")
        self._sign(before, head)

    def _sign(self, before: Head, head: Head) -> None:
        if head.number == before.number:
            return
        signed = signed_head(self._signer, head)
        self.connection.execute(
            "INSERT INTO ledger_heads (id, hash, key, signature) VALUES (?, ?, ?, ?)",
            (signed.number, signed.hash, signed.key, signed.signature),
        )
        self._signed = head


def body_of(record: Record) -> bytes:
    """The record as the ledger keeps it. None vanishes because of what somebody put into it."""
    body = record.json_value()
    try:
        return canonical(body)
    except ValueError:
        return canonical(sayable(body))


def _read_head(connection: Connection) -> Head:
    row = connection.execute("SELECT id, hash FROM ledger ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        row = connection.execute(
            "SELECT last_id, json_extract(body, '$.last_hash') FROM ledger_stubs ORDER BY last_id DESC LIMIT 1"
        ).fetchone()
    return Head(*row) if row else Head.genesis()


__all__ = ["AnyWork", "Row", "SqlValue", "Transaction", "Work", "Writing", "body_of"]
