"""One unit of work for each verb: verify who ordered it, do it, record it, tell every process. All in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from ops_mcp.config import ApprovalTerms
from ops_mcp.domain.identity import Operator
from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.places import Environment, EnvironmentName
from ops_mcp.errors import NotPermitted
from ops_mcp.operator import answers, halting, registering, watching
from ops_mcp.operator.deeds import Deed
from ops_mcp.operator.verbs import (
    AddAgent,
    AddOperator,
    Approve,
    AssignRemedy,
    Deny,
    FreezeChanges,
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
from ops_mcp.store import people
from ops_mcp.store.database import Transaction
from ops_mcp.store.halts import bump_governance
from ops_mcp.store.keys import operator_signed

ORDER_LIFE = timedelta(minutes=5)
"""A signed verb is carried out within this time of its signature, or not at all."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the verbs need of the configuration. `boundary` marks an installation that agents reach from outside only."""

    environments: Mapping[EnvironmentName, Environment]
    approvals: ApprovalTerms
    boundary: bool


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
    if not operator_signed(operator.public_key, message(signed.verb, by=signed.by, at=signed.at), signed.signature):
        raise NotPermitted(
            f"The signature is not that of the operator {operator.name!r}.",
            hint="The key file here is not the one that was registered. Ask another operator to revoke and add you again.",
        )


def _first_operator(t: Transaction, verb: Verb, by: str) -> Operator | None:
    """Where nobody was ever an operator, the first one adds themselves."""
    if isinstance(verb, AddOperator) and verb.name == by and people.no_operator_yet(t):
        return registering.operator_of(verb)
    return None


def _act(t: Transaction, signed: Signed, terms: Terms, now: datetime) -> Deed:
    verb = signed.verb
    match verb:
        case AddOperator() | RevokeOperator() | AddAgent() | SetAgent() | RotateToken() | RevokeAgent():
            return registering.act(t, verb, boundary=terms.boundary, now=now)
        case Kill() | Unkill() | FreezeChanges() | Unfreeze() | ResetBudget():
            return halting.act(t, verb, terms.environments, by=signed.by, now=now)
        case Approve() | Deny():
            return answers.answer(t, signed, verb, answers.Rules(terms.environments, terms.approvals), now)
        case SetRules() | AssignRemedy() | SilenceAlerts() | UnsilenceAlerts():
            return watching.act(t, verb, terms.environments, by=signed.by, now=now)
        case Retain():
            return Deed("operator.retains", {"keep_days": verb.keep_days, "directory": verb.directory}, reason=verb.reason)
        case _:
            assert_never(verb)


def _record(signed: Signed, deed: Deed, now: datetime) -> Record:
    order = {"verb": signed.verb.json_value(), "by": signed.by, "at": signed.at.isoformat(), "signature": signed.signature}
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
