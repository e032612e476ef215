"""Rows of operations: the journal, the lock of a place, and what stands in an operation's way. Each write is one unit of work."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.releases import Deployment, Operation, OperationId, StepRecord
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.store.deployments import change, deployment_by_id, step_of
from ops_mcp.store.halts import EVERYONE_KILLED, covering_freeze, everyone_is_killed
from ops_mcp.values import Json, JsonObject

StepEvent: TypeAlias = Literal["begun", "done", "failed", "undo_begun", "undone", "undo_failed", "note"]

_OPERATION = "SELECT id, deployment, call, agent, plan, fence, final FROM operations"
_WATCHED = (
    "SELECT id, deployment, call, agent, plan, fence, final FROM operations WHERE final = 0 AND deployment IN"
    " (SELECT id FROM deployments WHERE service = ? AND environment = ? AND id <> ? AND state = 'watching')"
)
_STEPS = "SELECT operation, sequence, step, event, at, detail, data FROM steps"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line for the journal, before it has a number."""

    step: str
    event: StepEvent
    detail: str = ""
    data: JsonObject = field(default_factory=dict[str, Json])


class Halted(NamedTuple):
    """What the kill switch, the freeze and a cancel request say about an operation now, and whether it is over."""

    killed: bool
    cancel_requested: bool
    over: bool = False
    freeze_reason: str | None = None


async def open_operations(database: Database) -> tuple[Operation, ...]:
    """Everything that is committed and not final, oldest first."""
    return tuple(operation_of(row) for row in await database.fetch(f"{_OPERATION} WHERE final = 0 ORDER BY created_at, id"))


def operation_of_deployment(tx: Transaction, deployment: str) -> Operation | None:
    rows = tx.fetch(f"{_OPERATION} WHERE deployment = ?", deployment)
    return operation_of(rows[0]) if rows else None


def insert(tx: Transaction, operation: Operation, *, at: datetime) -> None:
    tx.execute(
        "INSERT INTO operations (id, deployment, call, agent, plan, fence, final, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        operation.id,
        operation.deployment,
        operation.call,
        operation.agent,
        operation.plan.model_dump_json(),
        operation.fence,
        int(operation.final),
        at.isoformat(),
    )


def claim(tx: Transaction, operation: OperationId, fence: int) -> None:
    """Note under which fence the operation advances from now on."""
    tx.execute("UPDATE operations SET fence = ? WHERE id = ?", fence, operation)


def finish(tx: Transaction, operation: Operation) -> None:
    """The operation is over: no worker takes it up again, and its place is free."""
    tx.execute("UPDATE operations SET final = 1 WHERE id = ?", operation.id)
    unlock(tx, operation.deployment)


def any_open(tx: Transaction) -> bool:
    return bool(tx.fetch("SELECT 1 FROM operations WHERE final = 0 LIMIT 1"))


def append(tx: Transaction, operation: Operation, entry: Entry, *, at: datetime) -> StepRecord:
    """Write one line of the journal and its ledger record."""
    rows = tx.fetch("SELECT MAX(sequence) FROM steps WHERE operation = ?", operation.id)
    sequence = (rows[0][0] or 0) + 1
    tx.execute(
        "INSERT INTO steps (operation, sequence, step, event, at, detail, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
        operation.id,
        sequence,
        entry.step,
        entry.event,
        at.isoformat(),
        entry.detail,
        json.dumps(entry.data),
    )
    data: JsonObject = {**entry.data, "sequence": sequence, "step": entry.step, "event": entry.event, "detail": entry.detail}
    tx.record(record_of(operation, kind="operation.step", at=at, data=data))
    return StepRecord(
        operation=operation.id, sequence=sequence, step=entry.step, event=entry.event, at=at, detail=entry.detail, data=entry.data
    )


def record_of(operation: Operation, *, kind: str, at: datetime, data: JsonObject) -> Record:
    """A ledger record about this operation, attributed to the agent whose plan it is."""
    plan = operation.plan
    return Record(
        kind=kind,
        at=at,
        call=operation.call,
        caller=operation.agent,
        tool=plan.tool,
        environment=plan.environment,
        service=plan.service,
        deployment=operation.deployment,
        operation=operation.id,
        data=data,
    )


def journal_of(tx: Transaction, operation: OperationId) -> tuple[StepRecord, ...]:
    return tuple(step_of(row) for row in tx.fetch(f"{_STEPS} WHERE operation = ? ORDER BY sequence", operation))


async def journal(database: Database, operation: OperationId) -> tuple[StepRecord, ...]:
    rows = await database.fetch(f"{_STEPS} WHERE operation = ? ORDER BY sequence", operation)
    return tuple(step_of(row) for row in rows)


def halted_in(tx: Transaction, operation: Operation) -> Halted:
    """What stops this operation, as of this transaction."""
    killed = tx.fetch("SELECT 1 FROM agents WHERE name = ? AND killed = 1", operation.agent)
    freeze = covering_freeze(tx, operation.plan.environment)
    return Halted(
        killed=bool(killed) or everyone_is_killed(tx),
        cancel_requested=deployment_by_id(tx, operation.deployment).cancel_requested,
        freeze_reason=freeze.reason if freeze else None,
    )


async def halted(database: Database, operation: Operation) -> Halted:
    """The same look without a transaction, for the ticks between steps; it does not look at freezes, which no longer matter."""
    rows = await database.fetch(
        "SELECT EXISTS (SELECT 1 FROM agents WHERE name = ? AND killed = 1) OR EXISTS (SELECT 1 FROM facts WHERE name = ?),"
        " (SELECT json_extract(body, '$.cancel_requested') FROM deployments WHERE id = ?),"
        " EXISTS (SELECT 1 FROM operations WHERE id = ? AND final = 1)",
        operation.agent,
        EVERYONE_KILLED,
        operation.deployment,
        operation.id,
    )
    return Halted(killed=bool(rows[0][0]), cancel_requested=rows[0][1] in {1, "true"}, over=bool(rows[0][2]))


def lock(tx: Transaction, deployment: Deployment, *, at: datetime, undoes: bool = False) -> str | None:
    """Take the lock of the deployment's place. None when it is ours now, else the deployment that keeps us out.

    A lock whose holder's operation is over is left from a crash and taken over. Deployments between their release and their
    verdict keep others out even where a rollback's commit has taken the lock from them. What `undoes` waits for no act that
    leaves alone what runs.
    """
    place = (deployment.service, deployment.environment)
    rows = tx.fetch("SELECT deployment FROM locks WHERE service = ? AND environment = ?", *place)
    holder = str(rows[0][0]) if rows else None
    busy = tx.fetch(
        "SELECT id FROM deployments WHERE service = ? AND environment = ? AND id <> ?"
        " AND state IN ('releasing', 'verifying', 'undoing')",
        *place,
        deployment.id,
    )
    held_by = [holder] if holder not in (None, deployment.id) and _is_open(tx, str(holder)) else []
    for other in (*held_by, *(str(row[0]) for row in busy)):
        if not undoes or deployment_by_id(tx, str(other)).releases:
            return other
    if holder != deployment.id:
        tx.execute("DELETE FROM locks WHERE service = ? AND environment = ?", *place)
        tx.execute(
            "INSERT INTO locks (service, environment, deployment, since) VALUES (?, ?, ?, ?)",
            *place,
            deployment.id,
            at.isoformat(),
        )
    return None


def unlock(tx: Transaction, deployment: str) -> None:
    """Free the place, if this deployment holds it."""
    tx.execute("DELETE FROM locks WHERE deployment = ?", deployment)


def watched_elsewhere(tx: Transaction, deployment: Deployment) -> tuple[Operation, ...]:
    """Open operations whose watch this deployment ends when its release begins."""
    rows = tx.fetch(_WATCHED, deployment.service, deployment.environment, deployment.id)
    return tuple(operation_of(row) for row in rows)


def request_cancel(tx: Transaction, deployment: str, *, by: str, at: datetime) -> Deployment:
    """Ask the worker to cancel and undo a deployment; written into its journal. It acts at its next look."""
    after = change(tx, deployment, lambda d: d.evolve(cancel_requested=True))
    operation = operation_of_deployment(tx, deployment)
    if operation is not None and not operation.final:
        append(tx, operation, Entry("cancel", "note", f"Cancel requested by {by}.", {"by": by}), at=at)
    return after


def operation_of(row: Row) -> Operation:
    id, deployment, call, agent, plan, fence, final = row
    return Operation.model_validate(
        {
            "id": id,
            "deployment": deployment,
            "call": call,
            "agent": agent,
            "plan": json.loads(plan),
            "fence": fence,
            "final": bool(final),
        }
    )


def _is_open(tx: Transaction, deployment: str) -> bool:
    return bool(tx.fetch("SELECT 1 FROM operations WHERE deployment = ? AND final = 0", deployment))
