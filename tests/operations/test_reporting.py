"""Reports on our own ledger, through the real path: a refusal and a budget reach the outbox, once, over restarts."""

from pathlib import Path

import pytest

from ops_mcp.domain.identity import Level
from ops_mcp.domain.outcomes import Refused
from ops_mcp.errors import LeaseLost
from ops_mcp.rounds import reports
from ops_mcp.store import leases
from ops_mcp.store.leases import Claim, Ground
from tests.operations.test_heal import Ward, ward

pytestmark = pytest.mark.anyio

TOLD = {"alerts": {"operators": ["on-call"]}, "channels": {"on-call": {"kind": "file", "path": "/nowhere/told.jsonl"}}}


async def round_of(at: Ward) -> list[str]:
    """One round of a worker that has just begun; the titles of everything that waits for the channel."""
    (report,) = reports(at.home.opened, at.parts)
    at.home.advance(seconds=10)
    await report()
    rows = await at.home.database.fetch("SELECT json_extract(body, '$.title') FROM outbox ORDER BY position")
    return [title for (title,) in rows]


async def test_refusals_and_budgets_reach_the_operators_once_over_restarts_of_the_worker(tmp_path: Path):
    budgets = {"agents": {"spender": {"read": {"calls_per_day": 5}}}}
    async with ward(tmp_path, **TOLD, budgets=budgets) as at:
        low = await at.home.agent("low", ceiling=Level.sandbox)
        assert isinstance(await at.home.call(low, "restart", service="web", environment="production"), Refused)
        assert await round_of(at) == [], "what was before the first round is no news"
        for _ in range(6):
            assert isinstance(await at.home.call(low, "restart", service="web", environment="production"), Refused)
        spender = await at.home.agent("spender")
        for _ in range(4):
            await at.home.call(spender, "services")
        first = await round_of(at)
        assert first == [
            "[low] low was refused once",
            "[high] low was refused 5 times or more within 10 minutes",
            "[medium] A budget of spender is 80 % used",
        ]
        assert await round_of(at) == first


async def test_without_channels_for_operators_nothing_is_read(tmp_path: Path):
    async with ward(tmp_path) as at:
        assert reports(at.home.opened, at.parts) == ()


async def test_a_worker_that_lost_its_lease_tells_nobody(tmp_path: Path):
    async with ward(tmp_path, **TOLD) as at:
        await round_of(at)
        low = await at.home.agent("low", ceiling=Level.sandbox)
        await at.home.call(low, "restart", service="web", environment="production")
        other = Claim(holder="w/y/2/2", version="0", schema_version=5, ground=Ground(config_dir="", state_dir="", database=""))
        await at.home.database.write(
            lambda tx: leases.take(tx, other, at=at.home.now[0], seconds=10**6, dead_fence=at.parts.fence)
        )
        with pytest.raises(LeaseLost):
            await round_of(at)
        assert await at.home.count("outbox") == 0
