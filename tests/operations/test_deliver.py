"""Delivery from the outbox, with time that the test moves: order, pauses, dead letters, and what a crash leaves behind."""

import contextlib
import subprocess
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.errors import (
    InvalidArguments,
    LeaseLost,
    NotConfigured,
    OpsError,
    ProviderError,
    RateLimited,
    Unavailable,
)
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Notice, Way
from ops_mcp.operations import deliver
from ops_mcp.operations.deliver import MOST_ATTEMPTS, Delivery, deliveries, pause_seconds
from ops_mcp.store import leases, outbox
from ops_mcp.store.database import Database
from ops_mcp.store.outbox import State
from ops_mcp.values import Secret
from tests.channels.receiving import notice
from tests.operations.fakes import World, open_world

pytestmark = pytest.mark.anyio

KNOWN = "hunter2-hunter2"


@dataclass
class Taker:
    """A channel made of memory. What it raises next is in `failures`; `hangs` never answers."""

    kind: str = "memory"
    taken: list[Notice] = field(default_factory=list[Notice])
    asked: list[str] = field(default_factory=list[str])
    failures: list[OpsError] = field(default_factory=list[OpsError])
    always: OpsError | None = None
    gate: anyio.Event | None = None

    async def send(self, notice: Notice) -> str:
        self.asked.append(notice.id)
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.always is not None:
            raise self.always
        self.taken.append(notice)
        return f"outside-{notice.id}"

    @property
    def ids(self) -> list[str]:
        return [notice.id for notice in self.taken]


@dataclass
class Post:
    """A world with an outbox, one channel `pager`, and the worker's rounds."""

    world: World
    taker: Taker
    way: Way
    others: dict[str, Way] = field(default_factory=dict[str, Way])
    rounds: tuple[deliver.Round, ...] = ()

    @property
    def database(self) -> Database:
        return self.world.database

    def worker(self) -> None:
        """A worker begins, with nothing remembered."""
        redactor = Redactor({"known": Secret(KNOWN)}, b"key")
        self.rounds = deliveries(self.world.parts, {"pager": self.way, **self.others}, lambda: redactor)

    async def put(self, *notices: Notice) -> None:
        for one in notices:
            await self.database.write(lambda tx, one=one: outbox.enqueue(tx, one, at=self.world.time.now))

    async def round(self) -> None:
        for one in self.rounds:
            await one()

    async def states(self) -> dict[str, str]:
        rows = await self.database.fetch("SELECT id, state FROM outbox ORDER BY position")
        return dict(rows)

    def passes(self, seconds: float) -> None:
        self.world.time.now += timedelta(seconds=seconds)

    async def records(self, kind: str) -> list[Any]:
        import json

        await self.database.write(lambda _: None)
        rows = await self.database.fetch("SELECT body FROM ledger WHERE kind = ? ORDER BY id", kind)
        return [json.loads(row[0]) for row in rows]

    async def next_worker(self) -> None:
        """The worker is gone; another one takes the lease."""
        fence = await self.world.take_lease("second", dead_fence=self.world.parts.fence)
        self.world.parts = replace(self.world.parts, fence=fence)
        self.worker()


@pytest.fixture
async def post(tmp_path: Path) -> AsyncGenerator[Post]:
    async with open_world(tmp_path) as world:
        taker = Taker()
        made = Post(world, taker, Way(taker, knows_repeats=True))
        made.worker()
        yield made


def temporary(message: str = "It is down.") -> ProviderError:
    return ProviderError(message, temporary=True)


async def test_what_is_enqueued_is_delivered_once_in_order_and_kept_as_delivered(post: Post) -> None:
    await post.put(*(notice(f"ntc_{n}") for n in range(5)))
    await post.round()
    await post.round()
    assert post.taker.asked == [f"ntc_{n}" for n in range(5)]
    (row,) = await outbox.named(post.database, "ntc_3")
    assert (row.state, row.outside, row.attempts, row.settled_at) == ("delivered", "outside-ntc_3", 1, post.world.time.now)
    assert not await post.database.write(outbox.waits)


async def test_one_id_is_stored_once_in_each_channel(post: Post) -> None:
    other = Taker()
    post.others = {"mail": Way(other)}
    post.worker()
    await post.put(notice("ntc_1"), notice("ntc_1", title="again"), notice("ntc_1", channel="mail"))
    await post.round()
    await post.put(notice("ntc_1"))
    await post.round()
    assert (post.taker.asked, other.asked) == (["ntc_1"], ["ntc_1"])
    assert post.taker.taken[0].title == notice().title


async def test_a_notice_of_a_transaction_that_is_undone_is_not_there(post: Post) -> None:
    def unit(tx: outbox.Transaction) -> None:
        outbox.enqueue(tx, notice("ntc_1"), at=post.world.time.now)
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await post.database.write(unit)
    await post.round()
    assert post.taker.asked == []


async def test_a_thread_waits_for_its_first_notice_and_the_others_do_not(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2"), notice("ntc_3", thread="docs"))
    post.taker.failures = [temporary()]
    await post.round()
    assert post.taker.ids == ["ntc_3"]
    post.passes(1.9)
    await post.round()
    assert post.taker.ids == ["ntc_3"]
    post.passes(0.1)
    await post.round()
    assert post.taker.ids == ["ntc_3", "ntc_1", "ntc_2"]


async def test_each_failure_doubles_the_pause_and_the_last_leaves_a_dead_letter_that_the_ledger_names(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2"))
    post.taker.always = temporary("It is down.")
    waited: list[float] = []
    for _ in range(MOST_ATTEMPTS - 1):
        await post.round()
        (row,) = await outbox.named(post.database, "ntc_1")
        waited.append((row.due_at - post.world.time.now).total_seconds())
        post.world.time.now = row.due_at
    post.taker.always = None
    post.taker.failures = [temporary("It is down.")]
    await post.round()
    assert waited == [2, 4, 8, 16, 32, 64, 128, 256, 512, *[900.0] * 10]
    assert await post.states() == {"ntc_1": "dead", "ntc_2": "delivered"}
    (record,) = await post.records("notice.dead")
    assert record["code"] == "provider_error"
    assert record["reason"] == "Given up after 20 attempts. It is down."
    assert record["data"] == {"notice": "ntc_1", "channel": "pager", "thread": "web", "severity": "high", "attempts": 20}


async def test_a_receiver_that_asks_for_rest_gets_it_for_its_whole_channel_and_no_longer_than_six_hours(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2", thread="docs"))
    post.way = replace_way(post.way, at_once=1)
    post.worker()
    post.taker.failures = [RateLimited("slow down", retry_after_seconds=120)]
    await post.round()
    assert post.taker.asked == ["ntc_1"]
    post.passes(119)
    await post.put(notice("ntc_3", thread="shop"))
    await post.next_worker()
    await post.round()
    assert post.taker.asked == ["ntc_1"]
    post.passes(1)
    await post.round()
    assert post.taker.ids == ["ntc_1", "ntc_2", "ntc_3"]
    await post.put(notice("ntc_4"))
    post.taker.failures = [RateLimited("slow down", retry_after_seconds=1e12)]
    await post.round()
    (row,) = await outbox.named(post.database, "ntc_4")
    assert row.due_at - post.world.time.now == timedelta(hours=6)


async def test_a_failure_that_says_when_to_come_back_is_believed_only_where_that_is_later(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2", thread="docs"))
    post.taker.failures = [
        ProviderError("503", temporary=True, retry_after_seconds=40),
        ProviderError("503", temporary=True, retry_after_seconds=0.1),
    ]
    await post.round()
    due = [row.due_at - post.world.time.now for id in ("ntc_1", "ntc_2") for row in await outbox.named(post.database, id)]
    assert sorted(due) == [timedelta(seconds=2), timedelta(seconds=40)]


async def test_what_is_refused_is_dead_at_once_and_the_thread_goes_on(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2"))
    post.taker.failures = [InvalidArguments("HTTP 400", hint="See its log.")]
    await post.round()
    assert await post.states() == {"ntc_1": "dead", "ntc_2": "delivered"}
    assert [r["reason"] for r in await post.records("notice.dead")] == ["HTTP 400 See its log."]


async def test_a_failure_that_says_nothing_is_unknown_and_not_sent_again(post: Post) -> None:
    await post.put(notice("ntc_1"))
    post.taker.failures = [ProviderError("The line broke.")]
    await post.round()
    await post.round()
    assert post.taker.asked == ["ntc_1"]
    assert await post.states() == {"ntc_1": "unknown"}
    assert len(await post.records("notice.unknown")) == 1


async def test_a_claim_that_was_left_behind_goes_again_where_repeats_are_told(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2"))
    await claim(post)
    await post.next_worker()
    await post.round()
    assert post.taker.ids == ["ntc_1", "ntc_2"]
    (row,) = await outbox.named(post.database, "ntc_1")
    assert (row.state, row.attempts) == (State.delivered, 2)


async def test_a_claim_that_was_left_behind_is_unknown_where_repeats_are_not_told_and_can_be_repeated_by_hand(post: Post) -> None:
    post.way = replace_way(post.way, knows_repeats=False)
    await post.put(notice("ntc_1"), notice("ntc_2"))
    await claim(post)
    await post.next_worker()
    await post.round()
    assert post.taker.ids == ["ntc_2"]
    assert await post.states() == {"ntc_1": "unknown", "ntc_2": "delivered"}
    (record,) = await post.records("notice.unknown")
    assert "may have arrived" in record["reason"]
    assert await post.database.write(lambda tx: outbox.repeat(tx, "ntc_1", by="operator:olga", at=post.world.time.now)) == 1
    await post.round()
    assert post.taker.ids == ["ntc_2", "ntc_1"]
    assert [r["caller"] for r in await post.records("notice.repeated")] == ["operator:olga"]


async def test_a_notice_that_ends_its_worker_again_and_again_is_given_up(post: Post) -> None:
    await post.put(notice("ntc_1"))
    for _ in range(MOST_ATTEMPTS):
        await claim(post)
        await post.next_worker()
    await post.round()
    assert await post.states() == {"ntc_1": "unknown"}
    assert post.taker.asked == []


async def test_a_worker_that_lost_its_lease_neither_claims_nor_settles(post: Post) -> None:
    await post.put(notice("ntc_1"))
    late = post.rounds[0]
    post.taker.gate = anyio.Event()
    raised: list[BaseException] = []

    async def run_late() -> None:
        try:
            await late()
        except ExceptionGroup as error:
            raised.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(run_late)
        while not post.taker.asked:
            await anyio.sleep(0.001)
        await post.world.take_lease("second", dead_fence=post.world.parts.fence)
        post.taker.gate.set()
    assert "LeaseLost" in repr(raised)
    assert await post.states() == {"ntc_1": "claimed"}
    with pytest.raises(LeaseLost):
        await late()
    assert post.taker.asked == ["ntc_1"]


async def test_a_worker_whose_lease_has_passed_on_takes_nothing_up(post: Post) -> None:
    await post.put(notice("ntc_1"))
    await post.world.take_lease("second", dead_fence=post.world.parts.fence)
    with pytest.raises(LeaseLost):
        await post.rounds[0]()
    assert post.taker.asked == []
    assert await post.states() == {"ntc_1": "waiting"}


async def test_a_worker_that_ends_lets_what_is_on_its_way_arrive_and_settles_it(post: Post) -> None:
    await post.put(notice("ntc_1"))
    post.taker.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(post.rounds[0])
        while not post.taker.asked:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
        post.taker.gate.set()
    assert await post.states() == {"ntc_1": "delivered"}


async def test_what_could_not_be_settled_is_settled_later_and_not_sent_again(post: Post) -> None:
    """As on a full disk: the worker lives on, and knows how it went."""
    post.way = replace_way(post.way, knows_repeats=False)
    database = Refusing(post.database)
    post.world.parts = replace(post.world.parts, database=database)  # type: ignore[arg-type]
    post.worker()
    await post.put(notice("ntc_1"), notice("ntc_2"))
    database.after = 1
    await post.rounds[0]()
    assert await post.states() == {"ntc_1": "claimed", "ntc_2": "waiting"}
    await post.rounds[0]()
    assert post.taker.asked == ["ntc_1"]
    database.after = None
    await post.rounds[0]()
    assert post.taker.asked == ["ntc_1", "ntc_2"]
    assert await post.states() == {"ntc_1": "delivered", "ntc_2": "delivered"}


async def test_a_channel_that_nobody_configured_waits_and_says_what_there_is(post: Post) -> None:
    await post.put(notice("ntc_1", channel="nobody"), notice("ntc_2"))
    await post.round()
    assert await post.states() == {"ntc_1": "waiting", "ntc_2": "delivered"}
    (row,) = await outbox.named(post.database, "ntc_1")
    assert row.trouble == "There is no channel 'nobody'."
    post.others = {"nobody": Way(post.taker)}
    post.worker()
    post.passes(2)
    await post.round()
    assert post.taker.ids == ["ntc_2", "ntc_1"]


async def test_a_channel_that_is_not_ready_yet_waits_for_its_operator(post: Post) -> None:
    await post.put(notice("ntc_1"))
    post.taker.failures = [NotConfigured("The secret 'k' is not set.")]
    await post.round()
    assert await post.states() == {"ntc_1": "waiting"}


async def test_a_channel_with_a_rate_gets_one_at_a_time_with_the_gap_between(post: Post) -> None:
    post.way = replace_way(post.way, gap_seconds=1.0)
    post.worker()
    await post.put(*(notice(f"ntc_{n}", thread=f"t{n}") for n in range(3)))
    for seconds, arrived in ((0, 1), (0.5, 1), (0.5, 2), (1, 3)):
        post.passes(seconds)
        await post.round()
        assert len(post.taker.ids) == arrived


async def test_secrets_are_taken_out_before_a_notice_is_stored_and_known_ones_before_it_is_sent(post: Post) -> None:
    token = "ghp_" + "a1B2" * 9
    await post.put(notice("ntc_1", thread=f"web {token}", untrusted=f"token {token}", body={"labels": {"password": "swordfish"}}))
    (stored,) = await post.database.fetch("SELECT * FROM outbox")
    assert token not in str(stored)
    assert "swordfish" not in str(stored)
    await post.put(notice("ntc_2", title=f"see {KNOWN}"))
    await post.round()
    assert KNOWN not in post.taker.taken[1].title
    assert "[REDACTED:" in post.taker.taken[1].title


async def test_a_notice_is_bounded_however_much_a_stranger_put_into_it(post: Post) -> None:
    huge = notice("ntc_1", title="t" * 10_000, untrusted="u" * 10**6, body={"x": ["y" * 1000] * 1000})
    odd = notice("ntc_2", untrusted="\ud800", body={"n": 2**70, "f": 1e300, "deep": {"\udfff": ["\ud800"]}})
    threads = [notice(f"ntc_{n}", thread="t" * 5000 + str(n % 2)) for n in range(3, 7)]
    await post.put(huge, odd, *threads)
    await post.round()
    first, second, *others = (next(n for n in post.taker.taken if n.id == f"ntc_{i}") for i in range(1, 7))
    assert max(len(other.thread) for other in others) == 400 - 80 + 1 + 71
    assert len({other.thread for other in others}) == 2
    assert len(first.model_dump_json()) < 50_000
    assert first.body == {"left_out": "The body had 1,003,007 bytes; at most 262,144 are sent."}
    assert second.untrusted == "\\ud800"
    assert second.model_dump_json().encode()


async def test_a_slow_channel_does_not_hold_another_up_and_is_given_its_ten_seconds(post: Post) -> None:
    other = Taker()
    post.others = {"mail": Way(other)}
    post.worker()
    post.taker.gate = anyio.Event()
    await post.put(notice("ntc_1"), notice("ntc_2", channel="mail"))
    async with anyio.create_task_group() as group:
        for one in post.rounds:
            group.start_soon(one)
        while not other.taken:
            await anyio.sleep(0.001)
        assert post.taker.ids == []
        post.taker.gate.set()
    assert await post.states() == {"ntc_1": "delivered", "ntc_2": "delivered"}


async def test_what_was_settled_long_ago_is_forgotten_dead_letters_later(post: Post) -> None:
    await post.put(notice("ntc_1"), notice("ntc_2"))
    post.taker.failures = [InvalidArguments("no")]
    await post.round()
    post.passes(8 * 86_400)
    await post.round()
    assert await post.states() == {"ntc_1": "dead"}
    post.passes(90 * 86_400)
    await post.round()
    assert await post.states() == {}


async def test_only_what_is_dead_or_unknown_can_be_repeated(post: Post) -> None:
    await post.put(notice("ntc_1"))
    at = post.world.time.now
    assert await post.database.write(lambda tx: outbox.repeat(tx, "ntc_1", by="x", at=at)) == 0
    await post.round()
    assert await post.database.write(lambda tx: outbox.repeat(tx, "ntc_1", by="x", at=at)) == 0
    assert await post.database.write(lambda tx: outbox.repeat(tx, "ntc_9", by="x", at=at)) == 0


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 2), (2, 4), (9, 512), (10, 900), (10**6, 900)])
def test_the_pause_doubles_up_to_a_quarter_of_an_hour(attempts: int, seconds: float) -> None:
    assert pause_seconds(attempts) == seconds


async def test_what_waits_keeps_a_worker_alive_and_has_one_started(post: Post) -> None:
    await post.put(notice("ntc_1"))
    await post.database.write(lambda tx: tx.execute("DELETE FROM operations"))
    assert leases.work_waits(post.database.place)
    assert await post.database.write(outbox.waits)
    await post.round()
    assert not leases.work_waits(post.database.place)
    assert not await post.database.write(outbox.waits)


@pytest.mark.root
async def test_on_a_full_disk_what_was_sent_is_settled_when_there_is_room_and_not_sent_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as out:
            for size in (65_536, 4096, 1):
                with contextlib.suppress(OSError):
                    while out.write(b"x" * size):
                        pass

    async with open_world(small_disk) as world:
        taker = Filling(fill)
        post = Post(world, taker, Way(taker))
        post.worker()
        await post.put(*(notice(f"ntc_{n}") for n in range(3)))
        await post.rounds[0]()
        assert taker.asked == ["ntc_0"]
        with contextlib.suppress(Unavailable):
            await post.rounds[0]()
        assert await post.states() == {"ntc_0": "claimed", "ntc_1": "waiting", "ntc_2": "waiting"}
        ballast.unlink()
        taker.fill = None
        await post.rounds[0]()
        assert taker.asked == ["ntc_0", "ntc_1", "ntc_2"]
        assert set((await post.states()).values()) == {"delivered"}


@dataclass
class Filling(Taker):
    """Somebody fills the disk while a notice is on its way."""

    fill: Any = None

    def __init__(self, fill: Any) -> None:
        super().__init__()
        self.fill = fill

    async def send(self, notice: Notice) -> str:
        if self.fill is not None:
            self.fill()
        return await super().send(notice)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("a tmpfs can be mounted only by root outside a container")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(("knows_repeats", "state"), [(True, "waiting"), (False, "unknown")])
async def test_a_channel_that_takes_too_long_may_have_taken_it(post: Post, knows_repeats: bool, state: str) -> None:
    post.taker.gate = anyio.Event()
    await post.put(notice("ntc_1"))
    way = Way(post.taker, knows_repeats=knows_repeats)
    with anyio.fail_after(5):
        await Delivery("pager", way, post.world.parts, lambda: Redactor({}, b"key"), send_seconds=0.05)()
    assert await post.states() == {"ntc_1": state}
    (row,) = await outbox.named(post.database, "ntc_1")
    assert "may have arrived" in row.trouble


async def claim(post: Post) -> None:
    """What a worker does that then dies."""
    await post.database.write(
        lambda tx: (
            [
                outbox.settle(tx, left, deliver.interrupted(left, post.way, post.world.time.now), fence=fence(post), at=now(post))
                for left in outbox.left_behind(tx, "pager", fence=fence(post))
            ],
            outbox.claim(tx, "pager", fence=fence(post), at=now(post), most=1),
        )
    )


def fence(post: Post) -> int:
    return post.world.parts.fence


def now(post: Post) -> Any:
    return post.world.time.now


def replace_way(way: Way, **changes: Any) -> Way:
    return way._replace(**changes)


@dataclass
class Refusing:
    """A database whose writes fail after a number of them, as on a full disk."""

    inner: Database
    after: int | None = None

    async def fetch(self, sql: str, *params: Any) -> Any:
        return await self.inner.fetch(sql, *params)

    async def write(self, unit: Any, *, vital: bool = False) -> Any:
        if self.after is not None:
            if self.after <= 0:
                raise Unavailable("The disk is full.")
            self.after -= 1
        return await self.inner.write(unit, vital=vital)
