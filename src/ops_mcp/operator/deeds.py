"""What became of a verb, and the two refusals that every verb shares."""

from collections.abc import Sequence
from typing import NamedTuple

from ops_mcp.domain.identity import Agent, Operator
from ops_mcp.errors import NotFound, OpsError, Problem
from ops_mcp.store import people
from ops_mcp.store.database import Transaction
from ops_mcp.values import JsonObject


class Deed(NamedTuple):
    """`kind` names the ledger record; `said` goes into it and to the operator. Neither holds a secret."""

    kind: str
    said: JsonObject
    reason: str = ""
    environment: str | None = None
    service: str | None = None
    approval: str | None = None
    call: str | None = None


def require_agent(t: Transaction, name: str) -> Agent:
    """The agent of that name that is not revoked."""
    agent = people.agent_named(t, name)
    if agent is None or agent.revoked:
        raise NotFound(f"There is no agent {name!r}.", hint=listed("Agents", people.agent_names(t), "ops-mcp agent add NAME"))
    return agent


def require_operator(t: Transaction, name: str) -> Operator:
    """The operator of that name that is not revoked."""
    operator = people.operator_named(t, name)
    if operator is None or operator.revoked_at is not None:
        raise NotFound(
            f"There is no operator {name!r}.", hint=listed("Operators", people.operator_names(t), "ops-mcp operator add NAME")
        )
    return operator


def listed(what: str, names: Sequence[str], how: str) -> str:
    """The valid names, or how to get the first one."""
    return f"{what}: {', '.join(names)}." if names else f"There is none yet. Run: {how}"


def raised(problem: Problem) -> OpsError:
    """A problem that a pure room returned, as the error of its kind."""
    kind = next(kind for kind in OpsError.__subclasses__() if kind.code is problem.code)
    return kind(problem.message, hint=problem.hint, retry_after_seconds=problem.retry_after_seconds, details=problem.details)
