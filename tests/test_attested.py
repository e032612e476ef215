"""Orders that the server attests: what stands, and every way in which one does not. Judged by the real acts on a real ledger."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.identity import Level, OperatorName
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.doors.ordering import Hand, Orders
from ops_mcp.errors import Conflict, NotPermitted, OpsError
from ops_mcp.governance.approvals import Decision
from ops_mcp.governance.attesting import Attestation, Delegation, Door, attested, delegated
from ops_mcp.operator.acts import DOOR_VERBS, Terms, carry_out
from ops_mcp.operator.verbs import (
    AddOperator,
    Approve,
    FreezeChanges,
    Kill,
    RevokeAgent,
    RevokeOperator,
    Signed,
    Unfreeze,
    Unkill,
    Verb,
    message,
)
from ops_mcp.store.attestations import door_signed_bytes
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.keys import ledger_key_path, load_ledger_key, operator_signature
from ops_mcp.store.people import operators, stored_approval
from tests.house import House, house

pytestmark = pytest.mark.anyio

OTTO = "U0000OTTO"
FREEZE = FreezeChanges(environment=EnvironmentName("staging"), reason="stocktaking")


@dataclass
class Server:
    """A server with its ledger's key, and Otto, who has an id in Slack and a key at home."""

    home: House
    key: SigningKey
    ottos: SigningKey

    def signed(
        self,
        verb: Verb = FREEZE,
        *,
        by: str = "otto",
        door: Door = "slack",
        evidence: str = OTTO,
        key: SigningKey | None = None,
        at: datetime | None = None,
        said: Verb | None = None,
        shown: str | None = None,
    ) -> Signed:
        """An order through a door. `said` is the verb that is signed, `shown` the evidence that is shown, where they differ."""
        moment, signer = at or self.home.now[0], key or self.key
        bytes_ = attested(message(said or verb, by=by, at=moment), door=door, evidence=evidence)
        signature = signer.sign(door_signed_bytes(bytes_))
        attestation = Attestation(door=door, evidence=shown or evidence, key=signer.public, signature=signature)
        return Signed(verb=verb, by=OperatorName(by), at=moment, signature=signature, attested=attestation)

    def delegation(self, *, operator: str = "otto", minutes: float = 30, key: SigningKey | None = None) -> str:
        until = self.home.now[0] + timedelta(minutes=minutes)
        unsigned = Delegation(operator=OperatorName(operator), session="ses_1", until=until)
        return unsigned.evolve(signature=operator_signature(key or self.ottos, delegated(unsigned))).model_dump_json()

    async def carry_out(self, signed: Signed) -> None:
        config = self.home.config
        terms = Terms(environments=config.environments, approvals=config.settings.approvals, boundary=False)
        await self.home.database.write(carry_out(signed, terms=terms, now=self.home.now[0]))

    async def refused(self, signed: Signed) -> OpsError:
        before = await self.home.count("ledger")
        with pytest.raises(OpsError) as refusal:
            await self.carry_out(signed)
        assert await self.home.count("ledger") == before
        assert await self.home.count("freezes") == 0
        return refusal.value


@asynccontextmanager
async def server(tmp_path: Path) -> AsyncGenerator[Server]:
    async with house(tmp_path) as home:
        ottos = SigningKey.generate()
        await home.order(AddOperator(name=OperatorName("otto"), public_key=ottos.public, slack_id=OTTO, protected=False))
        yield Server(home, load_ledger_key(ledger_key_path(home.config.state_dir)), ottos)


async def test_an_attested_order_is_done_and_the_ledger_says_who_and_through_which_door(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        await found.carry_out(found.signed())
        (record,) = await found.home.records("freeze.set")
        assert record["caller"] == "operator:otto"
        assert record["reason"] == "stocktaking"
        shown = record["data"]["order"]["attested"]  # type: ignore[index,call-overload]
        assert (shown["door"], shown["evidence"], shown["key"]) == ("slack", OTTO, found.key.public)  # type: ignore[index,call-overload]


async def test_an_order_through_the_page_stands_by_the_operators_own_word_for_the_session(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        await found.carry_out(found.signed(door="page", evidence=found.delegation()))
        assert await found.home.count("freezes") == 1


def longer(found: Server) -> str:
    """A delegation whose end was changed after it was signed."""
    signed = Delegation.model_validate_json(found.delegation())
    return signed.evolve(until=signed.until + timedelta(days=9)).model_dump_json()


WRONG: dict[str, Callable[[Server], Signed]] = {
    "another key signed it": lambda s: s.signed(key=SigningKey.generate()),
    "the operator's own key is not the server's": lambda s: s.signed(key=s.ottos),
    "somebody else in Slack": lambda s: s.signed(evidence="U0000MALL"),
    "another person is shown than was signed": lambda s: s.signed(evidence="U0000MALL", shown=OTTO),
    "an operator whom Slack does not know": lambda s: s.signed(by="olga"),
    "an operator whom Slack does not know, without evidence": lambda s: s.signed(by="olga", evidence=""),
    "nobody": lambda s: s.signed(by="mallory"),
    "another order was signed": lambda s: s.signed(said=FREEZE.evolve(environment="sandbox")),
    "the evidence of one door at another": lambda s: s.signed(door="page"),
    "a session whose time is over": lambda s: s.signed(door="page", evidence=s.delegation(minutes=-1)),
    "a session that ends this instant": lambda s: s.signed(door="page", evidence=s.delegation(minutes=0)),
    "a session that the server gave itself": lambda s: s.signed(door="page", evidence=s.delegation(key=s.key)),
    "somebody else's session": lambda s: s.signed(by="olga", door="page", evidence=s.delegation()),
    "a session in another's name": lambda s: s.signed(by="olga", door="page", evidence=s.delegation(operator="olga")),
    "no session at all": lambda s: s.signed(door="page", evidence="{}"),
    "a session that was made longer": lambda s: s.signed(door="page", evidence=longer(s)),
    "an order of six minutes ago": lambda s: s.signed(at=s.home.now[0] - timedelta(minutes=6)),
    "an order of the future": lambda s: s.signed(at=s.home.now[0] + timedelta(minutes=6)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_order_does_not_stand_by(tmp_path: Path, wrong: str) -> None:
    async with server(tmp_path) as found:
        assert isinstance(await found.refused(WRONG[wrong](found)), NotPermitted)


async def test_what_a_door_does_not_take_is_refused_however_well_it_is_attested(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        verbs: tuple[Verb, ...] = (
            Unfreeze(environment=None, reason="x"),
            Kill(agent=None, reason="x"),
            Unkill(agent=None, reason="x"),
            RevokeOperator(name="olga", reason="x"),
            RevokeAgent(name="ada", reason="x"),  # type: ignore[arg-type]
            AddOperator(name="mallory", public_key="0" * 64, slack_id="U0000MALL", protected=False),
        )
        for verb in verbs:
            refusal = await found.refused(found.signed(verb))
            assert refusal.message == f"`{verb.verb}` is not ordered through slack."
        assert {kind.__name__ for kind in DOOR_VERBS} == {
            "Approve", "Deny", "FreezeChanges", "CancelTask", "AcknowledgeAlerts", "SilenceAlerts",
        }  # fmt: skip


async def test_an_operator_who_was_revoked_is_attested_in_vain(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        await found.home.order(RevokeOperator(name="otto", reason="left"))
        assert "was revoked" in (await found.refused(found.signed())).message


async def test_one_id_in_slack_is_one_operator(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        second = AddOperator(name="otto2", public_key=SigningKey.generate().public, slack_id=OTTO, protected=False)
        with pytest.raises(Conflict, match="otto's"):
            await found.home.order(second)
        await found.home.order(RevokeOperator(name="otto", reason="a new name"))
        await found.home.order(second)


async def granted(found: Server) -> tuple[str, object]:
    """An approval that Otto granted in Slack, and the agent that asked."""
    agent = await found.home.agent(ceiling=Level.prod, score=170)
    outcome = await found.home.call(agent, "deploy", service="web", environment="production", ref="next")
    assert isinstance(outcome, NeedsApproval)
    stored = await stored_approval(found.home.database, outcome.approval.id)
    assert stored is not None
    otto = next(one for one in await operators(found.home.database) if one.name == "otto")
    await Orders(found.home.opened).answer(stored, Decision.approve, Hand(otto, "slack", OTTO))
    return outcome.approval.id, agent


FORGED: dict[str, Callable[[dict[str, str]], str]] = {
    "none": json.dumps,
    "another person": lambda kept: json.dumps(kept | {"evidence": "U0000MALL"}),
    "another door": lambda kept: json.dumps(kept | {"door": "page"}),
    "another key": lambda kept: json.dumps(kept | {"key": "0" * 64}),
    "another signature": lambda kept: json.dumps(kept | {"signature": "0" * 128}),
    "half of it": lambda kept: json.dumps(kept)[:40],
    "nothing of it": lambda kept: "{}",
    "an operator's signature": lambda kept: kept["signature"],
}


@pytest.mark.parametrize("forged", FORGED)
async def test_the_commit_verifies_again_what_was_attested(tmp_path: Path, forged: str) -> None:
    async with server(tmp_path) as found:
        approval, agent = await granted(found)
        stored = await stored_approval(found.home.database, approval)
        assert stored is not None
        assert stored.signature is not None
        kept = FORGED[forged](json.loads(stored.signature))
        await found.home.database.write(lambda tx: tx.execute("UPDATE approvals SET signature = ?", kept))
        outcome = await found.home.call(agent, "deploy", service="web", environment="production", ref="next")  # type: ignore[arg-type]
        assert isinstance(outcome, Done if forged == "none" else NeedsApproval), outcome


async def test_an_attestation_is_good_for_one_approval_only(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        approval, agent = await granted(found)
        first = await stored_approval(found.home.database, approval)
        assert first is not None
        assert isinstance(
            await found.home.call(agent, "deploy", service="web", environment="production", ref="next"),  # type: ignore[arg-type]
            Done,
        )
        other = await found.home.call(agent, "deploy", service="docs", environment="production", ref="next")  # type: ignore[arg-type]
        assert isinstance(other, NeedsApproval)
        second = await stored_approval(found.home.database, other.approval.id)
        assert second is not None
        body = first.approval.evolve(state="granted", id=second.approval.id, plan_digest=second.approval.plan_digest)
        await found.home.database.write(
            lambda tx: tx.execute(
                "UPDATE approvals SET state = 'granted', body = ?, signature = ? WHERE id = ?",
                body.model_dump_json(), first.signature, second.approval.id,
            )
        )  # fmt: skip
        again = await found.home.call(agent, "deploy", service="docs", environment="production", ref="next")  # type: ignore[arg-type]
        assert not isinstance(again, Done)


async def test_an_answer_that_is_not_attested_itself_grants_nothing_however_the_order_is(tmp_path: Path) -> None:
    async with server(tmp_path) as found:
        agent = await found.home.agent(ceiling=Level.prod, score=170)
        outcome = await found.home.call(agent, "deploy", service="web", environment="production", ref="next")
        assert isinstance(outcome, NeedsApproval)
        stored = await stored_approval(found.home.database, outcome.approval.id)
        assert stored is not None
        verb = Approve(approval=stored.approval.id, plan_digest=stored.approval.plan_digest, answer="0" * 128)
        assert (await found.refused(found.signed(verb))).message == "The answer is not attested."
        again = await stored_approval(found.home.database, outcome.approval.id)
        assert again is not None
        assert again.approval.state == "pending"
