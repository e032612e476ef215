"""An answer to an approval, given by hand: bound to the plan that was seen, to its own signature, and to the present moment."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState, CallId
from ops_mcp.domain.identity import OperatorName
from ops_mcp.domain.releases import Plan
from ops_mcp.governance import approvals as terms
from ops_mcp.governance.approvals import Decision
from ops_mcp.operator.verbs import Approve, Deny
from ops_mcp.store import approvals, keys, people
from tests.test_operator import NOW, PRODUCTION, Office, staffed

pytestmark = pytest.mark.anyio


async def asked(found: Office) -> Approval:
    """A pending request that must be answered within a minute."""
    plan = Plan(tool="deploy", agent="bot", environment=PRODUCTION.name, service=None, summary="Deploy.")
    approval = Approval(
        id=ApprovalId("apr_1"),
        plan_digest=plan.digest,
        agent="bot",
        environment=PRODUCTION.name,
        service=None,
        call=CallId("call_1"),
        state=ApprovalState.pending,
        requested_at=NOW,
        answer_by=NOW + timedelta(minutes=1),
    )
    await found.database.write(lambda t: approvals.insert(t, approval, plan))
    return approval


def answer(found: Office, approval: Approval, decision: Decision = Decision.approve, *, key: str = "alice") -> str:
    signed = terms.message(approval, decision, operator=OperatorName("alice"), at=NOW)
    return keys.operator_signature(found.hands[key], signed)


async def state(found: Office) -> ApprovalState:
    stored = await people.stored_approval(found.database, "apr_1")
    assert stored is not None
    return stored.approval.state


async def test_the_right_answer_grants(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        approval = await asked(found)
        verb = Approve(approval=approval.id, plan_digest=approval.plan_digest, answer=answer(found, approval))
        await found.carry_out(found.signed(verb))
        assert await state(found) is ApprovalState.granted


async def test_a_plan_that_is_not_the_one_that_was_seen_is_not_approved(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        approval = await asked(found)
        verb = Approve(approval=approval.id, plan_digest="sha256:other", answer=answer(found, approval))
        assert (await found.refused(found.signed(verb))).code == "conflict"
        assert await state(found) is ApprovalState.pending


async def test_an_answer_must_be_signed_for_this_decision_by_this_operator(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        approval = await asked(found)
        for wrong in (answer(found, approval, Decision.deny), answer(found, approval, key="bob"), "00" * 64):
            verb = Approve(approval=approval.id, plan_digest=approval.plan_digest, answer=wrong)
            assert (await found.refused(found.signed(verb))).code == "not_permitted"
        no = Deny(approval=approval.id, plan_digest=approval.plan_digest, answer=answer(found, approval))
        assert (await found.refused(found.signed(no))).code == "not_permitted"
        assert await state(found) is ApprovalState.pending


async def test_an_answer_that_arrives_after_the_time_is_late_whenever_it_was_signed(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        approval = await asked(found)
        verb = Approve(approval=approval.id, plan_digest=approval.plan_digest, answer=answer(found, approval))
        refusal = await found.refused(found.signed(verb), now=NOW + timedelta(minutes=1))
        assert refusal.message == "The approval apr_1 is expired."
        assert await state(found) is ApprovalState.pending
