"""What admitted calls still hold: the index of calls, and of their operations, that have not been settled."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.calls import Call, Cost
from ops_mcp.store.counters import Charge
from ops_mcp.store.database import Row, Transaction


class Reservation(NamedTuple):
    """Budget held for one call. `holder` names the process that admitted it; with an `operation` two settlements are awaited."""

    call: str
    caller: str
    charges: tuple[Charge, ...]
    cost: Cost
    admitted_at: datetime
    holder: str
    operation: str | None
    call_settled: bool
    operation_settled: bool


_COLUMNS = "call, caller, scopes, calls, tokens, usd_micros, admitted_at, holder, operation, call_settled, operation_settled"


def insert(tx: Transaction, call: Call, caller: str, charges: Sequence[Charge], holder: str) -> None:
    tx.execute(
        "INSERT INTO reservations (call, caller, scopes, calls, tokens, usd_micros, admitted_at, holder)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        call.id, caller, json.dumps(charges), call.ceiling.calls, call.ceiling.tokens, call.ceiling.usd_micros,
        call.at.isoformat(), holder,
    )  # fmt: skip


def move_to(tx: Transaction, call: str, operation: str) -> None:
    """The operation settles the money that the call reserved."""
    tx.execute("UPDATE reservations SET operation = ? WHERE call = ?", operation, call)


def remove(tx: Transaction, call: str) -> None:
    tx.execute("DELETE FROM reservations WHERE call = ?", call)


def mark_call_settled(tx: Transaction, held: Reservation, cost: Cost) -> None:
    """The call itself is settled at `cost`; the row goes when its operation is settled too."""
    if held.operation_settled:
        remove(tx, held.call)
        return
    tx.execute(
        "UPDATE reservations SET call_settled = 1, tokens = ?, usd_micros = ? WHERE call = ?",
        cost.tokens, cost.usd_micros, held.call,
    )  # fmt: skip


def mark_operation_settled(tx: Transaction, held: Reservation) -> None:
    """The operation is settled; the row goes when the call that waits for it is settled too."""
    if held.call_settled:
        remove(tx, held.call)
        return
    tx.execute("UPDATE reservations SET operation_settled = 1 WHERE call = ?", held.call)


def of_call(tx: Transaction, call: str) -> Reservation | None:
    rows = tx.fetch(f"SELECT {_COLUMNS} FROM reservations WHERE call = ?", call)
    return _reservation(rows[0]) if rows else None


def unsettled(tx: Transaction) -> list[Reservation]:
    """Calls that nobody has settled yet, the oldest 500."""
    rows = tx.fetch(f"SELECT {_COLUMNS} FROM reservations WHERE call_settled = 0 ORDER BY call LIMIT 500")
    return [_reservation(row) for row in rows]


def _reservation(row: Row) -> Reservation:
    call, caller, scopes, calls, tokens, usd_micros, admitted_at, holder, operation, call_settled, operation_settled = row
    return Reservation(
        call,
        caller,
        tuple(Charge(*pair) for pair in json.loads(scopes)),
        Cost(calls=calls, tokens=tokens, usd_micros=usd_micros),
        datetime.fromisoformat(admitted_at),
        holder,
        operation,
        bool(call_settled),
        bool(operation_settled),
    )
