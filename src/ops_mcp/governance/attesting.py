"""Orders that come through a door of the server's own: what the server attests of them, as values and bytes.

At a terminal an operator signs with their own key. In Slack and on the approval page there is no such key: the server says, under
the ledger's key, which operator it was, through which door, and by what it knew them.
"""

from datetime import datetime
from typing import Literal, TypeAlias

from ops_mcp.domain.identity import Operator, OperatorName
from ops_mcp.values import Value, canonical

Door: TypeAlias = Literal["slack", "page"]

_ATTESTED_AS = b"ops-mcp attested order 1\n"
_DELEGATED_AS = b"ops-mcp page session 1\n"


class Attestation(Value):
    """`evidence` is the person's id in Slack, or the `Delegation` of the page's session as JSON. `key` is the ledger's public key
    that `signature` is made with, over `attested(...)`."""

    door: Door
    evidence: str
    key: str
    signature: str


class Delegation(Value):
    """An operator's word, signed with their own key, that a session of the approval page is theirs until then."""

    operator: OperatorName
    session: str
    until: datetime
    signature: str = ""


def attested(message: bytes, *, door: Door, evidence: str) -> bytes:
    """What the server signs for an order: `message` is what the operator would have signed at a terminal."""
    return _ATTESTED_AS + canonical({"door": door, "evidence": evidence}) + b"\n" + message


def delegated(delegation: Delegation) -> bytes:
    """What an operator signs for a session."""
    return _DELEGATED_AS + canonical(
        {"operator": delegation.operator, "session": delegation.session, "until": delegation.until.isoformat()}
    )


def is_known_by(operator: Operator, attestation: Attestation) -> bool:
    """Whether the evidence is of this person, as far as that can be said without their signature: see `delegation_of`."""
    if attestation.door == "slack":
        return operator.slack_id is not None and operator.slack_id == attestation.evidence
    return delegation_of(attestation).operator == operator.name


def delegation_of(attestation: Attestation) -> Delegation:
    """The delegation that is the evidence of the page. Raises `ValueError` for evidence that is none."""
    return Delegation.model_validate_json(attestation.evidence)
