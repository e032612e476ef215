"""Delivery where the operator set a pace, and where a channel can be asked: threads, digests, quiet hours, doubts."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.notices import Button
from ops_mcp.errors import InvalidArguments, NotPermitted, OpsError, ProviderError, RateLimited
from ops_mcp.governance.pacing import ChannelTerms
from ops_mcp.observing import Notice, Way
from ops_mcp.operations.deliver import MOST_DOUBTS
from ops_mcp.store import outbox
from tests.channels.receiving import notice
from tests.operations.fakes import open_world
from tests.operations.test_deliver import Post, Taker, claim, temporary

pytestmark = pytest.mark.anyio


@dataclass
class Knower(Taker):
    """A channel that tells no repeats and can be asked. `took` has what arrived although nobody was told so."""

    took: dict[str, str] = field(default_factory=dict[str, str])
    looked: list[str] = field(default_factory=list[str])
    blind: list[OpsError] = field(default_factory=list[OpsError])

    async def find(self, notice: Notice) -> str | None:
        self.looked.append(notice.id)
        if self.blind:
            raise self.blind.pop(0)
        return self.took.get(notice.id)


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncGenerator[Post]:
    async with open_world(tmp_path) as world:
        taker = Knower()
        made = Post(world, taker, Way(taker))
        made.worker()
        yield made


@pytest.fixture
async def post(tmp_path: Path) -> AsyncGenerator[Post]:
    async with open_world(tmp_path) as world:
        taker = Taker()
        made = Post(world, taker, Way(taker, knows_repeats=True))
        made.worker()
        yield made


def paced(post: Post, **terms: Any) -> None:
    made = ChannelTerms.model_validate(terms)
    post.way = post.way._replace(terms=made, gap_seconds=made.gap_seconds)
    post.worker()


async def row(post: Post, id: str) -> outbox.Posted:
    (found,) = await outbox.named(post.database, id)
    return found


async def test_what_follows_in_a_thread_answers_to_its_first_message_after_a_restart_and_after_that_is_forgotten(
    post: Post,
) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2", thread="docs"))
    await post.round()
    await post.put(notice("ntc_3"))
    await post.next_worker()
    await post.round()
    post.passes(8 * 86_400)
    await post.round()
    assert await post.states() == {}
    await post.put(notice("ntc_4"))
    await post.next_worker()
    await post.round()
    assert [(n.id, n.parent) for n in post.taker.taken] == [
        ("ntc_1", ""),
        ("ntc_2", ""),
        ("ntc_3", "outside-ntc_1"),
        ("ntc_4", "outside-ntc_1"),
    ]


async def test_the_name_of_a_thread_is_stored_with_its_first_delivery_and_forgotten_when_it_is_long_unused(post: Post) -> None:
    threads = "SELECT channel, thread, outside FROM outbox_threads"
    await post.put(notice("ntc_1"), notice("ntc_9", thread="ntc_9"))
    post.taker.failures = [InvalidArguments("no")]
    await post.round()
    assert await post.database.fetch(threads) == []
    await post.put(notice("ntc_2"))
    await post.round()
    assert [tuple(r) for r in await post.database.fetch(threads)] == [("pager", "web", "outside-ntc_2")]
    post.passes(401 * 86_400)
    await post.round()
    assert await post.database.fetch(threads) == []


async def test_what_ended_in_doubt_is_found_and_not_sent_again(asked: Post) -> None:
    taker = knower(asked)
    taker.failures, taker.took = [ProviderError("The line broke.")], {"ntc_1": "17.4"}
    await asked.put(notice("ntc_1"), notice("ntc_2"))
    await asked.round()
    assert await asked.states() == {"ntc_1": "waiting", "ntc_2": "waiting"}
    asked.passes(4.9)
    await asked.round()
    assert taker.looked == []
    asked.passes(0.1)
    await asked.round()
    assert (taker.asked, taker.looked) == (["ntc_1", "ntc_2"], ["ntc_1"])
    assert ((await row(asked, "ntc_1")).outside, (await row(asked, "ntc_2")).state) == ("17.4", "delivered")
    assert taker.taken[0].parent == "17.4"


async def test_what_certainly_has_not_arrived_is_sent_again(asked: Post) -> None:
    taker = knower(asked)
    taker.failures = [ProviderError("The line broke.")]
    await asked.put(notice("ntc_1"))
    await asked.round()
    asked.passes(5)
    await asked.round()
    assert (taker.asked, taker.looked, taker.ids) == (["ntc_1", "ntc_1"], ["ntc_1"], ["ntc_1"])
    assert await asked.states() == {"ntc_1": "delivered"}


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_claim_that_was_left_behind_is_asked_for_and_arrives_once(asked: Post, arrived: bool) -> None:
    taker = knower(asked)
    await asked.put(notice("ntc_1"))
    await claim(asked)
    taker.took = {"ntc_1": "17.4"} if arrived else {}
    await asked.next_worker()
    await asked.round()
    assert taker.looked == []
    asked.passes(5)
    await asked.round()
    assert (taker.looked, taker.asked) == (["ntc_1"], [] if arrived else ["ntc_1"])
    assert await asked.states() == {"ntc_1": "delivered"}


async def test_a_worker_killed_while_it_asks_leaves_the_doubt(asked: Post) -> None:
    taker = knower(asked)
    taker.failures = [ProviderError("The line broke.")]
    await asked.put(notice("ntc_1"))
    await asked.round()
    asked.passes(5)
    await claim(asked)
    await asked.next_worker()
    taker.took = {"ntc_1": "17.4"}
    await asked.round()
    asked.passes(5)
    await asked.round()
    assert (taker.asked, (await row(asked, "ntc_1")).outside) == (["ntc_1"], "17.4")


async def test_a_channel_that_cannot_say_is_asked_a_few_times_and_then_it_is_unknown_and_said(asked: Post) -> None:
    taker = knower(asked)
    taker.failures, taker.blind = [ProviderError("The line broke.")], [temporary("It is down.") for _ in range(20)]
    await asked.put(notice("ntc_1"), notice("ntc_2"))
    await asked.round()
    waited: list[float] = []
    while (found := await row(asked, "ntc_1")).state != "unknown":
        waited.append((found.due_at - asked.world.time.now).total_seconds())
        asked.world.time.now = found.due_at
        await asked.round()
    assert waited == [5, 10, 20, 40, 80, 160, 320, 640]
    assert len(taker.looked) == MOST_DOUBTS == 8
    assert await asked.states() == {"ntc_1": "unknown", "ntc_2": "delivered"}
    (record,) = await asked.records("notice.unknown")
    assert record["reason"] == "It may have arrived; asked 8 times, the channel could not say. It is down."


async def test_a_channel_that_will_never_say_is_asked_once(asked: Post) -> None:
    taker = knower(asked)
    taker.failures, taker.blind = [ProviderError("The line broke.")], [NotPermitted("It needs channels:history.")]
    await asked.put(notice("ntc_1"))
    await asked.round()
    asked.passes(5)
    await asked.round()
    assert (taker.looked, await asked.states()) == (["ntc_1"], {"ntc_1": "unknown"})


async def test_a_channel_that_asks_for_rest_while_it_is_asked_gets_it(asked: Post) -> None:
    taker = knower(asked)
    taker.failures, taker.blind = [ProviderError("The line broke.")], [RateLimited("slow down", retry_after_seconds=60)]
    await asked.put(notice("ntc_1"))
    await asked.round()
    asked.passes(5)
    await asked.round()
    await asked.put(notice("ntc_2", thread="docs"))
    asked.passes(59)
    await asked.round()
    assert (taker.looked, taker.asked) == (["ntc_1"], ["ntc_1"])


async def test_a_refusal_leaves_no_doubt(asked: Post) -> None:
    knower(asked).failures = [InvalidArguments("invalid_blocks")]
    await asked.put(notice("ntc_1"))
    await asked.round()
    assert await asked.states() == {"ntc_1": "dead"}


async def test_many_at_once_become_one_message_and_each_is_delivered_by_its_name(post: Post) -> None:
    paced(post, digest_over=3)
    button = Button(action="approve", value="apr_1", label="Approve")
    await post.put(
        *(notice(f"ntc_{n}", thread=f"t{n}", severity="low", title=f"[low] {n}") for n in range(4)),
        notice("ntc_4", thread="t4", severity="critical", title="[critical] 4"),
        notice("ntc_5", thread="t5", buttons=(button,)),
        notice("ntc_6", thread="t6", replaces="17.4"),
        notice("ntc_7", thread="task tsk_1"),
    )
    await post.round()
    digest = next(n for n in post.taker.taken if n.id.startswith("dig_"))
    assert sorted(n.id for n in post.taker.taken if n is not digest) == ["ntc_5", "ntc_6", "ntc_7"]
    assert (digest.severity, digest.title) == ("critical", "[critical] 5 notices: 1 critical, 4 low")
    assert digest.untrusted == "- [critical] 4\n- [low] 0\n- [low] 1\n- [low] 2\n- [low] 3"
    assert digest.body == {"kind": "digest", "notices": [f"ntc_{n}" for n in range(5)]}
    assert set((await post.states()).values()) == {"delivered"}
    assert {(await row(post, f"ntc_{n}")).outside for n in range(5)} == {f"outside-{digest.id}"}
    await post.put(notice("ntc_8", thread="t4"))
    await post.round()
    assert post.taker.taken[-1].parent == f"outside-{digest.id}"


async def test_what_is_behind_a_digest_in_its_thread_waits_for_it_also_across_a_restart(post: Post) -> None:
    paced(post, digest_over=1)
    await post.put(*(notice(f"ntc_{n}", thread=f"t{n}") for n in range(2)))
    post.taker.failures = [temporary()]
    await post.round()
    await post.put(notice("ntc_2", thread="t0"))
    await post.next_worker()
    await post.round()
    assert post.taker.ids == []
    post.passes(2)
    await post.round()
    assert [id.partition("_")[0] for id in post.taker.ids] == ["dig", "ntc"]
    assert set((await post.states()).values()) == {"delivered"}


async def test_a_digest_that_is_refused_leaves_dead_letters_that_can_be_repeated_each(post: Post) -> None:
    paced(post, digest_over=1)
    await post.put(*(notice(f"ntc_{n}", thread=f"t{n}") for n in range(3)))
    post.taker.failures = [InvalidArguments("HTTP 400")]
    await post.round()
    assert set((await post.states()).values()) == {"dead"}
    at = post.world.time.now
    assert await post.database.write(lambda tx: outbox.repeat(tx, "ntc_1", by="x", at=at)) == 1
    await post.round()
    assert post.taker.ids == ["ntc_1"]
    digest = next(id for id in await post.states() if id.startswith("dig_"))
    assert await post.database.write(lambda tx: outbox.repeat(tx, digest, by="x", at=at)) == 1
    await post.round()
    assert (await post.states()).keys() == {"ntc_0", "ntc_1", "ntc_2", digest}
    assert set((await post.states()).values()) == {"delivered"}
    assert (await row(post, "ntc_1")).outside == "outside-ntc_1"


async def test_in_quiet_hours_people_are_left_alone_and_told_in_the_morning(post: Post) -> None:
    """It is 12:00 UTC, which is 21:00 in Tokyo."""
    paced(post, quiet="20:00-07:00", quiet_zone="Asia/Tokyo")
    await post.put(
        notice("ntc_1", severity="low", title="[low] 1"),
        notice("ntc_2", severity="critical", thread="docs"),
        notice("ntc_3", severity="medium", title="[medium] 3"),
    )
    await post.round()
    assert post.taker.ids == ["ntc_2"]
    post.passes(9 * 3600 + 3599)
    await post.round()
    assert post.taker.ids == ["ntc_2"]
    post.passes(1)
    await post.round()
    digest = post.taker.taken[-1]
    assert (digest.title, digest.text) == (
        "[medium] 2 notices: 1 medium, 1 low",
        "They were held back during quiet hours.",
    )
    assert set((await post.states()).values()) == {"delivered"}


async def test_a_rate_is_kept_also_where_it_is_faster_than_the_rounds(post: Post) -> None:
    paced(post, rate=240)
    await post.put(*(notice(f"ntc_{n}", thread=f"t{n}") for n in range(9)))
    begun = post.world.time.now
    await post.round()
    assert len(post.taker.ids) == 9
    assert post.world.time.now - begun >= timedelta(seconds=8 * 0.25)


def knower(post: Post) -> Knower:
    assert isinstance(post.taker, Knower)
    return post.taker


async def test_a_claim_of_a_channel_that_has_become_another_kind_is_unknown(asked: Post) -> None:
    knower(asked).failures = [ProviderError("The line broke.")]
    await asked.put(notice("ntc_1"))
    await asked.round()
    other = Taker()
    asked.way = Way(other)
    asked.world.parts = replace(asked.world.parts)
    asked.worker()
    asked.passes(5)
    await asked.round()
    assert (other.asked, await asked.states()) == ([], {"ntc_1": "unknown"})
