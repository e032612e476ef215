"""Requests, answers, expiry and use."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState, CallId
from ops_mcp.domain.identity import Operator, OperatorName
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Plan
from ops_mcp.errors import Code, Problem
from ops_mcp.governance.approvals import Decision, Requested, Terms, answer, consumed, expired, is_late, message, request, usable

AT = datetime(2026, 11, 20, 17, 5, tzinfo=UTC)
MINUTES = timedelta(minutes=1)
ANN = Operator(name=OperatorName("ann"), public_key="00")
BOB = Operator(name=OperatorName("bob"), public_key="01")
OWNER = OperatorName("ann")
PLAN = Plan(tool="deploy", agent="robin", environment=EnvironmentName("production"), service=ServiceName("web"), summary="x")


def asked(plan: Plan = PLAN, *known: Approval, at: datetime = AT, name: str = "apr_1", why: str = "") -> Requested | Problem:
    return request(
        plan,
        plan_digest=plan.digest,
        approval=ApprovalId(name),
        call=CallId("call_1"),
        at=at,
        open_requests=known,
        terms=Terms(),
        why=why,
    )


def pending(name: str = "apr_1", plan: Plan = PLAN) -> Approval:
    found = asked(plan, name=name)
    assert isinstance(found, Requested)
    return found.approval


def answered(
    approval: Approval,
    decision: Decision,
    operator: Operator = BOB,
    *,
    at: datetime = AT,
    four_eyes: bool = False,
    run: bool = False,
) -> Approval | Problem:
    return answer(approval, decision, operator=operator, owner=OWNER, four_eyes=four_eyes, at=at, terms=Terms(), run=run)


def grant(approval: Approval) -> Approval:
    found = answered(approval, Decision.approve)
    assert isinstance(found, Approval)
    return found


def other(number: int) -> Plan:
    return PLAN.evolve(content=f"commit-{number}")


def test_a_request_waits_fifteen_minutes_for_its_answer() -> None:
    assert pending().state is ApprovalState.pending
    assert pending().answer_by == AT + 15 * MINUTES
    assert pending().use_by is None


def test_an_identical_request_joins_the_one_that_waits_whatever_its_reason() -> None:
    first = pending()
    second = asked(PLAN, first, name="apr_2", why="please, it is urgent", at=AT + MINUTES)

    assert second == Requested(first, joined=True)


def test_a_request_is_not_joined_by_another_plan_nor_after_it_ran_out() -> None:
    first = pending()

    assert isinstance(other_one := asked(other(1), first, name="apr_2"), Requested)
    assert not other_one.joined
    assert isinstance(late := asked(PLAN, first, name="apr_3", at=AT + 15 * MINUTES), Requested)
    assert not late.joined


def test_an_agent_may_have_only_so_many_open_requests() -> None:
    waiting = [pending(f"apr_{n}", other(n)) for n in range(5)]
    refused = asked(other(9), *waiting, at=AT + 5 * MINUTES)

    assert isinstance(refused, Problem)
    assert refused.code is Code.rate_limited
    assert refused.retry_after_seconds == 600
    assert isinstance(asked(other(3), *waiting), Requested)
    assert isinstance(asked(other(9), *waiting, at=AT + 15 * MINUTES), Requested)


def test_a_grant_may_be_used_for_fifteen_minutes_from_the_grant() -> None:
    found = answered(pending(), Decision.approve, at=AT + 10 * MINUTES, run=True)

    assert isinstance(found, Approval)
    assert (found.state, found.answered_by, found.use_by) == (ApprovalState.granted, "bob", AT + 25 * MINUTES)
    assert found.run_requested
    assert usable(found, plan_digest=PLAN.digest, at=AT + 25 * MINUTES - timedelta(microseconds=1))
    assert not usable(found, plan_digest=PLAN.digest, at=AT + 25 * MINUTES)
    assert not usable(found, plan_digest=other(1).digest, at=AT + 11 * MINUTES)


def test_an_answer_after_the_time_is_refused() -> None:
    for decision in Decision:
        refused = answered(pending(), decision, at=AT + 15 * MINUTES)
        assert isinstance(refused, Problem)
        assert refused.code is Code.conflict


def test_a_denied_expired_or_consumed_approval_stays_so() -> None:
    denied = answered(pending(), Decision.deny)
    assert isinstance(denied, Approval)
    gone = expired(pending(), at=AT + 15 * MINUTES)
    assert gone is not None
    used = consumed(grant(pending()), deployment="dep_1")

    for final in (denied, gone, used):
        assert not usable(final, plan_digest=PLAN.digest, at=AT)
        assert expired(final, at=AT + timedelta(days=9)) is None
        for decision in Decision:
            assert isinstance(answered(final, decision), Problem)


def test_a_grant_is_not_given_twice_but_may_be_taken_back_before_it_is_used() -> None:
    granted = grant(pending())

    assert isinstance(answered(granted, Decision.approve), Problem)
    back = answered(granted, Decision.deny)
    assert isinstance(back, Approval)
    assert back.state is ApprovalState.denied
    assert not usable(back, plan_digest=PLAN.digest, at=AT)


def test_a_grant_that_nobody_used_in_time_expires() -> None:
    granted = grant(pending())

    assert expired(granted, at=AT + 15 * MINUTES - timedelta(seconds=1)) is None
    gone = expired(granted, at=AT + 15 * MINUTES)
    assert gone is not None
    assert gone.state is ApprovalState.expired


def test_under_four_eyes_the_agents_owner_may_deny_but_not_approve() -> None:
    refused = answered(pending(), Decision.approve, ANN, four_eyes=True)

    assert isinstance(refused, Problem)
    assert refused.code is Code.not_permitted
    assert isinstance(answered(pending(), Decision.deny, ANN, four_eyes=True), Approval)
    assert isinstance(answered(pending(), Decision.approve, BOB, four_eyes=True), Approval)
    assert isinstance(answered(pending(), Decision.approve, ANN), Approval)


def test_a_revoked_operator_answers_nothing() -> None:
    for decision in Decision:
        refused = answered(pending(), decision, BOB.evolve(revoked_at=AT))
        assert isinstance(refused, Problem)
        assert refused.code is Code.not_permitted


def test_the_signed_bytes_change_with_everything_an_answer_means() -> None:
    first = pending()
    said = {
        message(approval, decision, operator=operator, at=at)
        for approval in (first, first.evolve(id="apr_2"), first.evolve(plan_digest="sha256:2"))
        for decision in Decision
        for operator in (OWNER, OperatorName("bob"))
        for at in (AT, AT + timedelta(microseconds=1))
    }

    assert len(said) == 24
    assert all(text.startswith(b"ops-mcp approval answer 1\n") for text in said)


moments = st.integers(0, 3600).map(lambda seconds: AT + timedelta(seconds=seconds))


@given(
    answered_at=moments,
    used_at=moments,
    decision=st.sampled_from(Decision),
    operator=st.sampled_from([ANN, BOB]),
    four_eyes=st.booleans(),
)
def test_whatever_is_usable_was_approved_in_time_by_somebody_allowed_to(
    answered_at: datetime, used_at: datetime, decision: Decision, operator: Operator, *, four_eyes: bool
) -> None:
    found = answered(pending(), decision, operator, at=answered_at, four_eyes=four_eyes)
    if not isinstance(found, Approval) or not usable(found, plan_digest=PLAN.digest, at=used_at):
        return
    assert decision is Decision.approve
    assert answered_at < AT + 15 * MINUTES
    assert used_at < answered_at + 15 * MINUTES
    assert not (four_eyes and operator.name == OWNER)
    assert not is_late(found, at=used_at)
