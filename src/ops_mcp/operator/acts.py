"""One unit of work for each verb: verify who ordered it, do it, record it, tell every process. All in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from ops_mcp.config import ApprovalTerms
from ops_mcp.domain.identity import Operator
from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.places import Environment, EnvironmentName
from ops_mcp.errors import NotPermitted
from ops_mcp.governance.attesting import Attestation
from ops_mcp.operator import answers, halting, registering, watching
from ops_mcp.operator.deeds import Deed
from ops_mcp.operator.verbs import (
    AcknowledgeAlerts,
    AddAgent,
    AddOperator,
    Approve,
    AssignRemedy,
    CancelTask,
    Deny,
    FreezeChanges,
    GiveOperatorToken,
    Kill,
    ResetBudget,
    Retain,
    RevokeAgent,
    RevokeOperator,
    RotateToken,
    SetAgent,
    SetRules,
    Signed,
    SilenceAlerts,
    Unfreeze,
    Unkill,
    UnsilenceAlerts,
    Verb,
    message,
)
from ops_mcp.store import attestations, people
from ops_mcp.store.database import Transaction
from ops_mcp.store.halts import bump_governance
from ops_mcp.store.keys import operator_signed
from ops_mcp.supervising.settings import SuperviseTerms
from ops_mcp.values import JsonObject

DOOR_VERBS = (Approve, Deny, FreezeChanges, CancelTask, AcknowledgeAlerts, SilenceAlerts)
"""What may be ordered where the operator has no key of their own at hand."""

ORDER_LIFE = timedelta(minutes=5)
"""A signed verb is carried out within this time of its signature, or not at all."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the verbs need of the configuration. `boundary` marks an installation that agents reach from outside only."""

    environments: Mapping[EnvironmentName, Environment]
    approvals: ApprovalTerms
    boundary: bool
    supervise: SuperviseTerms = field(default_factory=SuperviseTerms)


def carry_out(signed: Signed, *, terms: Terms, now: datetime) -> Callable[[Transaction], Deed]:
    """The unit of work for a signed verb. It raises, and leaves nothing behind, when the order does not stand."""

    def unit(t: Transaction) -> Deed:
        _require_standing(t, signed, now)
        deed = _act(t, signed, terms, now)
        bump_governance(t)
        t.record(_record(signed, deed, now))
        return deed

    return unit


def _require_standing(t: Transaction, signed: Signed, now: datetime) -> None:
    if abs(now - signed.at) > ORDER_LIFE:
        raise NotPermitted("This order was signed too long ago.", hint="Give the order again.")
    operator = people.operator_named(t, signed.by) or _first_operator(t, signed.verb, signed.by)
    if operator is None:
        raise NotPermitted(
            f"{signed.by!r} is no operator here.",
            hint="An operator adds another with: ops-mcp operator add NAME",
            details={"by": signed.by},
        )
    if operator.revoked_at is not None:
        raise NotPermitted(f"The operator {operator.name!r} was revoked.", hint="Ask another operator.")
    said = message(signed.verb, by=signed.by, at=signed.at)
    if signed.attested is not None:
        _require_attested(t, signed, signed.attested, said, operator)
    elif not operator_signed(operator.public_key, said, signed.signature):
        raise NotPermitted(
            f"The signature is not that of the operator {operator.name!r}.",
            hint="The key file here is not the one that was registered. Ask another operator to revoke and add you again.",
        )


def _require_attested(t: Transaction, signed: Signed, attestation: Attestation, said: bytes, operator: Operator) -> None:
    if not isinstance(signed.verb, DOOR_VERBS):
        raise NotPermitted(
            f"`{signed.verb.verb}` is not ordered through {attestation.door}.", hint="Give the order at a terminal: ops-mcp"
        )
    if not attestations.stands(t, attestation, said, operator=operator, at=signed.at):
        raise NotPermitted(
            f"This order through {attestation.door} is not known to come from {operator.name}.",
            hint="For Slack: ops-mcp operator add NAME --slack ID. For the page: unlock it again.",
        )


def _first_operator(t: Transaction, verb: Verb, by: str) -> Operator | None:
    """Where nobody was ever an operator, the first one adds themselves."""
    if isinstance(verb, AddOperator) and verb.name == by and people.no_operator_yet(t):
        return registering.operator_of(verb)
    return None


def _act(t: Transaction, signed: Signed, terms: Terms, now: datetime) -> Deed:
    verb = signed.verb
    match verb:
        case AddOperator() | RevokeOperator() | GiveOperatorToken() | AddAgent() | SetAgent() | RotateToken() | RevokeAgent():
            return registering.act(t, verb, boundary=terms.boundary, now=now)
        case Kill() | Unkill() | FreezeChanges() | Unfreeze() | ResetBudget():
            return halting.act(t, verb, terms.environments, by=signed.by, now=now)
        case Approve() | Deny():
            return answers.answer(t, signed, verb, answers.Rules(terms.environments, terms.approvals), now)
        case SetRules() | AssignRemedy() | AcknowledgeAlerts() | SilenceAlerts() | UnsilenceAlerts():
            return watching.act(t, verb, terms.environments, by=signed.by, now=now)
        case CancelTask():
            return _cancel_task(t, verb, terms, signed, now)
        case Retain():
            return Deed("operator.retains", {"keep_days": verb.keep_days, "directory": verb.directory}, reason=verb.reason)
        case _:
            assert_never(verb)


def _cancel_task(t: Transaction, verb: CancelTask, terms: Terms, signed: Signed, now: datetime) -> Deed:
    from ops_mcp.store.tasks.writing import cancel  # few orders are about tasks

    task = cancel(t, verb.task, by=f"operator:{signed.by}", reason=verb.reason, at=now, terms=terms.supervise)
    return Deed("task.cancel_requested", {"task": task.id, "agent": task.agent}, reason=verb.reason, environment=task.environment)


def _record(signed: Signed, deed: Deed, now: datetime) -> Record:
    order: JsonObject = {
        "verb": signed.verb.json_value(),
        "by": signed.by,
        "at": signed.at.isoformat(),
        "signature": signed.signature,
    }
    if signed.attested is not None:
        order["attested"] = signed.attested.json_value()
    return Record(
        kind=deed.kind,
        at=now,
        caller=f"operator:{signed.by}",
        owner=signed.by,
        environment=deed.environment,
        service=deed.service,
        approval=deed.approval,
        call=deed.call,
        reason=deed.reason or None,
        data={"order": order, **deed.said},
    )
