"""Approvals as a state machine: asking, answering, expiring, using, and the bytes an answer is signed over. Stores nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState, CallId
from ops_mcp.domain.identity import Operator, OperatorName
from ops_mcp.domain.releases import Plan
from ops_mcp.errors import Code, Problem
from ops_mcp.values import canonical

_SIGNED_AS = b"ops-mcp approval answer 1\n"


class Terms(NamedTuple):
    """How long a request may wait, how long a grant may be used, how many requests one agent may have open, and the channel where
    people are told of them."""

    answer_within: timedelta = timedelta(minutes=15)
    use_within: timedelta = timedelta(minutes=15)
    open_per_agent: int = 5
    tell: str = ""


class Decision(StrEnum):
    """What an operator answers."""

    approve = "approve"
    deny = "deny"


class Requested(NamedTuple):
    """The request to wait for. `joined` says that it was there already."""

    approval: Approval
    joined: bool


def request(
    plan: Plan,
    *,
    plan_digest: str,
    approval: ApprovalId,
    call: CallId,
    at: datetime,
    open_requests: Sequence[Approval],
    terms: Terms,
    why: str = "",
    idempotency_key: str | None = None,
) -> Requested | Problem:
    """Ask for `plan`, joining an identical request that still waits. `open_requests` are the agent's, expired ones too."""
    waiting = [known for known in open_requests if known.agent == plan.agent and is_pending(known, at=at)]
    for known in waiting:
        if known.plan_digest == plan_digest:
            return Requested(known, joined=True)
    if len(waiting) >= terms.open_per_agent:
        return _too_many(waiting, at=at)
    asked = Approval(
        id=approval,
        plan_digest=plan_digest,
        agent=plan.agent,
        environment=plan.environment,
        service=plan.service,
        call=call,
        state=ApprovalState.pending,
        requested_at=at,
        answer_by=at + terms.answer_within,
        why=why,
        idempotency_key=idempotency_key,
    )
    return Requested(asked, joined=False)


def answer(
    approval: Approval,
    decision: Decision,
    *,
    operator: Operator,
    owner: OperatorName,
    four_eyes: bool,
    at: datetime,
    terms: Terms,
    note: str = "",
    run: bool = False,
) -> Approval | Problem:
    """The approval after an operator's answer. `owner` owns the agent: under four eyes somebody else must approve.

    A grant that nobody has used may still be denied; nothing else is answered twice.
    """
    if (refusal := _may_not_answer(approval, decision, operator=operator, owner=owner, four_eyes=four_eyes, at=at)) is not None:
        return refusal
    answered = approval.evolve(answered_by=operator.name, answered_at=at, note=note)
    if decision is Decision.deny:
        return answered.evolve(state=ApprovalState.denied, use_by=None, run_requested=False)
    return answered.evolve(state=ApprovalState.granted, use_by=at + terms.use_within, run_requested=run)


def message(approval: Approval, decision: Decision, *, operator: OperatorName, at: datetime) -> bytes:
    """The bytes of an answer that the operator's key signs; no other signature of ours is over bytes that begin like these."""
    return _SIGNED_AS + canonical(
        {
            "approval": approval.id,
            "plan": approval.plan_digest,
            "decision": decision.value,
            "operator": operator,
            "at": at.isoformat(),
        }
    )


def usable(approval: Approval, *, plan_digest: str, at: datetime) -> bool:
    """Whether the grant may be used for exactly this plan now."""
    return (
        approval.state is ApprovalState.granted
        and approval.plan_digest == plan_digest
        and approval.use_by is not None
        and at < approval.use_by
    )


def consumed(approval: Approval, *, deployment: str | None) -> Approval:
    """The grant after its one use."""
    return approval.evolve(state=ApprovalState.consumed, deployment=deployment)


def expired(approval: Approval, *, at: datetime) -> Approval | None:
    """The approval as expired, where its time has run out; None where it has not or nothing can expire any more."""
    late = is_late(approval, at=at)
    return approval.evolve(state=ApprovalState.expired) if late else None


def is_late(approval: Approval, *, at: datetime) -> bool:
    """Whether a request went unanswered or a grant unused for too long. The last instant is late already."""
    match approval.state:
        case ApprovalState.pending:
            return at >= approval.answer_by
        case ApprovalState.granted:
            return approval.use_by is None or at >= approval.use_by
        case ApprovalState.denied | ApprovalState.expired | ApprovalState.consumed:
            return False


def is_pending(approval: Approval, *, at: datetime) -> bool:
    """Whether an answer is still awaited."""
    return approval.state is ApprovalState.pending and at < approval.answer_by


def _may_not_answer(
    approval: Approval, decision: Decision, *, operator: Operator, owner: OperatorName, four_eyes: bool, at: datetime
) -> Problem | None:
    if operator.revoked_at is not None and operator.revoked_at <= at:
        return Problem(
            code=Code.not_permitted,
            message=f"The operator {operator.name} was revoked.",
            hint="Another operator must answer; `ops-mcp operator list` names them.",
        )
    if is_late(approval, at=at) or approval.state is ApprovalState.expired:
        return _over(approval, "expired")
    undone = decision is Decision.deny and approval.state is ApprovalState.granted
    if approval.state is not ApprovalState.pending and not undone:
        return _over(approval, f"{approval.state.value} already")
    if four_eyes and decision is Decision.approve and operator.name == owner:
        return Problem(
            code=Code.not_permitted,
            message=f"{operator.name} owns {approval.agent}, and {approval.environment} needs the approval of somebody else.",
            hint="Ask another operator; `ops-mcp operator list` names them.",
        )
    return None


def _over(approval: Approval, state: str) -> Problem:
    return Problem(
        code=Code.conflict,
        message=f"The approval {approval.id} is {state}.",
        hint="An answer is given once. The agent asks anew by repeating its call.",
    )


def _too_many(waiting: Sequence[Approval], *, at: datetime) -> Problem:
    first = min(known.answer_by for known in waiting)
    return Problem(
        code=Code.rate_limited,
        message=f"{len(waiting)} requests of this agent wait for an answer already, and no more may.",
        hint="Wait for an answer (`approval`) before asking for something else: "
        + ", ".join(known.id for known in waiting)
        + ".",
        retryable=True,
        retry_after_seconds=max(0.0, (first - at).total_seconds()),
    )
