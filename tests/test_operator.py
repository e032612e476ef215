"""Signed verbs against a real ledger: who may order, for how long an order stands, and that it is all or nothing."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.config import ApprovalTerms
from ops_mcp.domain.identity import (
    Agent,
    AgentName,
    Anonymous,
    Level,
    NoToken,
    OnBehalf,
    OperatorName,
    System,
    Tier,
    Token,
    Unknown,
)
from ops_mcp.domain.places import ApprovalRule, Environment, EnvironmentName
from ops_mcp.errors import NotPermitted, OpsError
from ops_mcp.operator.acts import Terms, carry_out
from ops_mcp.operator.verbs import AddAgent, AddOperator, FreezeChanges, Kill, RevokeOperator, SetAgent, Signed, Verb, message
from ops_mcp.store import keys
from ops_mcp.store.chain import Signer, SigningKey
from ops_mcp.store.database import Database
from ops_mcp.store.database import Terms as DatabaseTerms
from ops_mcp.store.people import People, token_hash
from ops_mcp.values import Secret

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PRODUCTION = Environment(name=EnvironmentName("production"), tier=Tier.prod, approval=ApprovalRule.always, private=True)
TERMS = Terms(environments={PRODUCTION.name: PRODUCTION}, approvals=ApprovalTerms(), boundary=False)


@dataclass
class Office:
    """A database, and operators' keys by name."""

    database: Database
    hands: dict[str, SigningKey]

    def signed(self, verb: Verb, *, by: str = "alice", at: datetime = NOW, key: SigningKey | None = None) -> Signed:
        name = OperatorName(by)
        bytes_ = message(verb, by=name, at=at)
        return Signed(verb=verb, by=name, at=at, signature=keys.operator_signature(key or self.hands[by], bytes_))

    async def carry_out(self, signed: Signed, *, now: datetime = NOW, terms: Terms = TERMS) -> None:
        await self.database.write(carry_out(signed, terms=terms, now=now))

    async def refused(self, signed: Signed, *, now: datetime = NOW, terms: Terms = TERMS) -> OpsError:
        with pytest.raises(OpsError) as refusal:
            await self.carry_out(signed, now=now, terms=terms)
        return refusal.value

    async def kinds(self) -> list[str]:
        return [json.loads(row[0])["kind"] for row in await self.database.fetch("SELECT body FROM ledger ORDER BY id")]


@asynccontextmanager
async def office(tmp_path: Path, *, floor: int = 0) -> AsyncGenerator[Office]:
    ledger_key = SigningKey.generate()
    terms = DatabaseTerms(free_space_floor_bytes=floor)
    with anyio.fail_after(20):
        async with Database.open(tmp_path / "ops.db", signer=lambda _: Signer("led_1", ledger_key), terms=terms) as database:
            yield Office(database, {"alice": SigningKey.generate(), "bob": SigningKey.generate()})


@asynccontextmanager
async def staffed(tmp_path: Path) -> AsyncGenerator[Office]:
    async with office(tmp_path) as found:
        await found.carry_out(found.signed(joining(found, "alice")))
        await found.carry_out(found.signed(joining(found, "bob")))
        yield found


def joining(found: Office, name: str, *, protected: bool = True) -> AddOperator:
    return AddOperator(name=name, public_key=found.hands[name].public, protected=protected)


async def test_the_first_operator_adds_themselves_and_nobody_else_ever_does(tmp_path: Path) -> None:
    async with office(tmp_path) as found:
        await found.carry_out(found.signed(joining(found, "alice")))
        refusal = await found.refused(found.signed(joining(found, "bob"), by="bob"))
        assert refusal.message == "'bob' is no operator here."
        assert await found.kinds() == ["operator.added"]


async def test_the_first_operator_cannot_add_somebody_else_first(tmp_path: Path) -> None:
    async with office(tmp_path) as found:
        for key in found.hands.values():
            assert isinstance(await found.refused(found.signed(joining(found, "bob"), by="alice", key=key)), NotPermitted)


async def test_a_revoked_only_operator_does_not_open_the_door_again(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        await found.carry_out(found.signed(RevokeOperator(name="alice", reason="left"), by="bob"))
        assert "revoked" in (await found.refused(found.signed(joining(found, "alice")))).message


@pytest.mark.parametrize("late", [timedelta(minutes=5, seconds=1), timedelta(minutes=-5, seconds=-1)])
async def test_an_order_stands_for_five_minutes(tmp_path: Path, late: timedelta) -> None:
    async with staffed(tmp_path) as found:
        order = found.signed(FreezeChanges(environment=None, reason="storm"))
        assert "too long ago" in (await found.refused(order, now=NOW + late)).message
        await found.carry_out(order, now=NOW + timedelta(minutes=5))


async def test_a_signature_covers_verb_person_and_moment(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        order = found.signed(Kill(agent=None, reason="x"))
        for changed in (
            order.evolve(verb=Kill(agent=None, reason="y")),
            order.evolve(by="bob"),
            order.evolve(at=NOW + timedelta(seconds=1)),
            order.evolve(signature="00" * 64),
            order.evolve(signature="not hexadecimal"),
            found.signed(order.verb, key=found.hands["bob"]),
        ):
            assert isinstance(await found.refused(changed), NotPermitted)
        assert await found.kinds() == ["operator.added", "operator.added"]


async def test_a_refused_order_leaves_nothing_behind(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        before = await found.database.fetch("SELECT value FROM facts WHERE name = 'governance'")
        await found.refused(found.signed(SetAgent(name=AgentName("ghost"), score=1, reason="x")))
        await found.refused(found.signed(FreezeChanges(environment=EnvironmentName("nowhere"), reason="x")))
        assert await found.database.fetch("SELECT value FROM facts WHERE name = 'governance'") == before
        assert await found.database.fetch("SELECT * FROM freezes") == []


async def test_where_agents_come_from_outside_a_key_needs_a_passphrase(tmp_path: Path) -> None:
    async with office(tmp_path) as found:
        outside = Terms(environments={}, approvals=ApprovalTerms(), boundary=True)
        bare = found.signed(joining(found, "alice", protected=False))
        assert isinstance(await found.refused(bare, terms=outside), NotPermitted)
        await found.carry_out(found.signed(joining(found, "alice")), terms=outside)


async def test_a_kill_is_written_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        await found.database.write(lambda _: None)
    async with office(tmp_path, floor=2**62) as full:
        full.hands = found.hands
        kill = full.signed(Kill(agent=None, reason="x"))
        assert (await full.refused(kill)).code == "unavailable"
        await full.database.write(carry_out(kill, terms=TERMS, now=NOW), vital=True)


async def test_a_caller_is_found_by_token_and_nobody_else_is_anonymous(tmp_path: Path) -> None:
    async with staffed(tmp_path) as found:
        verb = AddAgent(name="bot", owner=OperatorName("alice"), ceiling=Level.staging, token_hash=token_hash("opsmcp_good"))
        await found.carry_out(found.signed(verb))
        people = People()

        async def caller(credential: NoToken | Token | OnBehalf) -> object:
            return await found.database.write(lambda t: people.caller(t, credential))

        assert await caller(Token(secret=Secret("opsmcp_good"))) == Agent(
            name=AgentName("bot"), owner=OperatorName("alice"), ceiling=Level.staging
        )
        assert await caller(NoToken()) == Anonymous()
        for wrong in ("", "opsmcp_bad", "${OPS_MCP_TOKEN}", "\ud800"):
            assert isinstance(await caller(Token(secret=Secret(wrong))), Unknown)
        assert isinstance(await caller(OnBehalf(operation="x", agent=AgentName("bot"))), System)
        assert isinstance(await caller(OnBehalf(operation="x", agent=AgentName("ghost"))), Unknown)
