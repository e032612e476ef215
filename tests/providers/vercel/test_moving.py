"""Going back and promoting: candidates only, followed to the end, and what is restored said."""

import pytest

from ops_mcp.domain.releases import Presence
from ops_mcp.errors import DeadlineExceeded, NotFound, OpsError, ProviderError
from ops_mcp.ports import Promotes, Restarts
from sandbox.vercel.world import Outcome
from tests.providers.vercel.scene import ONE, THREE, TWO, Scene

pytestmark = pytest.mark.anyio


async def test_the_undo_of_a_deployment_puts_the_earlier_build_back_and_says_what_that_restores(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    builds = len(vercel.made)
    observed = await vercel.roll_back(first, ends=second)
    assert vercel.project.production == first.handle
    assert (observed.presence, observed.handle, observed.deployment) == (Presence.running, first.handle, first.deployment)
    assert "variables that it was built with" in observed.detail
    assert "puts no push live by itself" in observed.detail
    assert len(vercel.made) == builds
    assert observed.usage.build_seconds == 0


async def test_a_rollback_that_an_agent_asks_for_runs_under_its_own_id_and_the_old_handle(vercel: Scene) -> None:
    first, _ = await vercel.deploy(ONE), await vercel.deploy(TWO)
    asked = vercel.placed(ONE)
    observed = await vercel.vercel.rollback(asked, restores=first, ends=None, tell=vercel.heard)
    assert (observed.deployment, observed.handle) == (asked.deployment, first.handle)
    assert vercel.heard.handles[-1] == first.handle
    there = await vercel.vercel.status(asked.evolve(handle=observed.handle))
    assert (there.presence, there.deployment) == (Presence.running, asked.deployment)


async def test_a_rollback_is_rolled_back_by_promoting_what_is_newer(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    await vercel.roll_back(first, ends=second)
    observed = await vercel.roll_back(second, ends=first)
    assert vercel.project.production == second.handle
    assert "promoted without a new build" in observed.detail
    assert not vercel.project.rolled_back


async def test_going_back_to_what_serves_already_moves_nothing(vercel: Scene) -> None:
    first = await vercel.deploy(ONE)
    observed = await vercel.roll_back(first)
    assert "already" in observed.detail
    assert vercel.simulator.trouble.asked("requestRollback") == 0


async def test_what_never_served_production_is_no_candidate_and_nothing_is_asked_for(vercel: Scene) -> None:
    preview = await vercel.deploy(ONE, binding=vercel.bound("staging"))
    await vercel.deploy(TWO)
    asked = vercel.placed(ONE)
    with pytest.raises(ProviderError, match="no rollback candidate") as caught:
        await vercel.vercel.rollback(asked, restores=preview, ends=None, tell=vercel.heard)
    assert "Deploy its commit again" in caught.value.hint
    assert vercel.simulator.trouble.asked("requestRollback") == 0


async def test_on_hobby_two_steps_back_are_refused_with_the_plan_as_the_reason(vercel: Scene) -> None:
    first, _, third = [await vercel.deploy(sha) for sha in (ONE, TWO, THREE)]
    vercel.world.teams["team_acme"].plan = "hobby"
    with pytest.raises(ProviderError, match="plan") as caught:
        await vercel.roll_back(first, ends=third)
    assert caught.value.details["http_status"] == 402
    assert vercel.project.production == third.handle


async def test_a_candidate_that_vercel_refuses_after_all_is_a_lasting_failure(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.simulator.trouble.add("requestRollback", "status", status=422, code="unprocessable_entity")
    with pytest.raises(ProviderError, match="refuses this for that deployment") as caught:
        await vercel.roll_back(first, ends=second)
    assert not caught.value.temporary


async def test_what_vercel_does_not_keep_any_more_cannot_come_back(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.at(first.handle).deleted = vercel.world.now
    with pytest.raises(ProviderError, match="does not keep"):
        await vercel.roll_back(first, ends=second)


@pytest.mark.parametrize(
    ("becomes", "says"), [("failed", r"The rollback failed at Vercel. 1 of its domains"), ("skipped", "skipped the rollback")]
)
async def test_the_end_of_a_rollback_is_what_counts_and_not_its_acceptance(vercel: Scene, becomes: str, says: str) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.project.next_job = becomes  # type: ignore[assignment]
    with pytest.raises(ProviderError, match=says):
        await vercel.roll_back(first, ends=second)
    assert vercel.project.production == second.handle


async def test_an_older_request_says_nothing_about_the_new_one(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.project.next_job = "failed"
    with pytest.raises(ProviderError):
        await vercel.roll_back(first, ends=second)
    vercel.world.stale_seconds = 2
    await vercel.roll_back(first, ends=second)
    assert vercel.project.production == first.handle


async def test_a_rollback_that_does_not_end_in_three_minutes_is_said_to_go_on(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.world.pace = type(vercel.world.pace)(job=1000)
    with pytest.raises(DeadlineExceeded, match=r"did not serve it within 1[89]\d s") as caught:
        await vercel.roll_back(first, ends=second)
    assert second.handle in caught.value.message
    assert "goes on at Vercel" in caught.value.hint


async def test_another_move_under_way_is_waited_for(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.world.begin_job(vercel.project, "promote", second.handle)
    await vercel.roll_back(first, ends=second)
    assert vercel.project.production == first.handle


async def test_a_refusal_as_busy_is_waited_out(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.simulator.trouble.add("requestRollback", "status", status=409, code="conflict", times=3)
    await vercel.roll_back(first, ends=second)
    assert vercel.project.production == first.handle


async def test_a_build_that_is_undone_before_it_is_ready_never_goes_live(vercel: Scene) -> None:
    first = await vercel.deploy(ONE)
    undone = vercel.placed(TWO)
    made = vercel.world.deploy(
        vercel.project, sha=TWO, ref="main", target="production", source="cli", meta={"opsMcpDeployment": undone.deployment}
    )
    await vercel.hours.sleep(10)
    observed = await vercel.roll_back(first, ends=undone)
    await vercel.hours.sleep(600)
    vercel.world.advance()
    assert observed.presence is Presence.running
    assert made.state(vercel.world.now) == "CANCELED"
    assert vercel.project.production == first.handle


@pytest.mark.parametrize("outcome", [Outcome(), Outcome(checks="succeeded")])
async def test_what_is_built_and_about_to_go_live_is_removed_by_its_undo(vercel: Scene, outcome: Outcome) -> None:
    first = await vercel.deploy(ONE)
    vercel.world.outcomes[TWO] = outcome
    undone = vercel.placed(TWO)
    made = vercel.world.deploy(
        vercel.project, sha=TWO, ref="main", target="production", source="cli", meta={"opsMcpDeployment": undone.deployment}
    )
    await vercel.hours.sleep(36)
    await vercel.roll_back(first, ends=undone)
    await vercel.hours.sleep(600)
    vercel.world.advance()
    assert made.deleted is not None
    assert vercel.project.production == first.handle


async def test_a_rolling_release_is_ended_by_the_undo_of_what_is_rolled_out(vercel: Scene) -> None:
    first = await vercel.deploy(ONE)
    vercel.project.stages = "waits"
    undone = vercel.placed(TWO)
    with pytest.raises(DeadlineExceeded):
        await vercel.vercel.deploy(undone, replaces=first, tell=vercel.heard)
    assert vercel.project.rolling is not None
    await vercel.roll_back(first, ends=undone)
    assert vercel.project.rolling is None
    assert vercel.project.production == first.handle


async def test_a_preview_goes_back_by_its_own_address_and_nothing_is_moved(vercel: Scene) -> None:
    binding = vercel.bound("staging")
    first, second = await vercel.deploy(ONE, binding=binding), await vercel.deploy(TWO, binding=binding)
    observed = await vercel.roll_back(first, ends=second)
    assert observed.url == f"https://{vercel.world.url(vercel.at(first.handle))}"
    assert "no domain was moved" in observed.detail


async def test_a_preview_with_a_domain_goes_back_by_leading_it_to_the_older_deployment(vercel: Scene) -> None:
    binding = vercel.bound("staging", domain="staging.acme.example")
    first, second = await vercel.deploy(ONE, binding=binding), await vercel.deploy(TWO, binding=binding)
    observed = await vercel.roll_back(first, ends=second)
    assert vercel.world.aliases["staging.acme.example"] == first.handle
    assert observed.url == "https://staging.acme.example"


async def test_a_staged_build_of_the_same_project_is_promoted_as_it_is(vercel: Scene) -> None:
    vercel.project.auto_assign = False
    origin = await vercel.deploy(binding=vercel.bound(staged=True))
    placement = vercel.placed()
    observed = await vercel.vercel.promote(placement, origin=origin, replaces=None, tell=vercel.heard)
    assert vercel.project.production == origin.handle == observed.handle
    assert len(vercel.made) == 1
    assert observed.usage.build_seconds == 0
    assert (await vercel.vercel.status(placement.evolve(handle=observed.handle))).presence is Presence.running


async def test_a_preview_is_promoted_by_a_new_build_for_production(vercel: Scene) -> None:
    origin = await vercel.deploy(binding=vercel.bound("staging"))
    placement = vercel.placed()
    observed = await vercel.vercel.promote(placement, origin=origin, replaces=None, tell=vercel.heard)
    made = vercel.at(observed.handle)
    assert observed.handle != origin.handle
    assert (made.source, made.sha, made.target) == ("redeploy", ONE, "production")
    assert made.meta["opsMcpDeployment"] == placement.deployment
    assert observed.usage.build_seconds == 30
    assert vercel.simulator.trouble.asked("requestPromote") == 0


async def test_a_promotion_behind_a_rolling_release_is_told_and_followed(vercel: Scene) -> None:
    first = await vercel.deploy(ONE)
    vercel.project.auto_assign = False
    origin = await vercel.deploy(TWO, binding=vercel.bound(staged=True))
    vercel.project.auto_assign, vercel.project.stages = True, "waits"
    vercel.world.begin_rolling(vercel.project, vercel.at(first.handle), vercel.world.now)
    vercel.hours.after(300, lambda: vercel.world.end_rolling(vercel.project))
    await vercel.vercel.promote(vercel.placed(TWO), origin=origin, replaces=first, tell=vercel.heard)
    assert any("behind a rolling release" in said for said in vercel.heard.said)
    assert vercel.project.production == origin.handle


async def test_a_promotion_from_another_project_builds_the_same_commit(vercel: Scene) -> None:
    vercel.world.project("shop", owner=vercel.project.owner)
    origin = await vercel.deploy(ONE, binding=vercel.bound("staging", project="shop"))
    observed = await vercel.vercel.promote(vercel.placed(ONE), origin=origin, replaces=None, tell=vercel.heard)
    assert (vercel.at(observed.handle).project, vercel.at(observed.handle).sha) == (vercel.project.id, ONE)


async def test_a_deployment_of_another_project_cannot_be_promoted_by_its_id(vercel: Scene) -> None:
    vercel.world.project("shop", owner=vercel.project.owner)
    origin = await vercel.deploy(ONE, binding=vercel.bound("staging", project="shop"))
    with pytest.raises(NotFound, match="another project"):
        await vercel.vercel.promote(vercel.placed(origin.handle), origin=origin, replaces=None, tell=vercel.heard)


async def test_what_is_not_built_cannot_be_promoted(vercel: Scene) -> None:
    origin = vercel.placed(binding=vercel.bound("staging"))
    vercel.world.outcomes[ONE] = Outcome(build="fails")
    with pytest.raises(ProviderError):
        await vercel.vercel.deploy(origin, replaces=None, tell=vercel.heard)
    with pytest.raises(OpsError, match="not built"):
        await vercel.vercel.promote(vercel.placed(), origin=origin, replaces=None, tell=vercel.heard)


async def test_stopping_cancels_a_build(vercel: Scene) -> None:
    placement = vercel.placed()
    vercel.world.deploy(
        vercel.project, sha=ONE, ref="main", target="production", source="cli", meta={"opsMcpDeployment": placement.deployment}
    )
    observed = await vercel.vercel.stop(placement)
    assert observed.presence is Presence.exited
    assert vercel.made[0].state(vercel.world.now) == "CANCELED"
    assert (await vercel.vercel.stop(placement)).presence is Presence.exited


async def test_stopping_deletes_what_was_made_for_this_deployment(vercel: Scene) -> None:
    placement = await vercel.deploy()
    assert (await vercel.vercel.stop(placement)).presence is Presence.absent
    assert vercel.made[0].deleted is not None
    assert (await vercel.vercel.stop(placement)).presence is Presence.absent
    assert (await vercel.vercel.status(placement)).presence is Presence.absent


async def test_stopping_never_deletes_what_another_deployment_made(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    asked = vercel.placed(ONE)
    observed = await vercel.vercel.rollback(asked, restores=first, ends=second, tell=vercel.heard)
    with pytest.raises(ProviderError, match="made for another deployment"):
        await vercel.vercel.stop(asked.evolve(handle=observed.handle))
    assert vercel.at(first.handle).deleted is None


async def test_stopping_what_was_never_made_is_fine(vercel: Scene) -> None:
    assert (await vercel.vercel.stop(vercel.placed())).presence is Presence.absent


async def test_vercel_promotes_and_does_not_restart(vercel: Scene) -> None:
    assert isinstance(vercel.vercel, Promotes)
    assert not isinstance(vercel.vercel, Restarts)
