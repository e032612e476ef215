"""Orders that come through a door: attested under the ledger's key, carried out like any other, recorded with who and how."""

from dataclasses import dataclass
from datetime import datetime

from ops_mcp.domain.identity import Operator
from ops_mcp.governance import approvals
from ops_mcp.governance.approvals import Decision
from ops_mcp.governance.attesting import Attestation, Door, attested
from ops_mcp.operator.acts import Terms, carry_out
from ops_mcp.operator.deeds import Deed
from ops_mcp.operator.verbs import Approve, Deny, Signed, Verb, message
from ops_mcp.startup import Opened
from ops_mcp.store.attestations import door_signed_bytes
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.keys import ledger_key_path, load_ledger_key
from ops_mcp.store.people import StoredApproval


@dataclass(frozen=True, slots=True)
class Hand:
    """An operator at a door, and by what they are known there."""

    operator: Operator
    door: Door
    evidence: str


class Orders:
    """Carries orders out for one server. The ledger's key is read when the first order comes."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._key: SigningKey | None = None

    async def carry_out(self, verb: Verb, hand: Hand) -> Deed:
        """Do it. Raises `OpsError` for an order that does not stand, and leaves nothing behind then."""
        return await self._carried_out(verb, hand, self._opened.app.clock())

    async def _carried_out(self, verb: Verb, hand: Hand, at: datetime) -> Deed:
        signature = self._attest(message(verb, by=hand.operator.name, at=at), hand)
        attestation = Attestation(door=hand.door, evidence=hand.evidence, key=self.key.public, signature=signature)
        signed = Signed(verb=verb, by=hand.operator.name, at=at, signature=signature, attested=attestation)
        settings = self._opened.config.settings
        terms = Terms(
            environments=self._opened.config.environments,
            approvals=settings.approvals,
            boundary=settings.http.tls,
            supervise=settings.supervise,
        )
        return await self._opened.database.write(carry_out(signed, terms=terms, now=at), vital=True)

    async def answer(self, stored: StoredApproval, decision: Decision, hand: Hand, *, run: bool = True, note: str = "") -> Deed:
        """Approve or deny exactly the plan that was shown. With `run` the worker carries an approved plan out once."""
        at = self._opened.app.clock()
        said = approvals.message(stored.approval, decision, operator=hand.operator.name, at=at)
        answer, digest = self._attest(said, hand), stored.approval.plan_digest
        if decision is Decision.approve:
            verb: Verb = Approve(approval=stored.approval.id, plan_digest=digest, answer=answer, run=run, note=note)
        else:
            verb = Deny(approval=stored.approval.id, plan_digest=digest, answer=answer, note=note)
        deed = await self._carried_out(verb, hand, at)  # the answer is judged at the moment that its signature names
        self._opened.app.wake_worker()
        return deed

    @property
    def key(self) -> SigningKey:
        """The ledger's key. Raises `NotConfigured` where it is not here."""
        if self._key is None:
            self._key = load_ledger_key(ledger_key_path(self._opened.config.state_dir))
        return self._key

    def _attest(self, said: bytes, hand: Hand) -> str:
        return self.key.sign(door_signed_bytes(attested(said, door=hand.door, evidence=hand.evidence)))
