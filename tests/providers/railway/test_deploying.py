"""A deployment by commit: every way that it can go, once, and found again whatever was lost on the way."""

from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.releases import Observed, Presence
from ops_mcp.errors import Conflict, DeadlineExceeded, InvalidArguments, LeaseLost, NotFound, OpsError, ProviderError
from sandbox.railway import houses
from tests.providers.railway.house import V1, V2, House, Told, bound, house, survived

pytestmark = pytest.mark.anyio

ONCE = ["deploy 111111111111 in shop-staging"]


async def deploy(here: House, *, content: str = V1) -> Observed:
    return await here.provider.deploy(here.placement(1, content), replaces=None, tell=here.told)


async def test_a_release_is_built_once_named_at_once_and_followed_until_it_is_live(tmp_path: Path) -> None:
    here = house(tmp_path)
    found = await deploy(here)
    assert found.presence is Presence.running
    assert found.handle == here.told.handle
    assert here.deeds == ONCE
    assert found.url == "https://web-shop-staging.up.railway.app"
    assert found.usage.build_seconds == 40
    assert found.usage.requests == here.railway.budget.count()
    assert [n for n in here.told.notes if n.startswith("at Railway")] == [
        "at Railway: initializing",
        "at Railway: building",
        "at Railway: success",
    ]
    named = here.told.notes.index("Railway takes the deployment")
    assert all(n.startswith("asking") for n in here.told.notes[:named])


@pytest.mark.parametrize(
    ("fate", "says"),
    [
        ("fails_build", "failed at Railway in the step BUILD_IMAGE"),
        ("fails_health", "failed at Railway in the step HEALTHCHECK"),
        ("waits_for_approval", "waits for an approval"),
        ("skipped", "was skipped"),
    ],
)
async def test_a_release_that_does_not_come_up_is_an_error_that_says_how_it_ended(tmp_path: Path, fate: str, says: str) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate=fate)
    with pytest.raises(ProviderError, match=says) as caught:
        await deploy(here)
    assert not caught.value.temporary
    assert caught.value.hint
    assert here.deeds == ONCE


async def test_a_release_that_crashes_while_it_is_followed_is_an_error(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="crashes", after=0.0)
    with pytest.raises(ProviderError, match="crashed"):
        await deploy(here)


async def test_a_job_that_is_through_counts_as_exited(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="completes", after=0.0)
    found = await deploy(here)
    assert (found.presence, found.exit_code) == (Presence.exited, 0)


async def test_a_release_that_sleeps_is_running(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="sleeps", after=0.0)
    found = await deploy(here)
    assert found.presence is Presence.running
    assert "sleeps" in found.detail


async def test_a_build_that_never_ends_is_given_up_at_its_time_and_can_be_cancelled(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="stuck")
    placement = here.placement(1, V1, binding=bound(deploy_minutes=10))
    with pytest.raises(DeadlineExceeded, match="building"):
        await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert 600 <= (here.time.now - placement.asked_at).total_seconds() < 720
    stopped = await here.provider.stop(placement.evolve(handle=here.told.handle))
    assert stopped.presence is Presence.absent
    assert here.deeds == [*ONCE, f"cancel {here.told.handle}"]


async def test_an_unknown_commit_says_so_and_makes_nothing(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.any_commit = False
    with pytest.raises(NotFound, match="does not find that commit") as caught:
        await deploy(here)
    assert "Push" in caught.value.hint
    assert not here.deeds


async def test_the_predecessor_leaves_only_after_the_new_release_is_active(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.behaves(V2, build=30.0)
    seen: list[tuple[str, str]] = []

    def look(doing: str) -> None:
        if here.told.handle != one.handle:
            seen.append((here.there(here.told.handle).status, here.there(one.handle).status))

    here.told.breaks = look
    await here.provider.deploy(here.placement(2, V2), replaces=one, tell=here.told)
    assert ("BUILDING", "SUCCESS") in seen
    assert seen[-1][0] == "SUCCESS"
    assert seen[-1][1] in {"REMOVING", "REMOVED"}
    here.time.pass_by(30)
    assert (await here.provider.status(one)).presence is Presence.absent


@pytest.mark.parametrize("fault", ["timeout_after", "disconnect_after"])
async def test_a_deployment_whose_answer_was_lost_is_found_and_adopted(tmp_path: Path, fault: str) -> None:
    here = house(tmp_path)
    here.railway.faults.plan(fault, on="DeployCommit")
    found = await deploy(here)
    assert found.presence is Presence.running
    assert here.deeds == ONCE
    assert here.told.handles == [found.handle]


@pytest.mark.parametrize(("shows", "tells"), [(20.0, 6.0), (0.0, 20.0)])
async def test_it_is_looked_for_long_enough_where_railway_shows_it_late(tmp_path: Path, shows: float, tells: float) -> None:
    here = house(tmp_path)
    here.railway.world.shows_new_after = shows
    here.railway.world.tells_content_after = tells
    here.railway.faults.plan("timeout_after", on="DeployCommit")
    assert (await deploy(here)).presence is Presence.running
    assert here.deeds == ONCE


async def test_one_that_railway_names_before_it_shows_it_is_waited_for(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.shows_id_after = 5.0
    assert (await deploy(here)).presence is Presence.running
    assert here.deeds == ONCE


@pytest.mark.parametrize("fault", ["timeout_before", "disconnect", "500", "internal"])
async def test_a_request_that_was_not_carried_out_is_repeated_after_it_was_looked_for(tmp_path: Path, fault: str) -> None:
    here = house(tmp_path)
    here.railway.faults.plan(fault, on="DeployCommit")
    assert (await deploy(here)).presence is Presence.running
    assert here.deeds == ONCE
    asked = [name for _, name in here.railway.budget.asked]
    first = asked.index("DeployCommit")
    again = asked.index("DeployCommit", first + 1)
    assert asked[first + 1 : again].count("DeploymentsOfService") >= 3


async def test_several_that_it_could_be_are_adopted_by_nobody(tmp_path: Path) -> None:
    here = house(tmp_path)
    placement = here.placement(1, V1)
    for _ in range(2):  # somebody pushed, and somebody pressed a button
        here.railway.world.deploy(here.railway.world.instances[houses.WEB, houses.STAGING], V1)
    before = list(here.deeds)
    status = await here.provider.status(placement)
    assert status.presence is Presence.unknown
    assert "2 deployments" in status.detail
    with pytest.raises(ProviderError, match="not which of them is ours") as caught:
        await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert not caught.value.temporary
    assert here.deeds == before


async def test_the_same_commit_once_more_is_a_deployment_of_its_own(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    two = await here.deployed(2, V1, replaces=one)
    assert one.handle != two.handle
    assert here.deeds == ONCE * 2


async def test_a_look_at_one_so_young_that_its_content_is_not_told_asks_to_come_back(tmp_path: Path) -> None:
    """A guess would make the operation's worker lose sight of it, or begin it twice."""
    here = house(tmp_path)
    here.railway.world.tells_content_after = 20.0
    placement = here.placement(1, V1)
    made = here.railway.world.deploy(here.railway.world.instances[houses.WEB, houses.STAGING], V1)
    with pytest.raises(ProviderError) as caught:
        await here.provider.status(placement)
    assert caught.value.temporary
    assert caught.value.retry_after_seconds
    here.time.pass_by(20)
    assert (await here.provider.status(placement)).handle == made.id


async def test_what_is_replaced_is_not_taken_for_the_same_commit_once_more(tmp_path: Path) -> None:
    """Clocks differ: what was made a moment before it was asked for may be it, but never what it replaces."""
    here = house(tmp_path)
    here.behaves(V1, initializing=0.0, build=0.0, deploy=0.0)
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    one = here.placement(1, V1, handle=found.handle)
    two = await here.provider.deploy(here.placement(2, V1), replaces=one, tell=here.told)
    assert two.handle != one.handle
    assert here.deeds == ONCE * 2


async def test_one_that_our_clock_says_was_made_before_it_was_asked_for_is_found(tmp_path: Path) -> None:
    here = house(tmp_path)
    made = here.railway.world.deploy(here.railway.world.instances[houses.WEB, houses.STAGING], V1)
    here.time.pass_by(4)
    assert (await here.provider.status(here.placement(1, V1))).handle == made.id


async def test_an_older_one_of_the_same_commit_is_not_taken_for_it(tmp_path: Path) -> None:
    here = house(tmp_path)
    await here.deployed(1, V1)
    assert (await here.provider.status(here.placement(2, V1))).presence is Presence.absent


async def test_a_worker_killed_at_any_request_leaves_one_deployment_and_its_successor_finishes_it(tmp_path: Path) -> None:
    whole = house(tmp_path)
    await deploy(whole)
    for dies_at in range(1, whole.way.requests + 1):
        for after in (False, True):
            here = house(tmp_path)
            here.way.dies_at, here.way.dies_after_it = dies_at, after
            placement = here.placement(1, V1)
            found = await survived(lambda here=here, p=placement: here.provider.deploy(p, replaces=None, tell=here.told))
            handle = here.told.handle
            if found is None:
                here.time.pass_by(5)
                next_one = here.again()
                known = placement.evolve(handle=handle)
                status = await next_one.provider.status(known)
                assert status.presence is not Presence.unknown, (dies_at, after, status.detail)
                found = await next_one.provider.deploy(known, replaces=None, tell=next_one.told)
                handle = next_one.told.handle or handle
            assert found.presence is Presence.running, (dies_at, after)
            assert here.deeds == ONCE, (dies_at, after)
            assert found.handle == handle


async def test_a_cancelled_worker_leaves_no_request_half_way(tmp_path: Path) -> None:
    """What the operation cancels while the request is under way is told its handle first, so that it can be stopped."""
    here = house(tmp_path)
    here.railway.faults.plan("slow", on="DeployCommit", slow=0.05)
    placement = here.placement(1, V1)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await here.provider.deploy(placement, replaces=None, tell=here.told)

        group.start_soon(run)
        with anyio.fail_after(5):
            while "slow DeployCommit" not in here.railway.faults.happened:
                await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert here.told.handle
    await here.provider.stop(placement.evolve(handle=here.told.handle))
    assert here.deeds == [*ONCE, f"cancel {here.told.handle}"]


async def test_a_worker_that_lost_its_lease_stops_following(tmp_path: Path) -> None:
    here = house(tmp_path)

    def lose(doing: str) -> None:
        if "building" in doing:
            raise LeaseLost("The lease has passed on.", hint="Stop.")

    with pytest.raises(LeaseLost):
        await here.provider.deploy(here.placement(1, V1), replaces=None, tell=Told(breaks=lose))
    assert here.deeds == ONCE


async def test_an_unknown_status_on_the_way_is_followed_on(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.new_words = {"BUILDING": "TELEPORTING", "INITIALIZING": "<script>"}
    assert (await deploy(here)).presence is Presence.running
    assert "at Railway: teleporting" in here.told.notes


async def test_an_unknown_status_is_told_as_unknown_and_no_error(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.railway.new_words = {"SUCCESS": "TELEPORTED"}
    found = await here.again().provider.status(one)
    assert found.presence is Presence.unknown
    assert "TELEPORTED" in found.detail


async def test_fields_that_nobody_asked_for_break_nothing(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.new_fields = True
    one = await here.deployed(1, V1)
    two = await here.deployed(2, V2, replaces=one)
    found = await here.provider.rollback(here.placement(3, V1), restores=one, ends=two, tell=here.told)
    assert found.presence is Presence.running


async def test_a_service_set_to_an_image_deploys_that_image_and_no_other(tmp_path: Path) -> None:
    here = house(tmp_path)
    binding = bound(service_id=houses.IMAGED, image=True)
    content = await here.provider.resolve(binding, None)
    assert content.identity == houses.IMAGE
    placement = here.placement(1, content.identity, binding=binding)
    found = await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert (found.presence, found.usage.build_seconds) == (Presence.running, 0)
    here.railway.world.instances[houses.IMAGED, houses.STAGING].image = "ghcr.io/acme/cache:2"
    with pytest.raises(Conflict, match="another image"):
        await here.provider.deploy(here.placement(2, content.identity, binding=binding), replaces=placement, tell=here.told)
    with pytest.raises(InvalidArguments, match="no refs"):
        await here.provider.resolve(binding, "main")
    with pytest.raises(OpsError, match="not set to an image"):
        await here.provider.resolve(bound(image=True), None)
