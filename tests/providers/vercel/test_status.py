"""What is there, in few requests: each state of a deployment, what production serves instead, and what nobody can know."""

import pytest

from ops_mcp.domain.releases import Placement, Presence
from ops_mcp.errors import OpsError
from sandbox.vercel.world import Outcome
from tests.providers.vercel.scene import ONE, TWO, Scene, provider

pytestmark = pytest.mark.anyio


def begun(vercel: Scene, outcome: Outcome | None = None, *, staging: bool = False) -> Placement:
    """A deployment that was made for a placement, which nobody follows. Its handle was never stored."""
    vercel.world.outcomes[ONE] = outcome or Outcome()
    placement = vercel.placed(binding=vercel.bound("staging") if staging else None)
    target = None if staging else "production"
    meta = {"opsMcpDeployment": placement.deployment}
    vercel.world.deploy(vercel.project, sha=ONE, ref="main", target=target, source="cli", meta=meta)
    return placement


@pytest.mark.parametrize(
    ("outcome", "after", "presence", "detail"),
    [
        (Outcome(), 0, Presence.building, "queued"),
        (Outcome(), 10, Presence.building, "builds"),
        (Outcome(blocked=True), 10, Presence.building, "BLOCKED"),
        (Outcome(checks="run on"), 60, Presence.building, "checks are running"),
        (Outcome(), 36, Presence.building, "domains are not assigned"),
        (Outcome(), 60, Presence.running, "Production serves"),
        (Outcome(build="fails"), 60, Presence.exited, "build failed"),
        (Outcome(checks="failed"), 60, Presence.exited, "checks ended failed"),
        (Outcome(alias="fails"), 60, Presence.exited, "could not be assigned"),
    ],
)
async def test_each_state_of_a_deployment_is_found_by_its_mark(
    vercel: Scene, outcome: Outcome, after: float, presence: Presence, detail: str
) -> None:
    placement = begun(vercel, outcome)
    await vercel.hours.sleep(after)
    observed = await vercel.vercel.status(placement)
    assert (observed.presence, observed.handle) == (presence, vercel.made[0].id)
    assert detail in observed.detail
    assert (observed.url is not None) == (presence is Presence.running)


async def test_a_failed_build_has_a_tail(vercel: Scene) -> None:
    placement = begun(vercel, Outcome(build="fails"))
    await vercel.hours.sleep(60)
    assert (await vercel.vercel.status(placement)).untrusted_tail[-1] == 'Command "npm run build" exited with 1'


async def test_nothing_of_a_deployment_is_absent(vercel: Scene) -> None:
    assert (await vercel.vercel.status(vercel.placed())).presence is Presence.absent
    assert (await vercel.vercel.status(vercel.placed(handle="dpl_none"))).presence is Presence.absent


async def test_to_a_token_of_another_scope_nothing_is_absent_but_unseen(vercel: Scene) -> None:
    placement = await vercel.deploy(binding=vercel.bound("staging"))
    vercel.world.tokens["token-of-staging-1234567890"] = vercel.world.tokens["token-of-a-stranger-1234567890"]
    with pytest.raises(OpsError, match="may not do this"):
        await vercel.anew().vercel.status(placement)


async def test_to_a_token_without_its_team_everything_is_unseen_and_nothing_is_absent(vercel: Scene) -> None:
    placement = await vercel.deploy(binding=vercel.bound("staging"))
    alone = provider(vercel.hours, vercel.transport, state_dir=vercel.vercel.state_dir, team=None)
    with pytest.raises(OpsError, match="cannot see it"):
        await alone.status(placement)


async def test_a_deployment_that_production_does_not_serve_any_more_has_ended(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    observed = await vercel.vercel.status(first)
    assert (observed.presence, observed.url) == (Presence.exited, None)
    assert second.handle in observed.detail


async def test_what_is_staged_for_production_is_on_its_way_and_said_so(vercel: Scene) -> None:
    vercel.project.auto_assign = False
    placement = begun(vercel)
    await vercel.hours.sleep(60)
    observed = await vercel.vercel.status(placement)
    assert (observed.presence, observed.detail[:6]) == (Presence.building, "STAGED")


async def test_what_is_being_promoted_is_on_its_way(vercel: Scene) -> None:
    vercel.project.auto_assign = False
    placement = begun(vercel)
    await vercel.hours.sleep(60)
    vercel.world.advance()
    vercel.world.begin_job(vercel.project, "promote", vercel.made[0].id)
    observed = await vercel.vercel.status(placement)
    assert (observed.presence, observed.detail) == (Presence.building, "Vercel is moving production's domains to it.")


async def test_since_stays_the_same_however_production_is_moved(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    since = {(await vercel.anew().vercel.status(second)).since}
    await vercel.roll_back(first, ends=second)
    since.add((await vercel.anew().vercel.status(second)).since)
    await vercel.roll_back(second, ends=first)
    since.add((await vercel.anew().vercel.status(second)).since)
    assert len(since) == 1


async def test_lists_are_followed_over_all_their_pages(vercel: Scene) -> None:
    placement = begun(vercel, staging=True)
    for _ in range(250):
        vercel.world.deploy(vercel.project, sha=TWO, ref="main", target=None, source="git")
    await vercel.hours.sleep(60)
    assert (await vercel.vercel.status(placement)).presence is Presence.running
    assert vercel.simulator.trouble.asked("getDeployments") == 3


@pytest.mark.parametrize("every", [2.0, 5.0, 30.0])
@pytest.mark.parametrize("kind", ["production", "superseded", "preview", "domain", "failed"])
async def test_a_settled_service_costs_at_most_four_requests_a_minute_however_often_it_is_looked_at(
    vercel: Scene, kind: str, every: float
) -> None:
    match kind:
        case "production":
            placement = await vercel.deploy(ONE)
        case "superseded":
            placement = await vercel.deploy(ONE)
            await vercel.deploy(TWO)
        case "preview":
            placement = await vercel.deploy(ONE, binding=vercel.bound("staging"))
        case "domain":
            placement = await vercel.deploy(ONE, binding=vercel.bound("staging", domain="staging.acme.example"))
        case _:
            placement = begun(vercel, Outcome(build="fails"))
            await vercel.hours.sleep(60)
            placement = placement.evolve(handle=vercel.made[0].id)
    await vercel.hours.sleep(1)
    began = vercel.world.now
    for _ in range(int(600 / every)):
        await vercel.vercel.status(placement)
        await vercel.hours.sleep(every)
    assert 0 < vercel.simulator.trouble.most_per_minute(since=began) <= 4


async def test_a_change_is_seen_at_once_by_whoever_made_it(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    assert (await vercel.vercel.status(second)).presence is Presence.running
    await vercel.roll_back(first, ends=second)
    assert (await vercel.vercel.status(second)).presence is Presence.exited


async def test_a_change_made_elsewhere_is_seen_within_half_a_minute(vercel: Scene) -> None:
    placement = await vercel.deploy(ONE)
    assert (await vercel.vercel.status(placement)).usage.requests == 1
    vercel.project.production = None
    kept = await vercel.vercel.status(placement)
    assert (kept.presence, kept.usage.requests) == (Presence.running, 0)
    await vercel.hours.sleep(31)
    assert (await vercel.vercel.status(placement)).presence is Presence.exited
