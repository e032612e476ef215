"""Idempotency keys: per agent, kept 7 days, bound when a change is committed or a record settled."""

from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.domain.calls import Call
from ops_mcp.store.database import Transaction

KEY_LIFE = timedelta(days=7)


class Bound(NamedTuple):
    """What a key stands for. `result` is the stored JSON of a settled record; a change's result is its deployment's state now."""

    tool: str
    digest: str
    call: str
    operation: str | None
    deployment: str | None
    result: str | None


def find(tx: Transaction, agent: str, key: str, at: datetime) -> Bound | None:
    """What this agent bound the key to within its life."""
    rows = tx.fetch(
        "SELECT tool, digest, call, operation, deployment, result FROM idempotency WHERE agent = ? AND key = ? AND bound_at > ?",
        agent, key, (at - KEY_LIFE).isoformat(),
    )  # fmt: skip
    return Bound(*rows[0]) if rows else None


def bind(tx: Transaction, agent: str, call: Call, *, operation: str | None, deployment: str | None, result: str | None) -> None:
    """Bind the call's key; an expired binding of the same key is replaced. Nothing happens for a call without a key."""
    if call.idempotency_key is None:
        return
    tx.execute(
        "INSERT INTO idempotency (agent, key, tool, digest, call, operation, deployment, result, bound_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent, key) DO UPDATE SET tool = excluded.tool,"
        " digest = excluded.digest, call = excluded.call, operation = excluded.operation,"
        " deployment = excluded.deployment, result = excluded.result, bound_at = excluded.bound_at",
        agent, call.idempotency_key, call.tool, call.digest, call.id, operation, deployment, result, call.at.isoformat(),
    )  # fmt: skip


def forget_before(tx: Transaction, at: datetime) -> None:
    tx.execute("DELETE FROM idempotency WHERE bound_at <= ?", (at - KEY_LIFE).isoformat())
