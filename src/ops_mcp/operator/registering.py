"""Operators and agents come, change and go."""

from datetime import datetime
from typing import assert_never

from ops_mcp.domain.identity import Agent, AgentName, Operator, OperatorName
from ops_mcp.errors import Conflict, InvalidArguments, NotPermitted
from ops_mcp.operator.deeds import Deed, require_agent, require_operator
from ops_mcp.operator.verbs import (
    AddAgent,
    AddOperator,
    GiveOperatorToken,
    RevokeAgent,
    RevokeOperator,
    RotateToken,
    SetAgent,
    taken_for_nobody,
)
from ops_mcp.store import people
from ops_mcp.store.database import Transaction


def act(
    t: Transaction,
    verb: AddOperator | RevokeOperator | GiveOperatorToken | AddAgent | SetAgent | RotateToken | RevokeAgent,
    *,
    boundary: bool,
    now: datetime,
) -> Deed:
    """Do one verb about people. `boundary` refuses keys without a passphrase."""
    match verb:
        case AddOperator():
            return add_operator(t, verb, boundary=boundary)
        case RevokeOperator():
            return revoke_operator(t, verb, now)
        case GiveOperatorToken():
            return give_token(t, verb, now)
        case AddAgent():
            return add_agent(t, verb, now)
        case SetAgent():
            return set_agent(t, verb)
        case RotateToken():
            return rotate_token(t, verb)
        case RevokeAgent():
            return revoke_agent(t, verb)
        case _:
            assert_never(verb)


def operator_of(verb: AddOperator) -> Operator:
    return Operator(name=OperatorName(verb.name), public_key=verb.public_key, slack_id=verb.slack_id, protected=verb.protected)


def add_operator(t: Transaction, verb: AddOperator, *, boundary: bool) -> Deed:
    """A name is used once: records of a revoked operator must never read as another person's."""
    if boundary and not verb.protected:
        raise NotPermitted(
            "A key without a passphrase is allowed only where agents and operator are the same user.",
            hint="Give the key a passphrase: at the prompt, or with --passphrase-file.",
        )
    if people.operator_named(t, verb.name) is not None:
        raise Conflict(
            f"The operator name {verb.name!r} is taken.", hint="Choose another name; names of revoked operators stay taken."
        )
    if verb.slack_id is not None and (other := people.operator_of_slack_id(t, verb.slack_id)) is not None:
        raise Conflict(f"The Slack id {verb.slack_id} is {other}'s.", hint="One person in Slack is one operator.")
    operator = operator_of(verb)
    people.insert_operator(t, operator)
    said = {"operator": verb.name, "public_key": verb.public_key, "protected": verb.protected, "slack_id": verb.slack_id}
    return Deed("operator.added", {k: v for k, v in said.items() if v is not None})


def revoke_operator(t: Transaction, verb: RevokeOperator, now: datetime) -> Deed:
    """From the next call on, what this operator granted and nobody has used yet is worth nothing."""
    require_operator(t, verb.name)
    if people.operator_names(t) == (verb.name,):
        raise Conflict(f"{verb.name!r} is the last operator.", hint="Add another operator first: ops-mcp operator add NAME")
    people.mark_operator_revoked(t, verb.name, now)
    return Deed("operator.revoked", {"operator": verb.name}, reason=verb.reason)


def give_token(t: Transaction, verb: GiveOperatorToken, now: datetime) -> Deed:
    """The token they had stops working with this transaction."""
    require_operator(t, verb.name)
    people.keep_operator_token(t, verb.name, verb.token_hash, at=now)
    kind = "operator.token_given" if verb.token_hash else "operator.token_taken"
    return Deed(kind, {"operator": verb.name})


def add_agent(t: Transaction, verb: AddAgent, now: datetime) -> Deed:
    require_operator(t, verb.owner)
    if taken_for_nobody(verb.name):
        raise InvalidArguments(f"{verb.name!r} means something else here.", hint="Choose another name for the agent.")
    if people.agent_named(t, verb.name) is not None:
        raise Conflict(
            f"The agent name {verb.name!r} is taken.",
            hint="Choose another name, or give the agent a new token: ops-mcp agent rotate NAME",
        )
    agent = Agent(name=AgentName(verb.name), owner=verb.owner, ceiling=verb.ceiling, reputation=verb.reputation)
    people.insert_agent(t, agent, token_hash=verb.token_hash, at=now)
    return Deed("agent.added", {"agent": agent.json_value()})


def set_agent(t: Transaction, verb: SetAgent) -> Deed:
    before = require_agent(t, verb.name)
    if verb.owner is not None:
        require_operator(t, verb.owner)
    wanted = {"owner": verb.owner, "ceiling": verb.ceiling, "score": verb.score, "reputation": verb.reputation}
    changes = {field: value for field, value in wanted.items() if value is not None}
    if not changes:
        raise InvalidArguments("Nothing to set.", hint="Give at least one of: --tier, --score, --reputation, --owner.")
    after = before.model_copy(update=changes)
    people.update_agent(t, after)
    return Deed("agent.set", {"before": before.json_value(), "agent": after.json_value()}, reason=verb.reason)


def rotate_token(t: Transaction, verb: RotateToken) -> Deed:
    """The old token stops working with this transaction."""
    require_agent(t, verb.name)
    people.replace_token(t, verb.name, verb.token_hash)
    return Deed("agent.rotated", {"agent": verb.name}, reason=verb.reason)


def revoke_agent(t: Transaction, verb: RevokeAgent) -> Deed:
    agent = require_agent(t, verb.name)
    people.update_agent(t, agent.model_copy(update={"revoked": True}))
    return Deed("agent.revoked", {"agent": verb.name}, reason=verb.reason)
