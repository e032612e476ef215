"""Deploying through the provider against the simulator: from nothing to what is live, and every way in which that fails."""

import json

import pytest

from ops_mcp.domain.releases import Presence
from ops_mcp.errors import DeadlineExceeded, NotConfigured, ProviderError
from sandbox.vercel.world import Outcome
from tests.providers.vercel.scene import ONE, TWO, Scene

pytestmark = pytest.mark.anyio


async def test_a_deployment_for_production_returns_once_production_serves_it(vercel: Scene) -> None:
    placement = vercel.placed()
    observed = await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    made = vercel.made[0]
    assert observed.presence is Presence.running
    assert observed.handle == made.id == vercel.project.production
    assert observed.url == f"https://{vercel.world.url(made)}"
    assert observed.usage.build_seconds == 30
    assert observed.usage.requests == vercel.simulator.trouble.asked()
    assert made.target == "production"
    assert made.meta["opsMcpDeployment"] == placement.deployment
    assert made.meta["opsMcpRelease"] == placement.release.digest


async def test_the_handle_is_told_as_soon_as_the_deployment_is_made(vercel: Scene) -> None:
    await vercel.deploy()
    assert vercel.heard.handles == [vercel.made[0].id]
    assert vercel.heard.said[0] == "Vercel has queued it."


async def test_a_preview_is_live_at_its_own_address_and_production_is_left_alone(vercel: Scene) -> None:
    production = await vercel.deploy(ONE)
    preview = await vercel.deploy(TWO, binding=vercel.bound("staging"))
    assert vercel.project.production == production.handle
    assert vercel.at(preview.handle).target is None
    assert (await vercel.vercel.status(preview)).url == f"https://{vercel.world.url(vercel.at(preview.handle))}"


@pytest.mark.parametrize(("target", "custom"), [("staging", None), (None, "env_qa")])
async def test_staging_and_custom_environments_are_named_as_vercel_names_them(
    vercel: Scene, target: str | None, custom: str | None
) -> None:
    placement = await vercel.deploy(binding=vercel.bound("staging", target=target or "qa"))
    made = vercel.at(placement.handle)
    assert (made.target, made.custom) == (target, custom)


@pytest.mark.parametrize("other", ["production", "qa"])
async def test_what_vercel_takes_for_another_target_is_cancelled_at_once(vercel: Scene, other: str) -> None:
    vercel.project.infers = other
    with pytest.raises(ProviderError, match="another target than preview") as caught:
        await vercel.deploy(binding=vercel.bound("staging"))
    assert vercel.made[0].state(vercel.world.now) == "CANCELED"
    assert "production branch" in caught.value.hint
    assert not caught.value.temporary


async def test_ready_is_not_live_until_the_domains_are_assigned(vercel: Scene) -> None:
    await vercel.deploy()
    assert "It is built; its domains are not assigned yet." in vercel.heard.said


async def test_running_checks_are_waited_for(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(checks="succeeded")
    placement = await vercel.deploy()
    assert any("checks are running" in said for said in vercel.heard.said)
    assert vercel.project.production == placement.handle


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Outcome(build="fails"), r"The build failed in step buildStep \(BUILD_UTILS_SPAWN_1\)\."),
        (Outcome(checks="failed"), "its checks ended failed"),
        (Outcome(alias="fails"), r"domains could not be assigned \(cert_missing\)"),
    ],
)
async def test_what_will_never_be_live_is_a_lasting_failure_with_a_next_step(vercel: Scene, outcome: Outcome, says: str) -> None:
    vercel.world.outcomes[ONE] = outcome
    with pytest.raises(ProviderError, match=says) as caught:
        await vercel.deploy()
    assert not caught.value.temporary
    assert caught.value.hint
    assert vercel.project.production is None


async def test_a_failed_build_comes_with_its_last_lines_cleaned(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="fails", output=("\x1b[31mred\x1b[0m alert\u202e",))
    with pytest.raises(ProviderError) as caught:
        await vercel.deploy()
    tail = caught.value.details["untrusted_output"]
    assert isinstance(tail, list)
    assert "red alert" in tail
    assert tail[-1] == 'Command "npm run build" exited with 1'


async def test_a_blocked_deployment_is_told_and_goes_on_once_it_is_approved(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(blocked=True)
    vercel.hours.after(100, lambda: setattr(vercel.made[0], "approved", vercel.world.now))
    placement = await vercel.deploy()
    assert any(said.startswith("BLOCKED (TEAM_ACCESS_REQUIRED)") for said in vercel.heard.said)
    assert vercel.project.production == placement.handle


async def test_a_build_that_does_not_end_is_given_up_at_the_deadline_of_the_binding(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="hangs")
    began = vercel.hours.now
    with pytest.raises(DeadlineExceeded, match="not ready within 10 minutes"):
        await vercel.deploy(binding=vercel.bound(build_minutes=10))
    assert 600 <= (vercel.hours.now - began).total_seconds() <= 630


async def test_a_build_that_somebody_cancels_at_vercel_is_a_failure(vercel: Scene) -> None:
    vercel.hours.after(10, lambda: setattr(vercel.made[0], "cancelled", vercel.world.now))
    with pytest.raises(ProviderError, match="cancelled"):
        await vercel.deploy()


async def test_a_deployment_that_somebody_deletes_meanwhile_is_not_made_again(vercel: Scene) -> None:
    vercel.hours.after(10, lambda: setattr(vercel.made[0], "deleted", vercel.world.now))
    with pytest.raises(ProviderError, match="deleted at Vercel"):
        await vercel.deploy()
    repeated = vercel.placed().evolve(deployment="dep_1", handle=vercel.made[0].id)
    with pytest.raises(ProviderError, match="deleted at Vercel"):
        await vercel.vercel.deploy(repeated, replaces=None, tell=vercel.heard)
    assert len(vercel.made) == 1


async def test_an_existing_deployment_is_built_once_more(vercel: Scene) -> None:
    first = await vercel.deploy(ONE, binding=vercel.bound("staging"))
    again = await vercel.deploy(first.handle)
    made = vercel.at(again.handle)
    assert again.handle != first.handle
    assert (made.source, made.sha, made.target) == ("redeploy", ONE, "production")


async def test_a_similar_deployment_is_never_taken_for_ours(vercel: Scene) -> None:
    before = vercel.world.deploy(vercel.project, sha=ONE, ref="main", target="production", source="git")
    placement = await vercel.deploy(ONE)
    assert placement.handle != before.id


async def test_after_a_rollback_a_deployment_is_staged_and_therefore_promoted(vercel: Scene) -> None:
    vercel.project.rolled_back = True
    placement = await vercel.deploy()
    assert vercel.project.production == placement.handle
    assert not vercel.project.rolled_back
    assert any("STAGED" in said for said in vercel.heard.said)


async def test_a_staged_binding_leaves_production_alone(vercel: Scene) -> None:
    vercel.project.auto_assign = False
    placement = await vercel.deploy(binding=vercel.bound("production", staged=True))
    observed = await vercel.vercel.status(placement)
    assert vercel.project.production is None
    assert (observed.presence, observed.detail[:6]) == (Presence.running, "STAGED")
    assert observed.url == f"https://{vercel.world.url(vercel.at(placement.handle))}"


async def test_a_staged_binding_is_refused_where_the_project_assigns_its_domains_itself(vercel: Scene) -> None:
    with pytest.raises(NotConfigured, match="assigns them by itself"):
        await vercel.deploy(binding=vercel.bound("production", staged=True))
    assert not vercel.made


async def test_a_rolling_release_is_followed_through_its_stages(vercel: Scene) -> None:
    await vercel.deploy(ONE)
    vercel.project.stages = "timed"
    second = await vercel.deploy(TWO)
    assert vercel.project.production == second.handle


async def test_the_domain_of_a_preview_is_led_to_the_new_deployment(vercel: Scene) -> None:
    binding = vercel.bound("staging", domain="staging.acme.example")
    first = await vercel.deploy(ONE, binding=binding)
    second = await vercel.deploy(TWO, binding=binding, replaces=first)
    assert vercel.world.aliases["staging.acme.example"] == second.handle
    assert (await vercel.vercel.status(second)).url == "https://staging.acme.example"
    gone = await vercel.anew().vercel.status(first)
    assert (gone.presence, gone.url) == (Presence.exited, None)
    assert second.handle in gone.detail


async def test_old_previews_beyond_the_number_to_keep_are_deleted_and_nobody_elses(vercel: Scene) -> None:
    binding = vercel.bound("staging", keep_previews=2)
    others = vercel.world.deploy(vercel.project, sha=ONE, ref="main", target=None, source="git")
    placements = [await vercel.deploy(sha * 40, binding=binding) for sha in "abcd"]
    kept = [p.handle for p in placements if vercel.at(p.handle).deleted is None]
    assert kept == [p.handle for p in placements[2:]]
    assert others.deleted is None


@pytest.mark.parametrize(
    ("linked", "git", "source"),
    [
        ("github", None, {"type": "github", "repoId": 4711}),
        ("gitlab", None, {"type": "gitlab", "projectId": "4711"}),
        ("bitbucket", None, {"type": "bitbucket", "owner": "acme", "slug": "web"}),
        ("github", {"type": "github", "repo": "acme/web"}, {"type": "github", "org": "acme", "repo": "web"}),
        ("github", {"type": "github", "repo_id": 7}, {"type": "github", "repoId": 7}),
        ("github", {"type": "gitlab", "repo_id": 7}, {"type": "gitlab", "projectId": 7}),
        ("github", {"type": "bitbucket", "repo": "acme/web"}, {"type": "bitbucket", "owner": "acme", "slug": "web"}),
        ("github", {"type": "bitbucket", "repo_id": "{uuid}"}, {"type": "bitbucket", "repoUuid": "{uuid}"}),
    ],
)
async def test_the_commit_is_named_as_each_git_integration_wants_it(
    vercel: Scene, linked: str, git: dict[str, object] | None, source: dict[str, object]
) -> None:
    vercel.project.linked = linked  # type: ignore[assignment]
    bodies: list[bytes] = []
    vercel.transport.kills_at = lambda request: bool(request.method == "POST" and bodies.append(request.content))
    await vercel.deploy(binding=vercel.bound(**({"git": git} if git else {})))  # type: ignore[arg-type]
    assert json.loads(bodies[0])["gitSource"] == {**source, "ref": "main", "sha": ONE}


async def test_a_project_without_a_repository_is_named_as_the_reason(vercel: Scene) -> None:
    vercel.project.linked = "none"
    with pytest.raises(NotConfigured, match="not connected"):
        await vercel.deploy()
    assert not vercel.made
