"""Trouble on the way: kills, silence, limits and slowness at every point; a deployment is neither lost nor made twice."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from ops_mcp.domain.releases import Observed, Placement, Presence
from ops_mcp.errors import ProviderError
from sandbox.vercel.faults import Kind
from sandbox.vercel.world import Outcome, Pace
from tests.providers.vercel.scene import ONE, TWO, Heard, Killed, Scene

pytestmark = pytest.mark.anyio

SILENCES: list[tuple[Kind, bool]] = [
    ("timeout", False),
    ("timeout", True),
    ("reset", False),
    ("reset", True),
    ("truncated", True),
    ("status", False),
    ("status", True),
]


@pytest.mark.parametrize(("kind", "after"), SILENCES)
async def test_a_request_to_deploy_without_an_answer_is_looked_up_and_never_made_twice(
    vercel: Scene, kind: Kind, after: bool
) -> None:
    vercel.simulator.trouble.add("createDeployment", kind, after=after, status=503)
    placement = await vercel.deploy()
    assert [d.id for d in vercel.made] == [placement.handle]
    assert vercel.heard.handles == [placement.handle]


async def test_what_shows_up_in_the_list_only_later_is_still_found(vercel: Scene) -> None:
    vercel.world.behind_seconds = 8
    vercel.simulator.trouble.add("createDeployment", "timeout", after=True)
    await vercel.deploy()
    assert len(vercel.made) == 1


@pytest.mark.parametrize(("kind", "after"), SILENCES)
async def test_a_request_to_roll_back_without_an_answer_is_looked_up_and_moves_production_once(
    vercel: Scene, kind: Kind, after: bool
) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.simulator.trouble.add("requestRollback", kind, after=after, status=502)
    await vercel.roll_back(first, ends=second)
    assert vercel.project.history == [first.handle, second.handle, first.handle]


@pytest.mark.parametrize("kind", ["timeout", "reset", "status"])
@pytest.mark.parametrize(
    "operation", ["getProject", "getDeployments", "getDeployment", "getDeploymentEvents", "requestPromote", "cancelDeployment"]
)
async def test_five_failures_in_a_row_of_any_request_do_not_fail_a_deployment(vercel: Scene, operation: str, kind: Kind) -> None:
    vercel.project.rolled_back = True
    vercel.simulator.trouble.add(operation, kind, times=5, status=500)
    placement = await vercel.deploy()
    assert vercel.project.production == placement.handle
    assert len(vercel.made) == 1


async def test_slow_answers_only_take_longer(vercel: Scene) -> None:
    vercel.simulator.trouble.add("*", "slow", times=20, seconds=20)
    placement = await vercel.deploy()
    assert vercel.project.production == placement.handle


async def test_a_kill_before_the_handle_is_stored_is_made_up_for_by_the_mark(vercel: Scene) -> None:
    placement = vercel.placed()
    with pytest.raises(Killed):
        await vercel.vercel.deploy(placement, replaces=None, tell=Heard(dies_at_handle=True))
    later = vercel.anew()
    observed = await later.vercel.deploy(placement, replaces=None, tell=later.heard)
    assert [d.id for d in vercel.made] == [observed.handle] == later.heard.handles


async def killed_at(number: int, begun: Scene, change: Callable[[Scene], Awaitable[Observed]]) -> tuple[Observed, bool]:
    """A change whose worker is killed after its n-th request, taken up by the next worker; and whether it got that far."""
    sent = 0

    def nth(_: object) -> bool:
        nonlocal sent
        sent += 1
        return sent == number

    begun.transport.kills_at = nth
    try:
        return await change(begun), False
    except Killed:
        begun.transport.kills_at = lambda _: False
        return await change(begun.anew()), True


@pytest.mark.parametrize("number", range(1, 40, 2))
async def test_a_worker_killed_at_any_request_leaves_exactly_one_deployment(vercel: Scene, number: int) -> None:
    vercel.project.rolled_back = True
    placement = vercel.placed()

    async def change(scene: Scene) -> Observed:
        stored = placement.evolve(handle=(vercel.heard.handles or [""])[-1])
        return await scene.vercel.deploy(stored, replaces=None, tell=scene.heard)

    observed, _ = await killed_at(number, vercel, change)
    assert [d.id for d in vercel.made] == [observed.handle] == [vercel.project.production]
    assert vercel.project.history == [observed.handle]


@pytest.mark.parametrize("number", range(1, 13))
async def test_a_worker_killed_at_any_request_of_a_rollback_moves_production_once(vercel: Scene, number: int) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    observed, _ = await killed_at(
        number, vercel, lambda scene: scene.vercel.rollback(first, restores=first, ends=second, tell=scene.heard)
    )
    assert observed.handle == first.handle
    assert vercel.project.history == [first.handle, second.handle, first.handle]


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("staged", [True, False])
async def test_a_worker_killed_at_any_request_of_a_promotion_promotes_once(vercel: Scene, number: int, staged: bool) -> None:
    vercel.project.auto_assign = not staged
    origin = await vercel.deploy(binding=vercel.bound("production", staged=True) if staged else vercel.bound("staging"))
    vercel.project.auto_assign = True
    placement = vercel.placed()
    vercel.heard.handles.clear()

    async def change(scene: Scene) -> Observed:
        stored = placement.evolve(handle=(vercel.heard.handles or [""])[-1])
        return await scene.vercel.promote(stored, origin=origin, replaces=None, tell=scene.heard)

    observed, _ = await killed_at(number, vercel, change)
    assert vercel.project.history == [observed.handle]
    assert len(vercel.made) == (1 if staged else 2)


async def test_a_cancellation_in_the_middle_of_the_request_does_not_lose_the_handle(vercel: Scene) -> None:
    with anyio.CancelScope() as scope:

        def cancel_at_post(request: object) -> bool:
            if getattr(request, "method", "") == "POST":
                scope.cancel()
            return False

        vercel.transport.kills_at = cancel_at_post
        await vercel.deploy()
    assert scope.cancelled_caught
    assert vercel.heard.handles == [vercel.made[0].id]


async def patiently(vercel: Scene, change: Callable[[], Awaitable[Observed]]) -> Observed:
    """As the worker asks: a wait that the place asks for is no failure."""
    for _ in range(60):
        try:
            return await change()
        except ProviderError as error:
            if error.retry_after_seconds is None:
                raise
            await vercel.hours.sleep(error.retry_after_seconds)
    raise AssertionError("it was put off for ever")


def limit_for_ten_minutes(vercel: Scene, operation: str) -> None:
    vercel.simulator.trouble.add(operation, "status", times=None, status=429, seconds=45, until=vercel.world.now + 600_000)


@pytest.mark.parametrize("begins", [0, 1, 4, 20, 33, 36, 38])
@pytest.mark.parametrize(
    "operation", ["*", "getDeployment", "getDeployments", "createDeployment", "getProject", "requestPromote"]
)
async def test_ten_minutes_of_429_delay_a_deployment_and_neither_lose_nor_repeat_it(
    vercel: Scene, operation: str, begins: float
) -> None:
    vercel.project.rolled_back = True
    vercel.hours.after(begins, lambda: limit_for_ten_minutes(vercel, operation))
    if not begins:
        limit_for_ten_minutes(vercel, operation)
    placement = vercel.placed()
    observed = await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    assert [d.id for d in vercel.made] == [observed.handle] == [vercel.project.production]
    assert vercel.project.history == [observed.handle]


@pytest.mark.parametrize("begins", [0, 0.5, 3])
@pytest.mark.parametrize("operation", ["*", "getDeployment", "getDeployments", "getProject", "requestRollback"])
async def test_ten_minutes_of_429_delay_a_rollback_and_neither_lose_nor_repeat_it(
    vercel: Scene, operation: str, begins: float
) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.hours.after(begins, lambda: limit_for_ten_minutes(vercel, operation))
    if not begins:
        limit_for_ten_minutes(vercel, operation)
    observed = await patiently(vercel, lambda: vercel.roll_back(first, ends=second))
    assert observed.handle == first.handle
    assert vercel.project.history == [first.handle, second.handle, first.handle]


async def test_the_time_that_nobody_answered_is_not_counted_against_a_move(vercel: Scene) -> None:
    vercel.project.rolled_back, vercel.world.pace = True, Pace(job=660)
    vercel.hours.after(45, lambda: limit_for_ten_minutes(vercel, "getProject"))
    placement = await vercel.deploy()
    assert vercel.project.production == placement.handle


@pytest.mark.parametrize("operation", ["*", "getDeployment", "deleteDeployment"])
async def test_ten_minutes_of_429_delay_a_stop(vercel: Scene, operation: str) -> None:
    placement = await vercel.deploy()
    limit_for_ten_minutes(vercel, operation)
    observed = await patiently(vercel, lambda: vercel.vercel.stop(placement))
    assert observed.presence is Presence.absent


async def test_a_look_that_is_limited_says_when_to_look_again(vercel: Scene) -> None:
    placement = await vercel.deploy()
    limit_for_ten_minutes(vercel, "getProject")
    with pytest.raises(ProviderError) as caught:
        await vercel.anew().vercel.status(placement)
    assert caught.value.temporary
    assert caught.value.retry_after_seconds == 45


async def test_a_limit_of_one_endpoint_does_not_hold_up_the_others(vercel: Scene) -> None:
    limit_for_ten_minutes(vercel, "getDeploymentEvents")
    placement = await vercel.deploy()
    assert vercel.project.production == placement.handle
    assert (vercel.hours.now - placement.asked_at).total_seconds() < 60


@pytest.mark.parametrize(("build", "most"), [(30, 45), (300, 60), (2400, 200)])
async def test_following_a_build_stays_at_the_pace_of_vercels_own_tool(vercel: Scene, build: float, most: int) -> None:
    vercel.world.outcomes[ONE] = Outcome(building=build)
    await vercel.deploy()
    trouble = vercel.simulator.trouble
    assert trouble.asked() <= most
    assert trouble.most_per_minute() <= 40
    later = vercel.made[0].created + 300_000
    assert trouble.most_per_minute(since=later) <= 6


async def test_following_a_rollback_is_modest_too(vercel: Scene) -> None:
    first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
    vercel.world.pace = Pace(job=120)
    began = vercel.world.now
    await vercel.roll_back(first, ends=second)
    assert vercel.simulator.trouble.most_per_minute(since=began) <= 40


async def test_limits_of_the_simulator_itself_are_kept_to(vercel: Scene) -> None:
    """A quota that a build can exceed: it is waited out, and the deployment is made once."""
    from sandbox.vercel.faults import Limit

    vercel.simulator.trouble.limits.append(Limit("getDeployment", 5, 60))
    placement: Placement = await vercel.deploy()
    limited = [seen for seen in vercel.simulator.trouble.seen if seen.status == 429]
    assert limited
    assert len(limited) < 10
    assert vercel.project.production == placement.handle
