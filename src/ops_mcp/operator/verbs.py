"""What an operator can order, as values, and the bytes that their key signs. Decides nothing and writes nothing."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from ops_mcp.domain.calls import ApprovalId
from ops_mcp.domain.identity import AgentName, Level, OperatorName, Tier
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.governance.attesting import Attestation
from ops_mcp.values import JsonObject, Value, canonical

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Note = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

_NAMES_OF_NOBODY = ("anonymous", "unknown", "everyone", "system", "operator")
"""Callers that are no agents; an agent of that name could be taken for one of them."""


class AddOperator(Value):
    """`protected` says whether the private half has a passphrase."""

    verb: Literal["operator add"] = "operator add"
    name: Name
    public_key: Digest
    slack_id: Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,20}$")] | None = None
    protected: bool


class RevokeOperator(Value):
    verb: Literal["operator revoke"] = "operator revoke"
    name: str
    reason: Reason


class GiveOperatorToken(Value):
    """A token with which an operator reads over HTTP, in place of the one they had; None takes it away."""

    verb: Literal["operator token"] = "operator token"
    name: OperatorName
    token_hash: Digest | None


class AddAgent(Value):
    verb: Literal["agent add"] = "agent add"
    name: Name
    owner: OperatorName
    ceiling: Level
    token_hash: Digest
    reputation: bool = True


class SetAgent(Value):
    """What is None stays as it is."""

    verb: Literal["agent set"] = "agent set"
    name: AgentName
    owner: OperatorName | None = None
    ceiling: Level | None = None
    score: Annotated[int, Field(ge=0, le=999)] | None = None
    reputation: bool | None = None
    reason: Reason


class RotateToken(Value):
    verb: Literal["agent rotate"] = "agent rotate"
    name: AgentName
    token_hash: Digest
    reason: Reason


class RevokeAgent(Value):
    verb: Literal["agent revoke"] = "agent revoke"
    name: AgentName
    reason: Reason


class Kill(Value):
    """None is everyone."""

    verb: Literal["kill"] = "kill"
    agent: AgentName | None
    reason: Reason


class Unkill(Value):
    """None lifts the kill of everyone; agents that were killed by name stay so."""

    verb: Literal["unkill"] = "unkill"
    agent: AgentName | None
    reason: Reason


class FreezeChanges(Value):
    """None is every environment."""

    verb: Literal["freeze"] = "freeze"
    environment: EnvironmentName | None
    reason: Reason


class Unfreeze(Value):
    verb: Literal["unfreeze"] = "unfreeze"
    environment: EnvironmentName | None
    reason: Reason


class ResetBudget(Value):
    """What the agent has spent in the running hour and day is forgotten; what its open calls still hold is not."""

    verb: Literal["budget reset"] = "budget reset"
    agent: AgentName
    tier: Tier | None = None
    reason: Reason


class Retain(Value):
    """Move records older than `keep_days` out of the database into signed segments."""

    verb: Literal["audit retain"] = "audit retain"
    keep_days: Annotated[int, Field(ge=90)]
    directory: str
    reason: Reason


class Approve(Value):
    """`run` asks the worker to commit the stored plan once, as that agent. `plan_digest` is that of the plan the operator saw.

    `answer` signs `governance.approvals.message`; it stays with the approval and is verified again when the plan is committed.
    """

    verb: Literal["approve"] = "approve"
    approval: ApprovalId
    plan_digest: str
    answer: Signature
    run: bool = False
    note: Note = ""


class Deny(Value):
    verb: Literal["deny"] = "deny"
    approval: ApprovalId
    plan_digest: str
    answer: Signature
    note: Note = ""


class SetRules(Value):
    """Store alert rules (`alerting.rules.Rule`), each in place of one of its name in its environment."""

    verb: Literal["alerts import"] = "alerts import"
    rules: Annotated[tuple[JsonObject, ...], Field(min_length=1, max_length=100)]
    reason: Note = ""


class AssignRemedy(Value):
    """Let an alert rule's remedy be carried out as this agent, within its ceiling and budget; as nobody, where it is None.

    `replaces` is the digest of the rule that the operator saw.
    """

    verb: Literal["alerts assign"] = "alerts assign"
    environment: EnvironmentName
    rule: Annotated[str, Field(max_length=100)]
    agent: AgentName | None
    replaces: str
    reason: Note = ""


class SilenceAlerts(Value):
    """Tell nobody of alerts of an environment that all `matchers` hold for."""

    verb: Literal["alerts silence"] = "alerts silence"
    environment: EnvironmentName
    matchers: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)]
    minutes: Annotated[float, Field(gt=0, le=30 * 24 * 60)]
    comment: Note = ""


class UnsilenceAlerts(Value):
    """End a silence now."""

    verb: Literal["alerts unsilence"] = "alerts unsilence"
    silence: Annotated[str, Field(pattern=r"^sil_[0-9a-f]{20}$")]
    reason: Note = ""


class AcknowledgeAlerts(Value):
    """Take alerts in hand: as long as they fire, they are not told again."""

    verb: Literal["alerts acknowledge"] = "alerts acknowledge"
    alerts: Annotated[tuple[Annotated[str, Field(pattern=r"^alr_[0-9a-f]{20}$")], ...], Field(min_length=1, max_length=1000)]
    reason: Note = ""


class CancelTask(Value):
    """Ask a task's agent to stop; it is told with its next checkpoint."""

    verb: Literal["task cancel"] = "task cancel"
    task: Annotated[str, Field(pattern=r"^task_[0-9a-z]{8,40}$")]
    reason: Note = ""


Verb: TypeAlias = Annotated[
    AddOperator
    | RevokeOperator
    | GiveOperatorToken
    | AddAgent
    | SetAgent
    | RotateToken
    | RevokeAgent
    | Kill
    | Unkill
    | FreezeChanges
    | Unfreeze
    | ResetBudget
    | Retain
    | Approve
    | Deny
    | SetRules
    | AssignRemedy
    | SilenceAlerts
    | UnsilenceAlerts
    | AcknowledgeAlerts
    | CancelTask,
    Field(discriminator="verb"),
]


class Signed(Value):
    """A verb as an operator ordered it. The signature is Ed25519 over `message`, in hexadecimal.

    One that is `attested` came through a door of the server's: then the signature is the attestation's.
    """

    verb: Verb
    by: OperatorName
    at: datetime
    signature: str
    attested: Attestation | None = None


def message(verb: Verb, *, by: str, at: datetime) -> bytes:
    """What an operator signs: what is ordered, by whom and when. `keys.operator_signature` sets it apart from ledger heads."""
    return canonical({"kind": "operator verb 1", "verb": verb.json_value(), "by": by, "at": at.isoformat()})


def taken_for_nobody(name: str) -> bool:
    """Whether an agent of this name could be confused with a caller that is no agent."""
    return name in _NAMES_OF_NOBODY
