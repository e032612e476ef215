"""An operator's answer to an approval: checked against what they saw, judged by the pure terms, stored with its signature."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.config import ApprovalTerms
from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.identity import Operator, OperatorName
from ops_mcp.domain.places import Environment, EnvironmentName
from ops_mcp.errors import Conflict, NotFound, NotPermitted, Problem
from ops_mcp.governance import approvals
from ops_mcp.governance.approvals import Decision
from ops_mcp.governance.attesting import Attestation
from ops_mcp.operator.deeds import Deed, listed, raised, require_operator
from ops_mcp.operator.verbs import Approve, Deny, Signed
from ops_mcp.store import attestations, people
from ops_mcp.store.approval_notices import tell_answer
from ops_mcp.store.database import Transaction
from ops_mcp.store.keys import operator_signed


class Rules(NamedTuple):
    """What the configuration says about answers."""

    environments: Mapping[EnvironmentName, Environment]
    terms: ApprovalTerms


class Hand(NamedTuple):
    """Who signed, and when."""

    operator: Operator
    at: datetime


def answer(t: Transaction, signed: Signed, verb: Approve | Deny, rules: Rules, now: datetime) -> Deed:
    """Grant or deny. A grant is worth something only with `verb.answer`, which the plan's commit verifies again."""
    stored = people.approval_by_id(t, verb.approval)
    if stored is None:
        raise NotFound(
            f"There is no approval {verb.approval!r}.", hint=listed("Waiting", people.pending_approvals(t), "ops-mcp approvals")
        )
    operator = require_operator(t, signed.by)
    kept = _require_own_hand(t, stored.approval, verb, Hand(operator, signed.at), signed.attested)
    # lateness is judged by the present moment, the answer dated by its signature: they are minutes apart at most
    approval = approvals.expired(stored.approval, at=now) or stored.approval
    answered = _judged(t, approval, verb, Hand(operator, signed.at), rules)
    if isinstance(answered, Problem):
        raise raised(answered)
    people.answer_approval(t, answered, signature=kept)
    _tell(t, answered, now)
    return Deed(
        "approval.granted" if answered.state is ApprovalState.granted else "approval.denied",
        {"approval": answered.json_value()},
        reason=verb.note,
        environment=answered.environment,
        service=answered.service,
        approval=answered.id,
        call=answered.call,
    )


def _tell(t: Transaction, answered: Approval, now: datetime) -> None:
    """People who were asked see who answered, and the tasks that waited keep it."""
    from ops_mcp.store.tasks.answering import note_answer  # few answers are about tasks

    tell_answer(t, answered, at=now)
    note_answer(t, answered, at=now)


def _require_own_hand(
    t: Transaction, approval: Approval, verb: Approve | Deny, hand: Hand, attestation: Attestation | None
) -> str:
    """What is kept with the answer, to be verified again: the operator's signature, or what the server attests."""
    if verb.plan_digest != approval.plan_digest:
        raise Conflict("The plan is not the one that was shown.", hint=f"Look at it again: ops-mcp approvals {approval.id}")
    signed_bytes = approvals.message(approval, _decision(verb), operator=hand.operator.name, at=hand.at)
    if attestation is not None:
        own = attestation.evolve(signature=verb.answer)
        if not attestations.stands(t, own, signed_bytes, operator=hand.operator, at=hand.at):
            raise NotPermitted("The answer is not attested.", hint="Answer again with: ops-mcp approve ID")
        return own.model_dump_json()
    if not operator_signed(hand.operator.public_key, signed_bytes, verb.answer):
        raise NotPermitted("The answer is not signed by this operator's key.", hint="Answer again with: ops-mcp approve ID")
    return verb.answer


def _judged(t: Transaction, approval: Approval, verb: Approve | Deny, hand: Hand, rules: Rules) -> Approval | Problem:
    agent = people.agent_named(t, approval.agent)
    environment = rules.environments.get(approval.environment)
    return approvals.answer(
        approval,
        _decision(verb),
        operator=hand.operator,
        owner=agent.owner if agent else OperatorName(""),
        four_eyes=environment.four_eyes if environment else True,
        at=hand.at,
        terms=approvals.Terms(
            answer_within=timedelta(minutes=rules.terms.answer_minutes), use_within=timedelta(minutes=rules.terms.use_minutes)
        ),
        note=verb.note,
        run=isinstance(verb, Approve) and verb.run,
    )


def _decision(verb: Approve | Deny) -> Decision:
    return Decision.approve if isinstance(verb, Approve) else Decision.deny
