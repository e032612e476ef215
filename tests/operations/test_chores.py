"""A worker's chores on a real database: each at its own pace, and what each leaves behind."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.identity import Level
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.operations.chores import housekeeping, paced
from ops_mcp.operations.loop import Rhythm, work
from ops_mcp.operations.parts import Reins
from ops_mcp.store import anchors, keys, verify
from ops_mcp.store.chain import Signer
from ops_mcp.store.rebuild import compare
from ops_mcp.store.retention import Retained, retain
from ops_mcp.store.trail import ledger_id
from ops_mcp.worker import desk_of
from tests.house import START, House, house

pytestmark = pytest.mark.anyio


async def round_of(home: House) -> None:
    """What a worker that has just started does, once."""
    for chore in housekeeping(home.database, home.config.settings.ledger, home.app.clock):
        await chore()


def waiting(home: House) -> bool:
    """Whether a server would start a worker because of the anchors."""
    terms = home.config.settings.ledger
    return anchors.waits(home.config.database, terms.anchors, every=terms.anchor_every)


async def test_a_chore_is_done_at_once_and_then_at_its_own_pace_even_if_it_fails() -> None:
    now, done = [START], list[int]()

    async def failing() -> None:
        done.append(1)
        raise OSError

    chore = paced(failing, timedelta(minutes=1), lambda: now[0])
    for seconds, times in ((0, 1), (59, 1), (1, 2), (59, 2), (61, 3)):
        now[0] += timedelta(seconds=seconds)
        with suppress(OSError):
            await chore()
        assert len(done) == times, seconds


async def test_the_worker_anchors_the_head_whenever_it_is_far_enough(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.jsonl"
    async with house(tmp_path, ledger={"anchors": [str(place)], "anchor_every": 8}) as home:
        ada = await home.agent()
        await round_of(home)
        assert not place.exists()
        assert not waiting(home)
        for _ in range(4):
            await home.call(ada, "services")
        await home.records()
        assert waiting(home)
        await round_of(home)
        assert not waiting(home)
        await round_of(home)
        (anchor,) = verify.read_anchors(place.read_text(encoding="utf-8"))
        assert anchor.number == len(await home.records())
        public = keys.load_ledger_key(keys.ledger_key_path(home.config.state_dir)).public
        assert isinstance(verify.verify(home.config.database_path, [public], [anchor]), verify.Intact)


async def test_after_a_retention_an_anchor_is_due_at_once(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.jsonl"
    async with house(tmp_path, ledger={"anchors": [str(place)], "anchor_every": 1000}) as home:
        await home.agent()
        home.advance(days=100)
        await home.agent("bob")
        signer = Signer(await ledger_id(home.database), keys.load_ledger_key(keys.ledger_key_path(home.config.state_dir)))
        await round_of(home)
        assert not place.exists()
        kept = await retain(home.database, signer, tmp_path / "old", keep_days=90, now=home.now[0], by="olga")
        assert isinstance(kept, Retained)
        await round_of(home)
        (anchor,) = verify.read_anchors(place.read_text(encoding="utf-8"))
        assert anchor.number >= kept.recorded
        await round_of(home)
        assert len(place.read_text(encoding="utf-8").splitlines()) == 1


async def test_requests_and_grants_past_their_time_become_expired_and_are_recorded_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent(ceiling=Level.prod, score=200)
        ids: list[str] = []
        for ref in ("main", "next"):
            asked = await home.call(ada, "deploy", service="web", environment="production", ref=ref)
            assert isinstance(asked, NeedsApproval)
            ids.append(asked.approval.id)
        await home.answer(ids[0])
        await round_of(home)
        assert await home.records("approval.expired") == []
        home.advance(minutes=16)
        await round_of(home)
        await round_of(home)
        assert sorted(str(r["approval"]) for r in await home.records("approval.expired")) == sorted(ids)
        assert await home.database.fetch("SELECT DISTINCT state FROM approvals") == [("expired",)]


async def test_old_counters_and_keys_are_forgotten_and_the_ledger_still_agrees_with_what_is_left(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        assert isinstance(await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="old"), Done)
        home.advance(days=9)
        assert isinstance(await home.call(ada, "services"), Done)
        before = await home.count("spend")
        await round_of(home)
        assert 0 < await home.count("spend") < before
        assert await home.count("idempotency") == 0
        assert await home.database.write(compare) == ()


async def test_nothing_is_forgotten_before_its_time(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        assert isinstance(await home.call(ada, "deploy", service="web", environment="staging", idempotency_key="new"), Done)
        home.advance(days=6, hours=23)
        before = await home.count("spend")
        await round_of(home)
        assert (await home.count("spend"), await home.count("idempotency")) == (before, 1)


async def test_a_running_worker_does_its_chores_and_outlives_one_that_fails(tmp_path: Path) -> None:
    async with house(tmp_path, ledger={"anchors": ["not/an/absolute/path"]}) as home:
        ada = await home.agent(ceiling=Level.prod, score=200)
        assert isinstance(await home.call(ada, "deploy", service="web", environment="production"), NeedsApproval)
        home.advance(minutes=16)
        desk = desk_of(home.opened, Rhythm(exits_when_idle=False))
        reins = Reins()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(work, desk, reins)
                while not await home.records("approval.expired"):
                    await anyio.sleep(0.05)
                reins.pull()
