"""The watch over the inventory: when it asks, what it stores, and that nothing holds up anything else. Time is virtual."""

import logging
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ops_mcp.domain.inventory import Asked, Found, HealthState, Thing, name_of
from ops_mcp.errors import LeaseLost
from ops_mcp.metrics.labels import NAME, value_of
from ops_mcp.observing import Observation
from ops_mcp.operations.run import run
from ops_mcp.operations.supervise import Supervision
from ops_mcp.operations.watch_health import ROUND_SECONDS, HealthWatch
from ops_mcp.store import health
from ops_mcp.store.health import Stored
from tests.operations.fakes import ENVIRONMENT, SERVICE, START, VirtualTime, World, open_world

pytestmark = pytest.mark.anyio
H, D, U, Q = HealthState.healthy, HealthState.degraded, HealthState.unhealthy, HealthState.unknown


class Steps(VirtualTime):
    """Time that passes only while a test waits, and never while the watch is in the middle of a round."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep: list[tuple[datetime, float, anyio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        woken = anyio.Event()
        self.asleep.append((self.now + timedelta(seconds=seconds), seconds, woken))
        await woken.wait()

    async def wait(self, seconds: float) -> None:
        end = self.now + timedelta(seconds=seconds)
        while True:
            await self.settled()
            upcoming = min((due for due, _, _ in self.asleep), default=end)
            if upcoming > end:
                self.now = max(self.now, end)
                return
            self.now = max(self.now, upcoming)
            await self._happen()
            woken = [one for one in self.asleep if one[0] <= self.now]
            self.asleep = [one for one in self.asleep if one[0] > self.now]
            for _, _, event in woken:
                event.set()

    async def settled(self) -> None:
        """The round is over, and whatever it began has come as far as it can without time."""
        while not any(seconds == ROUND_SECONDS for _, seconds, _ in self.asleep):
            await anyio.sleep(0.0005)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()


def thing(name: str, **terms: Any) -> Thing:
    probe = {"kind": "tcp", "host": "127.0.0.1", "port": 1}
    return Thing.model_validate({"service": name, "environment": "staging", "probes": [probe], **terms})


@dataclass
class Targets:
    """What is probed: `name` is that of the probe. What is in `takes` answers after so many seconds."""

    time: VirtualTime
    states: dict[str, HealthState] = field(default_factory=dict[str, HealthState])
    takes: dict[str, float] = field(default_factory=dict[str, float])
    asked: list[tuple[str, datetime]] = field(default_factory=list[tuple[str, datetime]])
    at_once: int = 0
    most_at_once: int = 0

    async def ask(self, probe: Asked) -> Found:
        name = name_of(probe)
        self.asked.append((name, self.time.now))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if name in self.takes:
                await self.time.sleep(self.takes[name])
        finally:
            self.at_once -= 1
        if name == "mistaken":
            raise ZeroDivisionError
        return Found(self.states.get(name, H), "seen", 1.5, 200)


def named(name: str, **terms: Any) -> Thing:
    """A thing whose only probe bears its name."""
    return thing(name, probes=[{"kind": "tcp", "host": "127.0.0.1", "port": 1, "name": name}], **terms)


@dataclass
class Watched:
    world: World
    targets: Targets
    inventory: list[Thing]
    kept: list[Observation]
    watch: HealthWatch

    async def states(self) -> dict[str, HealthState]:
        return {stored.key.service: stored.standing.state for stored in await self.stored()}

    async def stored(self) -> Sequence[Stored]:
        await self.world.database.write(lambda _: None)
        return await health.stored_probes(self.world.database)

    async def wait(self, seconds: float) -> None:
        """Let the watch go on for so long."""
        assert isinstance(self.world.time, Steps)
        await self.world.time.wait(seconds)

    def asked_of(self, name: str) -> list[float]:
        return [(at - START).total_seconds() for one, at in self.targets.asked if one == name]


@asynccontextmanager
async def watching(
    directory: Path, *things: Thing, chance: Callable[[], float] = lambda: 0.0, **terms: Any
) -> AsyncGenerator[Watched]:
    async with stepping(directory) as world, going_on(world, Targets(world.time), *things, chance=chance, **terms) as watched:
        yield watched


@asynccontextmanager
async def stepping(directory: Path) -> AsyncGenerator[World]:
    async with open_world(directory) as world:
        time = Steps()
        parts = replace(world.parts, clock=time.clock, sleep=time.sleep)
        yield World(world.database, time, world.provider, world.settled, parts)


@asynccontextmanager
async def going_on(
    world: World, targets: Targets, *things: Thing, chance: Callable[[], float] = lambda: 0.0, **terms: Any
) -> AsyncGenerator[Watched]:
    inventory, kept = list(things), list[Observation]()

    async def keep(samples: Sequence[Observation]) -> None:
        kept.extend(samples)

    watch = HealthWatch(world.parts, inventory=lambda: tuple(inventory), ask=targets.ask, keep=keep, chance=chance, **terms)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(watch.run)
            yield Watched(world, targets, inventory, kept, watch)
            world.parts.reins.pull()
            group.cancel_scope.cancel()


async def test_a_steady_probe_is_asked_every_30_s_and_its_samples_are_kept(tmp_path: Path) -> None:
    async with watching(tmp_path, named("cache")) as watched:
        await watched.wait(95)
        assert watched.asked_of("cache") == [0, 30, 60, 90]
        assert await watched.states() == {"cache": H}
        names = {value_of(sample.labels, NAME): sample.value for sample in watched.kept}
        assert names == {"probe_success": 1.0, "probe_duration_seconds": 0.0015, "probe_http_status_code": 200.0}
        labels = dict(watched.kept[0].labels)
        assert {k: v for k, v in labels.items() if k != NAME} == {
            "service": "cache",
            "environment": "staging",
            "probe": "cache",
        }


@pytest.mark.parametrize("seed", range(4))
async def test_a_fault_is_detected_within_60_s_at_default_settings_whenever_it_begins(tmp_path: Path, seed: int) -> None:
    """Twenty services fail at different moments, each then taking its whole time-out to be found so."""
    chance = random.Random(seed)
    names = [f"s{n}" for n in range(20)]
    begins = {name: chance.uniform(10, 75) for name in names}
    async with watching(tmp_path, *map(named, names), chance=chance.random) as watched:

        def fail(name: str) -> Callable[[], None]:
            def failing() -> None:
                watched.targets.states[name], watched.targets.takes[name] = U, 5.0

            return failing

        for name, begin in begins.items():
            watched.world.time.after(begin, fail(name))
        await watched.wait(140)
        changes = {c.service: c for c in await health.newest_changes(watched.world.database, ["staging"])}
    delays = [(changes[name].at - START).total_seconds() - begins[name] for name in names]
    assert {changes[name].state for name in names} == {U}
    assert 0 < max(delays) <= 60


async def test_after_a_failure_it_is_asked_again_within_10_s_until_it_is_well(tmp_path: Path) -> None:
    async with watching(tmp_path, named("cache")) as watched:
        watched.world.time.after(25, lambda: watched.targets.states.update(cache=U))
        watched.world.time.after(65, lambda: watched.targets.states.update(cache=H))
        await watched.wait(125)
        assert watched.asked_of("cache") == [0, 30, 40, 50, 60, 70, 80, 110]
        (stored,) = await watched.stored()
        assert (stored.standing.state, stored.standing.since) == (H, START + timedelta(seconds=80))
        available = await health.availabilities(watched.world.database, ["staging"], until=watched.world.time.now)
        assert available == {("cache", "staging"): (4, 8)}


async def test_one_slow_target_holds_up_no_other_and_is_never_asked_twice_at_once(tmp_path: Path) -> None:
    async with watching(tmp_path, named("slow"), named("quick")) as watched:
        watched.targets.takes["slow"] = 100
        await watched.wait(95)
        assert watched.asked_of("slow") == [0]
        assert watched.asked_of("quick") == [0, 30, 60, 90]


async def test_no_more_are_asked_at_once_than_may_be_and_who_waits_too_long_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    things = [named(f"s{n}") for n in range(12)]
    with caplog.at_level(logging.WARNING):
        async with watching(tmp_path, *things, most_at_once=2) as watched:
            watched.targets.takes = {f"s{n}": 20.0 for n in range(12)}
            await watched.wait(260)
    assert watched.targets.most_at_once == 2
    late = [record.message for record in caplog.records if "is asked late" in record.message]
    assert 0 < len(late) <= 12


async def test_not_everything_is_asked_in_the_same_instant(tmp_path: Path) -> None:
    async with watching(tmp_path, *(named(f"s{n}") for n in range(30)), chance=random.Random(1).random) as watched:
        await watched.wait(65)
        second = [at for name in (f"s{n}" for n in range(30)) for at in watched.asked_of(name)[1:2]]
    assert len(second) == 30
    assert max(second.count(at) for at in second) < 15


async def test_a_mistake_of_ours_in_one_probe_ends_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(tmp_path, named("mistaken"), named("cache")) as watched:
        await watched.wait(65)
        assert await watched.states() == {"mistaken": Q, "cache": H}
        assert watched.asked_of("cache") == [0, 30, 60]
        assert watched.asked_of("mistaken") == [0, 30, 60]
    assert "a probe of kind tcp failed" in caplog.text


async def test_the_inventory_is_taken_up_as_it_changes(tmp_path: Path) -> None:
    async with watching(tmp_path, named("cache"), named("queue")) as watched:
        watched.targets.states["cache"] = U
        await watched.wait(15)
        assert await watched.states() == {"cache": U, "queue": H}
        another = [{"kind": "tcp", "host": "127.0.0.1", "port": 2, "name": "cache"}]
        watched.targets.states["cache"] = H
        watched.inventory[:] = [thing("cache", probes=another), named("mail")]
        await watched.wait(3)
        assert await watched.states() == {"cache": H, "mail": H}  # what another question found is forgotten
        assert await watched.world.database.write(health.any_watched)
        watched.inventory[:] = []
        await watched.wait(2)
        assert await watched.states() == {}
        assert not await watched.world.database.write(health.any_watched)


async def test_a_finding_from_just_before_does_not_bring_back_what_was_removed(tmp_path: Path) -> None:
    async with watching(tmp_path, named("cache", interval_seconds=1)) as watched:
        await watched.wait(5)
        watched.inventory[:] = []
        await watched.wait(3)
        assert await watched.states() == {}


async def test_the_next_worker_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    async with stepping(tmp_path) as world:
        async with going_on(world, Targets(world.time), named("cache"), named("rare", interval_seconds=600)) as first:
            first.targets.states["cache"] = U
            await first.wait(12)
            assert await first.states() == {"cache": U, "rare": H}
        heir = world.at_next_worker(await world.take_lease("first", dead_fence=world.parts.fence))
        async with going_on(heir, Targets(world.time), named("cache"), named("rare", interval_seconds=600)) as second:
            await second.wait(1)
            (stored, _) = await second.stored()
            assert (stored.standing.state, stored.standing.since) == (U, START + timedelta(seconds=10))
            assert second.asked_of("rare") == []
            await second.wait(60)
            assert second.asked_of("rare") == []


async def test_a_worker_that_lost_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        targets = Targets(world.time)
        watch = HealthWatch(
            world.parts, inventory=lambda: (named("cache"),), ask=targets.ask, keep=lambda _: anyio.sleep(0), chance=lambda: 0.0
        )
        await world.take_lease(dead_fence=world.parts.fence)
        with pytest.raises(BaseExceptionGroup) as caught:
            await watch.run()
        assert caught.group_contains(LeaseLost)
        assert not await health.stored_probes(world.database)


async def test_a_clock_that_is_set_back_or_ahead_puts_no_probe_off(tmp_path: Path) -> None:
    async with watching(tmp_path, named("cache")) as watched:
        await watched.wait(5)
        watched.world.time.now += timedelta(hours=3)
        await watched.wait(2)
        assert len(watched.targets.asked) == 2
        watched.targets.asked.clear()
        watched.watch._posts[next(iter(watched.watch._posts))].due = watched.world.time.now + timedelta(days=1)
        await watched.wait(2)
        assert len(watched.targets.asked) == 1  # a moment that far off means that the clock was set back


async def test_a_broken_release_counts_while_it_is_what_serves_and_not_once_it_is_gone(tmp_path: Path) -> None:
    bound = Thing(service=SERVICE, environment=ENVIRONMENT, bound=True)
    async with open_world(tmp_path) as world, going_on(world, Targets(world.time), bound) as watched:
        assert (await run(await world.deploy("broken"), world.parts)).state == "down"
        await world.time.sleep(3)
        (during,) = await watched.stored()
        assert (during.standing.state, during.standing.evidence) == (U, "HTTP 500")
        world.parts.looks[SERVICE, ENVIRONMENT] = world.parts.looks[SERVICE, ENVIRONMENT]._replace()  # seen once more
        for _ in range(10):
            await world.time.sleep(1)
        assert await watched.stored() == (during,)


async def test_what_supervision_sees_of_a_release_is_taken_over_and_not_asked_again(tmp_path: Path) -> None:
    bound = Thing(service=SERVICE, environment=ENVIRONMENT, bound=True)
    async with open_world(tmp_path) as world:
        assert (await run(await world.deploy("breaks"), world.parts)).state != "healthy"
        assert (await run(await world.deploy("v1"), world.parts)).state == "healthy"
        supervision = Supervision(world.parts)
        async with going_on(world, Targets(world.time), bound) as watched:
            for _ in range(35):
                await supervision.round()
                await world.time.sleep(1)
            (stored,) = await watched.stored()
            assert (stored.key.probe, stored.standing.state, stored.standing.evidence) == ("release", H, "HTTP 200")
            assert not await world.database.write(health.any_watched)  # its deployment keeps a worker alive anyway
            world.provider.unwell = True
            for _ in range(60):
                await supervision.round()
                await world.time.sleep(1)
            (stored,) = await watched.stored()
            assert (stored.standing.state, stored.standing.evidence) == (U, "HTTP 500")
            names = {value_of(sample.labels, NAME) for sample in watched.kept}
        assert names == {"probe_success", "probe_duration_seconds"}
        assert watched.targets.asked == []
