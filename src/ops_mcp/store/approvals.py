"""Approvals as the call's path sees them: asked for, found, consumed. Answers are the operator's and live with people."""

from datetime import datetime

from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.releases import Plan
from ops_mcp.governance.approvals import Decision, message, usable
from ops_mcp.governance.attesting import Attestation
from ops_mcp.store import attestations
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.keys import operator_signed
from ops_mcp.store.people import operator_named


class StoredApprovals:
    """ports.Approvals over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, approval: str) -> Approval | None:
        rows = await self._database.fetch("SELECT body FROM approvals WHERE id = ?", approval)
        return Approval.model_validate_json(rows[0][0]) if rows else None


def open_requests(tx: Transaction, agent: str, at: datetime) -> tuple[Approval, ...]:
    """The agent's requests that still wait for an answer."""
    rows = tx.fetch(
        "SELECT body FROM approvals WHERE agent = ? AND state = ? AND answer_by > ? ORDER BY id",
        agent, ApprovalState.pending.value, at.isoformat(),
    )  # fmt: skip
    return tuple(Approval.model_validate_json(row[0]) for row in rows)


def granted(tx: Transaction, agent: str, plan_digest: str, at: datetime) -> tuple[Approval, str] | None:
    """A grant for exactly this plan that can still be used, with the operator's signature."""
    rows = tx.fetch(
        "SELECT body, signature FROM approvals WHERE agent = ? AND plan_digest = ? AND state = ? ORDER BY id DESC",
        agent, plan_digest, ApprovalState.granted.value,
    )  # fmt: skip
    for body, signature in rows:
        approval = Approval.model_validate_json(body)
        if signature and usable(approval, plan_digest=plan_digest, at=at):
            return approval, str(signature)
    return None


def is_signed(tx: Transaction, approval: Approval, signature: str) -> bool:
    """Whether the operator who answered still stands and signed exactly this grant."""
    operator = operator_named(tx, approval.answered_by or "")
    if operator is None or operator.revoked_at is not None or approval.answered_at is None:
        return False
    signed = message(approval, Decision.approve, operator=operator.name, at=approval.answered_at)
    if signature.startswith("{"):
        try:
            attestation = Attestation.model_validate_json(signature)
        except ValueError:
            return False
        return attestations.stands(tx, attestation, signed, operator=operator, at=approval.answered_at)
    return operator_signed(operator.public_key, signed, signature)


def insert(tx: Transaction, approval: Approval, plan: Plan) -> None:
    """Store a new request with the plan it is bound to, and record it."""
    tx.execute(
        "INSERT INTO approvals (id, plan_digest, agent, environment, service, state, body, plan, call, signature, answer_by,"
        " use_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, NULL)",
        approval.id, approval.plan_digest, approval.agent, approval.environment, approval.service, approval.state.value,
        approval.model_dump_json(), plan.model_dump_json(), approval.call, approval.answer_by.isoformat(),
    )  # fmt: skip
    tx.record(
        Record(
            kind="approval.requested",
            at=approval.requested_at,
            call=approval.call,
            caller=approval.agent,
            tool=plan.tool,
            environment=plan.environment,
            service=plan.service,
            approval=approval.id,
            data={"plan_digest": approval.plan_digest, "plan": plan.json_value(), "answer_by": approval.answer_by.isoformat()},
        )
    )


def consume(tx: Transaction, approval: Approval, *, deployment: str | None, at: datetime, call: str) -> bool:
    """Use a grant up; False when somebody else did first."""
    used = approval.evolve(state=ApprovalState.consumed, deployment=deployment)
    changed = tx.execute(
        "UPDATE approvals SET state = ?, body = ? WHERE id = ? AND state = ?",
        ApprovalState.consumed.value, used.model_dump_json(), approval.id, ApprovalState.granted.value,
    )  # fmt: skip
    if changed:
        tx.record(
            Record(
                kind="approval.consumed",
                at=at,
                call=call,
                caller=approval.agent,
                environment=approval.environment,
                service=approval.service,
                approval=approval.id,
                deployment=deployment,
            )
        )
    return changed == 1


def expire(tx: Transaction, at: datetime) -> int:
    """Make requests and grants past their time terminal, each recorded; how many."""
    rows = tx.fetch(
        "SELECT body FROM approvals WHERE (state = ? AND answer_by <= ?) OR (state = ? AND use_by <= ?) LIMIT 100",
        ApprovalState.pending.value, at.isoformat(), ApprovalState.granted.value, at.isoformat(),
    )  # fmt: skip
    for (body,) in rows:
        approval = Approval.model_validate_json(body).evolve(state=ApprovalState.expired)
        tx.execute(
            "UPDATE approvals SET state = ?, body = ? WHERE id = ?", approval.state.value, approval.model_dump_json(), approval.id
        )
        tx.record(
            Record(
                kind="approval.expired",
                at=at,
                call=approval.call,
                caller=approval.agent,
                environment=approval.environment,
                service=approval.service,
                approval=approval.id,
            )
        )
    return len(rows)
