"""Whether an attested order stands: the server's own key, the operator as they are now, and how they were known."""

from datetime import datetime

from ops_mcp.domain.identity import Operator
from ops_mcp.governance.attesting import Attestation, attested, delegated, delegation_of, is_known_by
from ops_mcp.store.chain import SignedHead, head_is_signed, verify_signature
from ops_mcp.store.database import Transaction
from ops_mcp.store.keys import operator_signed

_DOOR = b"ops-mcp door v1\x00"


def door_signed_bytes(message: bytes) -> bytes:
    """What the ledger's key signs for a door; the domain keeps it from ever counting as a ledger head."""
    return _DOOR + message


def stands(tx: Transaction, attestation: Attestation, message: bytes, *, operator: Operator, at: datetime) -> bool:
    """Whether this server, or another one of this ledger, attests that `operator` ordered `message` at that moment."""
    if operator.revoked_at is not None or not _is_the_ledgers(tx, attestation.key):
        return False
    said = door_signed_bytes(attested(message, door=attestation.door, evidence=attestation.evidence))
    if not verify_signature(attestation.key, said, attestation.signature):
        return False
    try:
        return is_known_by(operator, attestation) and _is_delegated(operator, attestation, at)
    except ValueError:
        return False


def _is_delegated(operator: Operator, attestation: Attestation, at: datetime) -> bool:
    """The page's session is the operator's by their own signature, until its time is up. Slack has no such word."""
    if attestation.door == "slack":
        return True
    delegation = delegation_of(attestation)
    return at < delegation.until and operator_signed(operator.public_key, delegated(delegation), delegation.signature)


def _is_the_ledgers(tx: Transaction, key: str) -> bool:
    """Whether the newest head is signed with this key."""
    heads = tx.fetch("SELECT id, hash, signature FROM ledger_heads ORDER BY id DESC LIMIT 1")
    ledger = tx.fetch("SELECT value FROM facts WHERE name = 'ledger_id'")
    if not heads or not ledger:
        return False
    number, hash, signature = heads[0]
    return head_is_signed(key, SignedHead(str(ledger[0][0]), int(number), str(hash), "", str(signature)))
