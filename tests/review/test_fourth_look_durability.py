"""One thing that is broken takes nothing along, nothing grows for good, and a worker is alive for as long as it has work."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ops_mcp.alerting.healing import incident_after
from ops_mcp.alerting.lives import LifeState
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.observations import Sample
from ops_mcp.domain.places import Binding, EnvironmentName
from ops_mcp.domain.releases import HealthVerdict, Placement
from ops_mcp.errors import Unavailable
from ops_mcp.governance.history import GuardLevel
from ops_mcp.governance.load import Reading
from ops_mcp.logs.settings import LogTerms
from ops_mcp.metrics.labels import NAME, labels_of, value_of
from ops_mcp.metrics.series import is_stale
from ops_mcp.observing import LogSearch, Observation, Tailed, TailedLine
from ops_mcp.operations.collect import Collection
from ops_mcp.operations.host_samples import HostSamples
from ops_mcp.operations.loop import Rhythm, work
from ops_mcp.operations.parts import Reins
from ops_mcp.operations.run import run
from ops_mcp.operations.sample import Ending, HostRounds, Scraping, sampling
from ops_mcp.operations.supervise import Supervision
from ops_mcp.rounds import busy, scraped_pages
from ops_mcp.rounds import healing as the_healing
from ops_mcp.sources.scrape import Page
from ops_mcp.store import anchors, healing, leases
from ops_mcp.store.ahead import Ahead
from ops_mcp.store.alerts import lives, rules
from ops_mcp.store.database import Transaction
from ops_mcp.store.guard import HostGuard
from ops_mcp.store.healing import MOST_ALERTS, Trouble
from ops_mcp.store.kernel_sync import kernel_sync
from ops_mcp.store.logs.appending import Batch, Position, Read
from ops_mcp.values import Secret
from ops_mcp.worker import desk_of
from tests.alerting.makers import an_alert
from tests.alerts.test_outside import SOURCE, report
from tests.alerts.watching import watched
from tests.house import house
from tests.operations.fakes import BINDING, FakeProvider, World, open_world
from tests.operations.test_collect import Telling, scene
from tests.operations.test_loop import RHYTHM, desk
from tests.operations.test_sample import Measuring, everything, exposing, sampled_world
from tests.store import ledgers
from tests.store.logs.stored import NOON, STAGING, Shelf, line
from tests.store.test_ahead import BY_THE_KERNEL, an_orphan, at_work

pytestmark = pytest.mark.anyio


@dataclass
class Mistaken(Measuring, Telling):
    """A place with a mistake in it, for one service."""

    mistaken: str = "web"
    asked: list[str] = field(default_factory=list[str])

    async def measure(self, placement: Placement) -> Sequence[Sample]:
        self._meet(placement)
        return await super().measure(placement)

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        self._meet(placement)
        await anyio.sleep(0)
        return await super().tail(placement, position, most_bytes=most_bytes)

    def _meet(self, placement: Placement) -> None:
        self.asked.append(placement.release.binding.service)
        if placement.release.binding.service == self.mistaken:
            raise KeyError("a mistake")


async def serve(world: World, *services: str) -> None:
    for service in services:
        binding = Binding.model_validate({**BINDING.model_dump(), "service": service})
        assert (await run(await world.deploy("v1", binding=binding), world.parts)).state == "healthy"


async def test_a_place_that_is_measured_by_mistake_takes_no_other_along(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store):
        place = Mistaken(world.time)
        parts = world.parts = replace(world.parts, providers={"fake": place}, probe=place.probe)
        await serve(world, "shop", "web")
        _, services, _, _ = sampling(parts, store, list)
        await services()
        assert {value_of(one.labels, "service") for one in (await everything(store)).values()} == {"shop"}


async def test_a_page_that_is_fetched_by_mistake_takes_no_other_along(tmp_path: Path) -> None:
    class Odd(Page):
        fetches = 0

        async def fetched(self) -> bytes:
            Odd.fetches += 1
            raise KeyError("a mistake")

    async with exposing(b"a 1\n") as exposed, sampled_world(tmp_path) as (world, store):
        odd, reins = Odd("odd", exposed.page(service="odd").table, lambda _: Secret("")), Reins()

        async def until_it_was_asked_thrice() -> None:
            while len(exposed.asked) < 3:
                await anyio.sleep(0.005)
            reins.pull()

        async with anyio.create_task_group() as group:
            group.start_soon(until_it_was_asked_thrice)
            await Scraping(replace(world.parts, reins=reins), store, lambda: [odd, exposed.page()]).run()
        up = [s for s in (await everything(store)).values() if value_of(s.labels, NAME) == "up"]
        assert len(up) == 1
        assert Odd.fetches <= 3, "and is itself fetched at its own pace"


class Hanging(HostSamples):
    """A host with a disk that does not answer before `answers` is set."""

    def __init__(self) -> None:
        super().__init__("h")
        self.asked, self.answers = 0, threading.Event()

    def taken(self, at_ms: int) -> list[Observation]:
        self.asked += 1
        self.answers.wait()
        return super().taken(at_ms)


async def test_a_disk_that_hangs_takes_one_thread_and_no_more(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store):
        hanging = Hanging()
        rounds = HostRounds(world.parts, store, hanging)
        try:
            for _ in range(3):
                with anyio.move_on_after(0.05):
                    await rounds.round()
            assert hanging.asked == 1
        finally:
            hanging.answers.set()
        with anyio.fail_after(10):
            while not await everything(store):
                await rounds.round()


async def test_an_anchor_that_hangs_takes_one_thread_and_no_more(tmp_path: Path) -> None:
    place = tmp_path / "anchor"
    os.mkfifo(place)
    async with ledgers.opened(tmp_path) as ledger:
        await ledger.fill(3)
        await anchors.last_anchored(ledger.database, str(place))  # its reader has a thread
        before = threading.active_count()
        try:
            for _ in range(3):
                (result,) = await anchors.anchor_now(ledger.database, [str(place)], ledgers.START, seconds=0.05)
                assert isinstance(result, anchors.NotAnchored)
            assert threading.active_count() <= before + 1
        finally:
            reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
            os.close(reader)


async def test_the_end_of_a_series_that_could_not_be_stored_is_stored_with_the_next_round(tmp_path: Path) -> None:
    async with sampled_world(tmp_path) as (world, store):
        ending, labels, now = Ending(), labels_of({"service": "web", "environment": "staging"}, name="a"), store.now_ms()
        await ending.kept(store, [Observation(labels, now, 1.0)], now)
        await store.aclose()
        broken = tmp_path / "metrics.db"
        whole = broken.read_bytes()
        broken.write_bytes(b"x" * 8192)
        with pytest.raises(Unavailable):
            await ending.kept(store, [], now + 1000)
        broken.write_bytes(whole)
        await ending.kept(store, [], now + 2000)
        (series,) = (await everything(store)).values()
        assert is_stale(series.values[-1])
        assert world.time.now


async def test_a_source_of_no_kind_keeps_no_page_from_being_fetched(tmp_path: Path) -> None:
    page = {"kind": "scrape", "url": "http://127.0.0.1:1/metrics", "service": "web", "environment": "staging"}
    tables = {"odd": {"kind": "scarpe"}, "worse": {"kind": "scrape"}, "good": page}
    async with house(tmp_path, sources=tables) as home:
        assert [one.name for one in scraped_pages(home.opened)] == ["good"]


async def test_a_place_whose_lines_are_read_by_mistake_takes_no_other_along(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        place = Mistaken(here.world.time)
        here.world.parts = replace(here.world.parts, providers={"fake": place}, probe=place.probe)
        await serve(here.world, "shop", "web")
        place.lines = {"shop": [TailedLine("INFO one"), TailedLine("INFO two")]}
        collection = Collection(here.world.parts, here.store, lambda: str)
        for _ in range(3):
            await collection.once()
            here.world.time.now += timedelta(seconds=3)
        assert [record.raw for record in await here.stored("shop")] == ["INFO one", "INFO two"]


async def test_a_provider_that_was_taken_away_ends_the_supervision_of_its_services_alone(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        other = FakeProvider(world.time, kind="gone")
        world.parts = replace(world.parts, providers={"fake": world.provider, "gone": other}, probe=probe_of(world, other))
        gone = Binding.model_validate({**BINDING.model_dump(), "service": "shop", "provider": "gone"})
        assert (await run(await world.deploy("v1", binding=gone), world.parts)).state == "healthy"
        await serve(world, "web")
        supervision = Supervision(replace(world.parts, providers={"fake": world.provider}))
        world.provider.processes["dep_2"].ended = True
        for _ in range(90):
            await supervision.round()
            await world.time.sleep(1)
        assert [one for one in world.provider.effects if one.startswith("start")] == ["start dep_2 v1"] * 2
        assert (await world.get("dep_1")).health is HealthVerdict.failing, "and who looks is told that nobody can look after it"
        escalated = await world.database.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'operation.escalated'")
        assert escalated[0][0] == 1


def probe_of(world: World, other: FakeProvider) -> "FakeProbe":
    return FakeProbe(world.provider, other)


@dataclass
class FakeProbe:
    first: FakeProvider
    other: FakeProvider

    async def __call__(self, placement: Placement, provider: object, observed: object) -> object:
        chosen = self.first if placement.deployment in self.first.processes else self.other
        return await chosen.probe(placement, chosen, observed)  # type: ignore[arg-type]


@BY_THE_KERNEL
async def test_a_file_that_is_opened_anew_after_each_failure_leaves_no_descriptors(tmp_path: Path) -> None:
    async with ledgers.opened(tmp_path) as ledger:
        await at_work(ledger)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            with pytest.raises(Unavailable):
                await ledger.database.write(an_orphan)
            await ledger.database.write(lambda _: None)
        await anyio.sleep(0)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


@BY_THE_KERNEL
async def test_what_is_offered_after_the_end_is_let_go(tmp_path: Path) -> None:
    async with ledgers.opened(tmp_path) as ledger:
        ahead = Ahead(ledger.database._loop)
        ahead.close()
        offered = kernel_sync()
        assert offered is not None
        ahead.offered(offered)
        with pytest.raises(OSError):
            os.fstat(offered.descriptor)


async def test_streams_of_deployments_that_are_long_gone_are_forgotten(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db", LogTerms(keep_days=30))
    for number in range(50):
        records = (line("INFO one", deployment=f"dep_{number}"),)
        await shelf.add(*records, deployment=f"dep_{number}")
        ended = Position("2", "", True)
        was = shelf.positions[f"dep_{number}"]
        await shelf.store.append(Batch(shelf.now, (Read(STAGING, "web", f"dep_{number}", was, ended),)))
    shelf.now = NOON + timedelta(days=31)
    await shelf.add(line("INFO new", seconds=31 * 86_400, deployment="dep_new"), deployment="dep_new")
    while (await shelf.store.keep()).more:
        pass
    await shelf.store.keep()
    assert rows(shelf.path, "SELECT deployment FROM streams") == [("dep_new",)]
    assert rows(shelf.path, "SELECT deployment FROM positions") == [("dep_new",)]
    assert len((await shelf.store.search(LogSearch(environment=STAGING))).records) == 1
    await shelf.store.aclose()


def rows(path: Path, asked: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(asked).fetchall()


async def test_counts_go_with_the_records_that_a_crowded_store_loses(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "logs.db", LogTerms(most_bytes=2**20))
    for batch in range(40):
        await shelf.add(*(line(f"INFO {batch} {number} {'x' * 100}", seconds=batch * 500 + number) for number in range(500)))
    while (await shelf.store.keep()).more:
        pass
    first = (await shelf.store.search(LogSearch(environment=STAGING, oldest_first=True, limit=1))).records[0].time
    ((minute,),) = rows(shelf.path, "SELECT MIN(minute) FROM counts")
    assert isinstance(minute, int)
    assert abs(minute * 60 - first.timestamp()) < 120
    await shelf.store.aclose()


async def test_an_alert_from_outside_keeps_a_worker_until_it_has_ended_by_itself(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        path = world.home.config.database_path
        assert await report(world, "firing", source=SOURCE.evolve(channels=())) == 0
        assert not await world.home.database.fetch("SELECT 1 FROM alert_groups")
        assert await world.home.database.write(busy)
        assert leases.work_waits(path)
        world.home.advance(minutes=3)
        await world.rounds.tell()
        assert await world.open() == []
        assert not await world.home.database.write(busy)
        assert not leases.work_waits(path)


async def test_a_level_from_before_the_guard_was_switched_off_keeps_no_worker(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        database, at = world.home.database, world.home.now[0]

        async def loaded() -> Reading:
            return Reading(at, 99.9, 99.9, 99.9)

        lease = await leases.present(database)
        assert lease is not None
        host = lease.claim.host
        await HostGuard(database, host, loaded).watch(at, fence=lease.fence)
        assert await database.fetch("SELECT level FROM guard_hosts") == [(GuardLevel.emergency.value,)]
        assert await database.write(busy)
        await HostGuard(database, host, loaded, enabled=False).watch(at, fence=lease.fence)
        assert not await database.write(busy)


async def test_rules_of_an_environment_that_is_no_more_keep_no_other_from_being_evaluated(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        gone = Rule(name="Gone", environment=EnvironmentName("gone"), severity=Severity.high, expression="queue_depth > 5")
        await world.home.database.write(lambda tx: rules.put(tx, gone, by="operator:olga", at=world.home.now[0]))
        await world.rule()
        assert [one["rule"] for one in await world.round(9)] == ["High"]


async def test_a_round_that_fails_every_second_is_not_logged_every_second(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world(tmp_path) as world:
        reins, done = Reins(), list[int]()

        async def failing() -> None:
            done.append(1)
            async with anyio.create_task_group() as group:  # as the collection's is
                group.start_soon(refused)

        async def refused() -> None:
            if len(done) == 40:
                reins.pull()
            raise Unavailable("The log store cannot be read." if len(done) < 30 else "The disk is full.")

        tireless = replace(RHYTHM, exits_when_idle=False)  # forty rounds may take longer than an idle worker stays
        await work(replace(desk(world, rhythm=tireless), rounds=lambda _: (failing,)), reins)
        said = [record for record in caplog.records if record.message.startswith("a round")]
        assert [record.getMessage() for record in said] == [
            "a round: The log store cannot be read.",
            "a round: The disk is full.",
        ]
        assert not any(record.exc_info for record in said), "what is expected needs no traceback"


async def test_the_log_of_a_worker_that_runs_for_long_is_begun_anew_when_it_is_large(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    program = (
        "import os, sys; from pathlib import Path; from ops_mcp.worker import turn_log; path = Path(sys.argv[1])\n"
        "turn_log(path); os.write(2, b'x' * (6 << 20)); turn_log(path); os.write(1, b'one'); turn_log(path); os.write(2, b'two')"
    )
    with log.open("ab") as out:
        command = [sys.executable, "-c", program, str(log)]
        assert await anyio.to_thread.run_sync(lambda: subprocess.run(command, stdout=out, stderr=out, check=True)) is not None
    assert log.read_bytes() == b"onetwo"
    assert (tmp_path / "worker.log.1").stat().st_size == 6 << 20


async def test_an_incident_ends_however_many_older_ones_go_on(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        at = world.home.now[0]
        alerts = [an_alert(instance=str(number), starts_at=at + timedelta(seconds=number)) for number in range(MOST_ALERTS + 1)]

        def begun(tx: Transaction) -> None:
            for alert in alerts:
                life = lives.begin(tx, alert, "High", LifeState.firing, actor="rules", at=at)
                healing.keep(tx, Trouble(incident_after(None, alert, at), "High"))
                if alert is alerts[-1]:
                    lives.resolve(tx, life, ended_at=at, actor="rules", at=at)

        await world.home.database.write(begun)
        await the_healing(world.home.opened, desk_of(world.home.opened, Rhythm()).parts(1, Reins())).round()
        ended = await world.home.database.fetch("SELECT fingerprint FROM incidents WHERE resolved_at IS NOT NULL")
        assert ended == [(alerts[-1].fingerprint,)]
