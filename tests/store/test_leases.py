"""The worker's lease: one holder, a fence that only grows, and refusals that are heard."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_mcp.errors import Conflict, InProgress, LeaseLost
from ops_mcp.store import leases
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.leases import Claim, Lease
from tests.operations.fakes import claim_of, open_database

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = AT + timedelta(seconds=31)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    async with open_database(tmp_path) as opened:
        yield opened


async def take(database: Database, claim: Claim, *, at: datetime = AT, dead_fence: int | None = None) -> Lease:
    return await database.write(lambda tx: leases.take(tx, claim, at=at, seconds=30, dead_fence=dead_fence))


async def test_a_free_lease_is_taken_and_a_live_one_is_not(database: Database) -> None:
    assert (await take(database, claim_of("a"))).fence == 1
    with pytest.raises(InProgress):
        await take(database, claim_of("b"))


async def test_an_expired_lease_or_one_of_a_dead_process_is_taken_with_a_higher_fence(database: Database) -> None:
    await take(database, claim_of("a"))
    assert (await take(database, claim_of("b"), at=LATER)).fence == 2
    assert (await take(database, claim_of("c"), at=LATER, dead_fence=2)).fence == 3


async def test_who_was_seen_dead_under_another_fence_does_not_lose_the_lease(database: Database) -> None:
    await take(database, claim_of("a"))
    with pytest.raises(InProgress):
        await take(database, claim_of("b"), dead_fence=7)


async def test_renewing_and_writing_under_an_old_fence_are_refused_and_leave_nothing(database: Database) -> None:
    old = await take(database, claim_of("a"))
    await take(database, claim_of("b"), at=LATER)
    with pytest.raises(LeaseLost):
        await database.write(lambda tx: leases.renew(tx, old.fence, at=LATER, seconds=30))

    def unit(tx: Transaction) -> None:
        tx.execute("INSERT INTO facts (name, value) VALUES ('mine', 'written')")
        leases.require(tx, old.fence)

    with pytest.raises(LeaseLost):
        await database.write(unit)
    assert await database.fetch("SELECT 1 FROM facts WHERE name = 'mine'") == []


async def test_a_lease_given_back_is_free_and_the_fence_still_grows(database: Database) -> None:
    lease = await take(database, claim_of("a"))
    await database.write(lambda tx: leases.release(tx, lease.fence, at=AT))
    assert (await take(database, claim_of("b"), at=AT)).fence == 2


async def test_a_newer_version_asks_the_holder_to_yield_and_an_older_one_does_not(database: Database) -> None:
    held = await take(database, claim_of("a", version="0.2.0"))
    with pytest.raises(InProgress):
        await take(database, claim_of("old", version="0.1.9"))
    asked = await take(database, claim_of("new", version="0.10.0"))
    assert asked.claim.holder == "a"
    renewed = await database.write(lambda tx: leases.renew(tx, held.fence, at=AT, seconds=30))
    assert renewed.wanted_by == "0.10.0"


async def test_another_ground_is_a_conflict_that_names_what_differs_while_the_holder_lives(database: Database) -> None:
    await take(database, claim_of("a"))
    with pytest.raises(Conflict, match="another state_dir"):
        await take(database, claim_of("b", state_dir="elsewhere"))
    assert (await take(database, claim_of("b", state_dir="elsewhere"), at=LATER)).fence == 2


async def test_every_taking_is_in_the_ledger(database: Database) -> None:
    await take(database, claim_of("a"))
    await take(database, claim_of("b"), at=LATER)
    rows = await database.fetch(
        "SELECT CAST(json_extract(body, '$.data.fence') AS BIGINT) FROM ledger WHERE kind = 'worker.started'"
    )
    assert [row[0] for row in rows] == [1, 2]


async def test_the_lease_can_be_read_without_opening_the_database(database: Database, tmp_path: Path) -> None:
    assert leases.peek(tmp_path / "nowhere.db") is None
    await take(database, claim_of("a"))
    seen = leases.peek(tmp_path / "ops.db")
    assert seen is not None
    assert (seen.claim.holder, seen.fence, seen.is_live(AT), seen.is_live(LATER)) == ("a", 1, True, False)
    assert not leases.work_waits(tmp_path / "ops.db")


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [("0.10.0", "0.9.9", True), ("0.9.9", "0.9.9", False), ("1.0.0+build", "0.99", True), ("0.1.0", "0.1.1", False)],
)
def test_versions_are_ordered_by_their_numbers(version: str, than: str, *, newer: bool) -> None:
    assert leases.is_newer(version, than=than) is newer
