"""Going back, starting anew, and ending: what Railway keeps is put back, never built, and nothing is done twice."""

from pathlib import Path

import pytest

from ops_mcp.domain.releases import Placement, Presence
from ops_mcp.errors import NotFound, ProviderError
from tests.providers.railway.house import V1, V2, House, house, survived

pytestmark = pytest.mark.anyio

BACK = "rollback 111111111111 in shop-staging"


async def two_deployed(here: House) -> tuple[Placement, Placement]:
    one = await here.deployed(1, V1)
    two = await here.deployed(2, V2, replaces=one)
    here.deeds.clear()
    return one, two


async def test_going_back_restores_the_old_image_and_its_variables_in_a_new_deployment(tmp_path: Path) -> None:
    here = house(tmp_path)
    instance = here.railway.world.instances["service-web", "shop-staging"]
    instance.variables["MODE"] = "old"
    one = await here.deployed(1, V1)
    instance.variables["MODE"] = "new"
    two = await here.deployed(2, V2, replaces=one)
    here.deeds.clear()
    three = here.placement(3, V1)
    found = await here.provider.rollback(three, restores=one, ends=two, tell=here.told)
    assert found.presence is Presence.running
    assert found.handle not in {one.handle, two.handle}
    assert found.handle == here.told.handle
    assert here.deeds == [BACK]
    assert instance.variables["MODE"] == "old"
    assert not here.there(found.handle).build_lines
    here.time.pass_by(60)
    assert (await here.provider.status(two)).presence is Presence.absent


async def test_going_back_from_a_rollback_goes_forward_again(tmp_path: Path) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    back = await here.provider.rollback(here.placement(3, V1), restores=one, ends=two, tell=here.told)
    three = here.placement(3, V1, handle=back.handle)
    here.time.pass_by(60)
    forth = await here.provider.rollback(here.placement(4, V2), restores=two, ends=three, tell=here.told)
    assert forth.presence is Presence.running
    assert here.there(forth.handle).commit == V2


@pytest.mark.parametrize("fault", ["timeout_after", "timeout_before", "500", "disconnect_after"])
async def test_a_rollback_whose_answer_was_lost_is_looked_for_and_done_once(tmp_path: Path, fault: str) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    here.railway.faults.plan(fault, on="RollBackTo")
    found = await here.provider.rollback(here.placement(3, V1), restores=one, ends=two, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == [BACK]


async def test_a_worker_killed_at_any_request_of_a_rollback_leaves_one_and_its_successor_finishes_it(tmp_path: Path) -> None:
    whole = house(tmp_path)
    one, two = await two_deployed(whole)
    before = whole.way.requests
    await whole.provider.rollback(whole.placement(3, V1), restores=one, ends=two, tell=whole.told)
    needed = whole.way.requests - before
    for undo in (False, True):
        for dies_at in range(1, needed + 1):
            for after in (False, True):
                await _killed(house(tmp_path), dies_at, after=after, undo=undo)


async def _killed(here: House, dies_at: int, *, after: bool, undo: bool) -> None:
    one, two = await two_deployed(here)
    here.told.handles.clear()
    here.way.dies_at, here.way.dies_after_it = here.way.requests + dies_at, after
    placement = one if undo else here.placement(3, V1)
    found = await survived(lambda: here.provider.rollback(placement, restores=one, ends=two, tell=here.told))
    if found is None:
        here.time.pass_by(5)
        successor = here.again()
        told = here.told.handle or placement.handle
        known = placement.evolve(handle=told)
        restores = known if undo else one
        found = await successor.provider.rollback(known, restores=restores, ends=two, tell=successor.told)
    assert found.presence is Presence.running, (dies_at, after, undo)
    assert here.deeds == [BACK], (dies_at, after, undo)


async def test_an_undo_of_a_build_that_fails_leaves_what_serves_alone(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.behaves(V2, fate="fails_build")
    two = here.placement(2, V2)
    with pytest.raises(ProviderError):
        await here.provider.deploy(two, replaces=one, tell=here.told)
    here.deeds.clear()
    found = await here.provider.rollback(one, restores=one, ends=two.evolve(handle=here.told.handle), tell=here.told)
    assert (found.presence, found.handle) == (Presence.running, one.handle)
    assert not here.deeds


async def test_an_undo_of_what_is_still_being_built_cancels_it(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    made = here.railway.world.deploy(here.railway.world.instances["service-web", "shop-staging"], V2)
    here.deeds.clear()
    two = here.placement(2, V2, handle=made.id)
    found = await here.provider.rollback(one, restores=one, ends=two, tell=here.told)
    assert (found.presence, found.handle) == (Presence.running, one.handle)
    assert here.deeds == [f"cancel {made.id}"]
    here.time.pass_by(600)
    assert here.there(one.handle).status == "SUCCESS"


async def test_an_undo_restores_the_older_deployment_under_its_own_id_with_its_new_handle(tmp_path: Path) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    found = await here.provider.rollback(one, restores=one, ends=two, tell=here.told)
    assert found.deployment == one.deployment
    assert found.handle == here.told.handle != one.handle
    again = one.evolve(handle=found.handle)
    repeated = await here.provider.rollback(again, restores=again, ends=two, tell=here.told)
    assert repeated.handle == found.handle
    assert here.deeds == [BACK]


async def test_an_undo_of_the_same_commit_released_again_does_not_take_it_for_its_own(tmp_path: Path) -> None:
    """Only variables differ between the two."""
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    two = await here.deployed(2, V1, replaces=one)
    here.deeds.clear()
    found = await here.provider.rollback(one, restores=one, ends=two, tell=here.told)
    assert found.handle not in {one.handle, two.handle}
    assert here.deeds == [BACK]


async def test_a_rollback_that_is_through_is_not_repeated_while_what_it_replaced_still_shows(tmp_path: Path) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    here.railway.world.lingers = 60.0
    found = await here.provider.rollback(one, restores=one, ends=two, tell=here.told)
    known = one.evolve(handle=found.handle)
    assert here.there(two.handle).status == "SUCCESS"
    repeated = await here.provider.rollback(known, restores=known, ends=two, tell=here.told)
    assert repeated.handle == found.handle
    assert here.deeds == [BACK]


async def test_a_release_seen_before_is_looked_at_anew_after_something_was_changed(tmp_path: Path) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.behaves(V2, initializing=0.0, build=0.0, deploy=0.0)
    here.railway.world.overlap = 0.0
    assert (await here.provider.status(one)).presence is Presence.running
    await here.provider.deploy(here.placement(2, V2), replaces=one, tell=here.told)
    assert (await here.provider.status(one)).presence is Presence.absent


async def test_an_image_past_its_retention_is_refused_and_not_built_again(tmp_path: Path) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    here.time.pass_by(73 * 3600)
    with pytest.raises(ProviderError, match="no longer keeps its image") as caught:
        await here.provider.rollback(here.placement(3, V1), restores=one, ends=two, tell=here.told)
    assert "Deploy the commit again" in caught.value.hint
    assert not caught.value.temporary
    assert not here.deeds


async def test_a_release_that_railway_never_had_cannot_be_put_back(tmp_path: Path) -> None:
    here = house(tmp_path)
    never = here.placement(1, "9" * 40)
    with pytest.raises(NotFound, match="no deployment of that release"):
        await here.provider.rollback(here.placement(2, "9" * 40), restores=never, ends=None, tell=here.told)


async def test_a_restart_is_followed_from_before_it_shows_to_its_end(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.restart_shows_after = 6.0
    one = await here.deployed(1, V1)
    found = await here.provider.restart(one)
    assert (found.presence, found.handle) == (Presence.running, one.handle)
    assert here.deeds[1:] == [f"restart {one.handle}"]
    assert here.there(one.handle).status == "SUCCESS"
    assert not here.railway.world._agenda, "it was followed until the restart was through"


async def test_a_restart_under_an_id_of_its_own_is_done_once(tmp_path: Path) -> None:
    """The operation's restart is a rollback to what serves, which ends what serves."""
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.deeds.clear()
    two = here.placement(2, V1)
    found = await here.provider.rollback(two, restores=one, ends=one, tell=here.told)
    assert found.handle == one.handle == here.told.handle
    repeated = here.again()
    await repeated.provider.rollback(two.evolve(handle=one.handle), restores=one, ends=one, tell=repeated.told)
    assert here.deeds == [f"restart {one.handle}"]


@pytest.mark.parametrize("fault", ["timeout_after", "timeout_before", "500"])
async def test_a_restart_that_got_no_answer_is_looked_at_before_it_is_asked_for_again(tmp_path: Path, fault: str) -> None:
    here = house(tmp_path)
    one = await here.deployed(1, V1)
    here.deeds.clear()
    here.railway.faults.plan(fault, on="RestartDeployment")
    assert (await here.provider.restart(one)).presence is Presence.running
    assert here.deeds == [f"restart {one.handle}"]


async def test_a_crashed_release_is_started_again_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V1, fate="crashes", after=20.0)
    one = await here.deployed(1, V1)
    assert (await here.again().provider.status(one)).presence is Presence.exited
    here.behaves(V1)
    assert (await here.provider.restart(one)).presence is Presence.running
    two = await here.deployed(2, V2, replaces=one)
    assert two.handle
    with pytest.raises(NotFound, match="nothing left to restart"):
        await here.provider.restart(one)


async def test_stopping_ends_what_runs_and_what_is_gone_is_fine(tmp_path: Path) -> None:
    here = house(tmp_path)
    one, two = await two_deployed(here)
    assert (await here.provider.stop(two)).presence is Presence.exited
    assert here.deeds == [f"stop {two.handle}"]
    assert (await here.provider.stop(two)).presence is Presence.exited
    assert (await here.provider.stop(one)).presence is Presence.absent
    assert (await here.provider.stop(here.placement(9, "9" * 40))).presence is Presence.absent
    assert (await here.provider.stop(two.evolve(handle="deployment-9999"))).presence is Presence.absent
    assert here.deeds == [f"stop {two.handle}"]
