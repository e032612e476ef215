"""The hour's budget, by the simulator's own count; and lasting refusals, which neither lose nor repeat a deployment."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.releases import Placement, Presence
from ops_mcp.errors import ProviderError
from ops_mcp.providers.railway.pace import Pace
from sandbox.railway import houses
from sandbox.railway.clock import Hourglass
from tests.providers.railway.house import START, V1, V2, House, bound, house

anyio_mark = pytest.mark.anyio
TEN_MINUTES = 600.0

PHASES = ("TokenScope", "DeploymentsOfService", "DeployCommit", "DeploymentNow", "StepsOfDeployment")
WAYS_BACK = ("TokenScope", "DeploymentsOfService", "DeploymentNow", "RollBackTo")


@anyio_mark
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("retry_after", [None, 5, 240])
async def test_ten_minutes_of_refusals_delay_a_deployment_and_neither_lose_nor_repeat_it(
    tmp_path: Path, phase: str, retry_after: int | None
) -> None:
    here = house(tmp_path)
    here.railway.faults.plan("429", on=phase, seconds=TEN_MINUTES, retry_after=retry_after)
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ["deploy 111111111111 in shop-staging"]
    assert here.told.handles == [found.handle]
    if phase != "StepsOfDeployment":  # what only meters is not waited for
        assert here.time.now - START >= timedelta(seconds=TEN_MINUTES)


@anyio_mark
async def test_ten_minutes_of_refusals_that_begin_in_the_middle_of_a_build_lose_nothing(tmp_path: Path) -> None:
    """Longer than it may take at all: nobody knows how it stands meanwhile, so that is no reason to give it up."""
    here = house(tmp_path)
    here.behaves(V1, build=120.0)
    begun: list[bool] = []

    def refuse(doing: str) -> None:
        if "building" in doing and not begun:
            begun.append(True)
            here.railway.faults.plan("429", seconds=TEN_MINUTES)

    here.told.breaks = refuse
    placement = here.placement(1, V1, binding=bound(deploy_minutes=5))
    found = await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ["deploy 111111111111 in shop-staging"]
    assert here.time.now - START >= timedelta(seconds=TEN_MINUTES)


@anyio_mark
async def test_looks_are_spared_when_others_have_nearly_used_the_budget_up(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    for _ in range(850):
        here.railway.budget.take("theirs")
    here.time.pass_by(30)
    before = here.railway.budget.count()
    for _ in range(20):
        found = await here.provider.status(one)
        here.time.pass_by(10)
    assert found.presence is Presence.running
    assert "seen" in found.detail
    assert here.railway.budget.count() == before + 1


@anyio_mark
@pytest.mark.parametrize("phase", WAYS_BACK)
async def test_ten_minutes_of_refusals_delay_a_rollback_and_neither_lose_nor_repeat_it(tmp_path: Path, phase: str) -> None:
    first = house(tmp_path)
    one = await first.deployed(1, V1)
    two = await first.deployed(2, V2, replaces=one)
    here = first.again()
    here.deeds.clear()
    here.railway.faults.plan("429", on=phase, seconds=TEN_MINUTES)
    found = await here.provider.rollback(here.placement(3, V1), restores=one, ends=two, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ["rollback 111111111111 in shop-staging"]


@anyio_mark
@pytest.mark.parametrize("phase", ["DeploymentNow", "StopDeployment"])
async def test_ten_minutes_of_refusals_delay_a_stop(tmp_path: Path, phase: str) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.railway.faults.plan("429", on=phase, seconds=TEN_MINUTES, retry_after=20)
    assert (await here.provider.stop(one)).presence is Presence.exited
    assert here.deeds[1:] == [f"stop {one.handle}"]


@anyio_mark
@pytest.mark.parametrize("phase", ["RestartDeployment", "DeploymentNow"])
async def test_ten_minutes_of_refusals_delay_a_restart(tmp_path: Path, phase: str) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.railway.faults.plan("429", on=phase, seconds=TEN_MINUTES, retry_after=20)
    assert (await here.provider.restart(one)).presence is Presence.running
    assert here.deeds[1:] == [f"restart {one.handle}"]


@anyio_mark
async def test_a_look_that_is_refused_says_when_to_come_back_and_does_not_wait(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.railway.faults.plan("429", seconds=TEN_MINUTES, retry_after=90)
    before = here.time.now
    with pytest.raises(ProviderError) as caught:
        await here.again().provider.status(one)
    assert (caught.value.temporary, caught.value.retry_after_seconds) == (True, 90)
    assert here.time.now == before


@anyio_mark
async def test_a_look_that_is_refused_tells_what_was_seen_before_and_how_old_it_is(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.railway.faults.plan("429", seconds=TEN_MINUTES)
    found = await here.provider.status(one)
    assert found.presence is Presence.running
    assert "seen 60 s ago" in found.detail


@anyio_mark
@pytest.mark.parametrize(("hourly", "every"), [(1000, 5.0), (1000, 30.0), (100, 5.0), (100, 30.0), (10_000, 2.0)])
async def test_an_hour_of_supervision_stays_within_its_share_of_the_budget(tmp_path: Path, hourly: int, every: float) -> None:
    here = house(tmp_path, hourly=hourly, hourly_requests=hourly)
    one = await here.deployed(1, V1)
    await _supervised(here, [one], every=every)
    since = here.time.now - timedelta(hours=1)
    asked = here.railway.budget.count(since=since)
    assert here.railway.budget.refused == 0
    assert asked <= min(hourly * 0.6, 3 * 60), f"{asked} requests in an hour"
    assert asked >= 10


@anyio_mark
async def test_many_services_share_the_budget_and_are_all_still_looked_at(tmp_path: Path) -> None:
    here = house(tmp_path)
    placements = []
    for number in range(15):
        service = f"service-{number}"
        here.railway.world.add_service(service, project=houses.PROJECT, name=f"s{number}")
        placement = here.placement(number, V1, binding=bound(service_id=service, service=f"s{number}"))
        found = await here.provider.deploy(placement, replaces=None, tell=here.told)
        placements.append(placement.evolve(handle=found.handle))
    here.time.pass_by(3600)
    begun = here.time.now
    await _supervised(here, placements, every=15.0)
    assert here.railway.budget.count(since=begun) <= 600
    assert here.railway.budget.refused == 0
    oldest = max(here.provider.sightings.age(here.provider.sightings._seen[p.handle]) for p in placements)
    assert oldest < timedelta(minutes=5)


@anyio_mark
async def test_a_crash_is_seen_within_the_time_that_a_look_holds(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    await here.provider.status(one)
    here.railway.world._crash(here.there(one.handle))
    for _ in range(6):
        here.time.pass_by(5)
        found = await here.provider.status(one)
    assert found.presence is Presence.exited


@anyio_mark
@pytest.mark.parametrize("hourly", [100, 1000])
async def test_a_long_build_is_followed_within_the_smallest_plans_budget(tmp_path: Path, hourly: int) -> None:
    here = house(tmp_path, hourly=hourly)
    here.behaves(V1, build=25 * 60.0)
    binding = bound(hourly_requests=hourly, deploy_minutes=40)
    placement = here.placement(1, V1, binding=binding)
    found = await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert found.presence is Presence.running
    assert here.railway.budget.refused == 0
    assert here.railway.budget.most_in_an_hour() <= hourly * 0.6


@anyio_mark
async def test_a_limit_that_railway_tells_is_believed_before_one_that_is_configured(tmp_path: Path) -> None:
    here = house(tmp_path, hourly=100, hourly_requests=10_000)
    one = await here.deployed(1, V1)
    await _supervised(here, [one], every=5.0)
    assert here.railway.budget.refused == 0


@anyio_mark
async def test_a_used_up_budget_is_waited_for_and_the_deployment_goes_on(tmp_path: Path) -> None:
    """Somebody else used the hour's requests up."""
    here = house(tmp_path, hourly=60, hourly_requests=1000)
    for _ in range(58):
        here.railway.budget.take("theirs")
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ["deploy 111111111111 in shop-staging"]
    assert here.time.now - START >= timedelta(minutes=59)
    assert here.railway.budget.refused <= 1


async def _supervised(here: House, placements: list[Placement], *, every: float) -> None:
    """An hour of what a worker does."""
    ends = here.time.now + timedelta(hours=1)
    while here.time.now < ends:
        for placement in placements:
            found = await here.provider.status(placement)
            assert found.presence is Presence.running
        here.time.pass_by(every)


def paced(hourly: int) -> tuple[Pace, Hourglass]:
    time = Hourglass(START)
    return Pace(hourly, time.clock), time


def test_what_must_be_asked_waits_only_for_the_whole_budget() -> None:
    pace, time = paced(20)
    for _ in range(20):
        assert pace.must_wait() == 0
        pace.sent()
        time.pass_by(1)
    assert pace.must_wait() == 3600 - 20
    assert pace.look_in() >= 3580
    time.pass_by(3580)
    assert pace.must_wait() == 0


def test_looks_are_spread_over_their_share_of_the_hour() -> None:
    pace, time = paced(1000)
    looks = 0
    for _ in range(3600):
        if pace.look_in() == 0:
            pace.sent()
            looks += 1
        time.pass_by(1)
    assert 450 <= looks <= 525


@pytest.mark.parametrize("resets", ["{epoch}", "{millis}", "120", "2026-11-20T12:02:00Z", "2026-11-20T12:02:00"], ids=str)
def test_a_reset_is_understood_however_it_is_written(resets: str) -> None:
    pace, time = paced(1000)
    epoch = int(START.timestamp()) + 120
    text = resets.format(epoch=epoch, millis=epoch * 1000)
    pace.told({"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": text})
    assert pace.must_wait() == 120
    time.pass_by(120)
    assert pace.must_wait() == 0


@pytest.mark.parametrize("resets", ["", "soon", "9e99", "-5"])
def test_a_reset_that_nobody_understands_stops_nothing(resets: str) -> None:
    pace, _ = paced(1000)
    pace.told({"x-ratelimit-remaining": "0", "x-ratelimit-reset": resets, "x-ratelimit-limit": "none"})
    assert pace.must_wait() == 0
