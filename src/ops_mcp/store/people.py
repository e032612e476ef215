"""Rows of people and their answers: operators, agents, approvals. Reads and writes; judges nothing."""

import hashlib
from datetime import datetime
from typing import NamedTuple, assert_never

from ops_mcp.domain.calls import Approval, Freeze
from ops_mcp.domain.identity import (
    Agent,
    AgentName,
    Anonymous,
    Caller,
    Credential,
    Level,
    NoToken,
    OnBehalf,
    Operator,
    OperatorName,
    System,
    Token,
    Unknown,
)
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import Plan
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.store.halts import covering_freeze, everyone_is_killed

_OPERATOR = "SELECT name, public_key, slack_id, protected, revoked_at FROM operators"
_AGENT = "SELECT name, owner, ceiling, score, reputation, killed, revoked FROM agents"
_APPROVAL = "SELECT body, plan, signature FROM approvals"


class StoredApproval(NamedTuple):
    """An approval with the plan it is bound to and the signature of the operator who answered."""

    approval: Approval
    plan: Plan
    signature: str | None


class People:
    """Who calls, as the ledger's transaction sees it. Nothing is remembered, so a revocation acts on the next call."""

    def caller(self, t: Transaction, credential: Credential) -> Caller:
        """The caller behind a credential. One that matches nobody is `Unknown` with the reason, never anonymous."""
        match credential:
            case NoToken():
                return Anonymous()
            case Token(secret=secret):
                return _bearer(t, secret.get_secret_value())
            case OnBehalf(operation=operation, agent=name):
                agent = agent_named(t, name)
                return (
                    System(operation=operation, agent=agent) if agent else Unknown(why="the operation's agent is not registered")
                )
            case _:
                assert_never(credential)

    def freeze(self, t: Transaction, environment: EnvironmentName | None) -> Freeze | None:
        """The freeze that covers this environment, if any."""
        return covering_freeze(t, environment)

    def everyone_killed(self, t: Transaction) -> bool:
        return everyone_is_killed(t)


def token_hash(token: str) -> str:
    """What is stored of a token. Tokens carry 256 random bits, so a plain digest gives nothing away."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def operator_named(t: Transaction, name: str) -> Operator | None:
    return next((_operator(row) for row in t.fetch(f"{_OPERATOR} WHERE name = ?", name)), None)


def operator_of_slack_id(t: Transaction, slack_id: str) -> str | None:
    """Whose id in Slack it is, of those who are not revoked."""
    rows = t.fetch("SELECT name FROM operators WHERE slack_id = ? AND revoked_at IS NULL ORDER BY name LIMIT 1", slack_id)
    return str(rows[0][0]) if rows else None


def operator_names(t: Transaction) -> tuple[str, ...]:
    """Operators that are not revoked, by name."""
    return tuple(row[0] for row in t.fetch("SELECT name FROM operators WHERE revoked_at IS NULL ORDER BY name"))


def no_operator_yet(t: Transaction) -> bool:
    """Whether nobody was ever made an operator here, revoked ones included."""
    return not t.fetch("SELECT 1 FROM operators LIMIT 1")


def insert_operator(t: Transaction, operator: Operator) -> None:
    t.execute(
        "INSERT INTO operators (name, public_key, slack_id, protected) VALUES (?, ?, ?, ?)",
        operator.name,
        operator.public_key,
        operator.slack_id,
        int(operator.protected),
    )


def mark_operator_revoked(t: Transaction, name: str, at: datetime) -> None:
    t.execute("UPDATE operators SET revoked_at = ? WHERE name = ?", at.isoformat(), name)


def keep_operator_token(t: Transaction, name: str, token_hash: str | None, *, at: datetime) -> None:
    """Each operator has one token for reading over HTTP, or none."""
    t.execute("DELETE FROM operator_tokens WHERE operator = ?", name)
    if token_hash is not None:
        t.execute(
            "INSERT INTO operator_tokens (operator, token_hash, created_at) VALUES (?, ?, ?)", name, token_hash, at.isoformat()
        )


async def holder(db: Database, token: str) -> Agent | Operator | None:
    """Whose token it is, of those who are not revoked."""
    hashed = token_hash(token)
    agents = await db.fetch(f"{_AGENT} WHERE token_hash = ? AND revoked = 0", hashed)
    if agents:
        return _agent(agents[0])
    rows = await db.fetch(
        f"{_OPERATOR} WHERE revoked_at IS NULL AND name IN (SELECT operator FROM operator_tokens WHERE token_hash = ?)", hashed
    )
    return _operator(rows[0]) if rows else None


def agent_named(t: Transaction, name: str) -> Agent | None:
    return next((_agent(row) for row in t.fetch(f"{_AGENT} WHERE name = ?", name)), None)


def agent_names(t: Transaction) -> tuple[str, ...]:
    """Agents that are not revoked, by name."""
    return tuple(row[0] for row in t.fetch("SELECT name FROM agents WHERE revoked = 0 ORDER BY name"))


def insert_agent(t: Transaction, agent: Agent, *, token_hash: str, at: datetime) -> None:
    t.execute(
        "INSERT INTO agents (name, owner, ceiling, score, reputation, token_hash, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        agent.name,
        agent.owner,
        agent.ceiling,
        agent.score,
        int(agent.reputation),
        token_hash,
        at.isoformat(),
    )


def update_agent(t: Transaction, agent: Agent) -> None:
    """Write everything an operator may change about an agent; its token is changed by `replace_token`."""
    t.execute(
        "UPDATE agents SET owner = ?, ceiling = ?, score = ?, reputation = ?, killed = ?, revoked = ? WHERE name = ?",
        agent.owner,
        agent.ceiling,
        agent.score,
        int(agent.reputation),
        int(agent.killed),
        int(agent.revoked),
        agent.name,
    )


def replace_token(t: Transaction, name: str, token_hash: str) -> None:
    t.execute("UPDATE agents SET token_hash = ? WHERE name = ?", token_hash, name)


def approval_by_id(t: Transaction, approval: str) -> StoredApproval | None:
    return next((_approval(row) for row in t.fetch(f"{_APPROVAL} WHERE id = ?", approval)), None)


def pending_approvals(t: Transaction) -> tuple[str, ...]:
    return tuple(row[0] for row in t.fetch("SELECT id FROM approvals WHERE state = 'pending' ORDER BY id"))


def answer_approval(t: Transaction, approval: Approval, *, signature: str) -> None:
    """Write an operator's answer, with the signature that the commit of its plan verifies again."""
    t.execute(
        "UPDATE approvals SET state = ?, body = ?, signature = ?, use_by = ? WHERE id = ?",
        approval.state,
        approval.model_dump_json(),
        signature,
        approval.use_by.isoformat() if approval.use_by else None,
        approval.id,
    )


async def operators(db: Database) -> tuple[Operator, ...]:
    return tuple(_operator(row) for row in await db.fetch(f"{_OPERATOR} ORDER BY name"))


async def agents(db: Database) -> tuple[Agent, ...]:
    return tuple(_agent(row) for row in await db.fetch(f"{_AGENT} ORDER BY name"))


async def stored_approval(db: Database, approval: str) -> StoredApproval | None:
    return next((_approval(row) for row in await db.fetch(f"{_APPROVAL} WHERE id = ?", approval)), None)


async def approvals_to_run(db: Database, at: datetime) -> tuple[StoredApproval, ...]:
    """Granted ones whose call the worker is asked to make, and may still make."""
    rows = await db.fetch(f"{_APPROVAL} WHERE state = 'granted' AND use_by > ? ORDER BY id", at.isoformat())
    return tuple(stored for stored in map(_approval, rows) if stored.approval.run_requested)


async def recent_approvals(db: Database, *, limit: int) -> tuple[StoredApproval, ...]:
    """Newest first, whatever their state."""
    return tuple(_approval(row) for row in await db.fetch(f"{_APPROVAL} ORDER BY id DESC LIMIT ?", limit))


def _bearer(t: Transaction, token: str) -> Caller:
    if not token or token.startswith("${"):
        return Unknown(why="the token is empty or a placeholder that nobody filled in")
    agent = next((_agent(row) for row in t.fetch(f"{_AGENT} WHERE token_hash = ?", token_hash(token))), None)
    if agent is None:
        return Unknown(why="no agent has this token")
    return Unknown(why=f"the agent {agent.name} is revoked") if agent.revoked else agent


def _operator(row: Row) -> Operator:
    name, public_key, slack_id, protected, revoked_at = row
    return Operator(
        name=OperatorName(name),
        public_key=public_key,
        slack_id=slack_id,
        protected=bool(protected),
        revoked_at=datetime.fromisoformat(revoked_at) if revoked_at else None,
    )


def _agent(row: Row) -> Agent:
    name, owner, ceiling, score, reputation, killed, revoked = row
    return Agent(
        name=AgentName(name),
        owner=OperatorName(owner),
        ceiling=Level(ceiling),
        score=score,
        reputation=bool(reputation),
        killed=bool(killed),
        revoked=bool(revoked),
    )


def _approval(row: Row) -> StoredApproval:
    body, plan, signature = row
    return StoredApproval(Approval.model_validate_json(body), Plan.model_validate_json(plan), signature)
