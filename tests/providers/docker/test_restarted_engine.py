"""An engine that is killed and comes back in the middle of a change: the change is finished, once, and nothing is lost."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.releases import Placement, Presence
from ops_mcp.providers.docker.troubles import EngineAway
from tests.providers.docker.worlds import World, body_of, reason_to_skip, script, script_soon, world

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.root, pytest.mark.anyio]


@pytest.fixture(scope="module")
def own() -> Iterator[Path]:
    """The directory of an engine that these tests alone may kill. Short: a socket's path has at most 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="omt-"))
    said = script("start", directory)
    try:
        if reason := reason_to_skip(f"unix://{directory}/docker.sock"):
            pytest.skip(said.strip().splitlines()[-1] if "no Docker engine" in said else reason)
        yield directory
    finally:
        script("stop", directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def shaky(own: Path, tmp_path: Path) -> Iterator[World]:
    script("start", own)
    with world(f"unix://{own}/docker.sock", tmp_path) as made:
        yield made


class Falls:
    """Kills the engine when the provider says `doing`, once, and has it started again by `group` a moment later."""

    def __init__(self, directory: Path, doing: str, group: anyio.abc.TaskGroup) -> None:
        self._directory, self._doing, self._group = directory, doing, group
        self.fell = False

    async def __call__(self, doing: str) -> None:
        if doing == self._doing and not self.fell:
            self.fell = True
            await script_soon("kill", self._directory)
            self._group.start_soon(script_soon, "start", self._directory)


@pytest.mark.parametrize("doing", ["starting", "waiting until it answers", "stopping the old release"])
async def test_a_deployment_survives_an_engine_that_is_killed_in_its_middle(own: Path, shaky: World, doing: str) -> None:
    first = await shaky.up("v1")
    second = shaky.placement(await shaky.release(shaky.binding(), "v2"))
    async with anyio.create_task_group() as group:
        shaky.on_tell = falls = Falls(own, doing, group)
        observed = await shaky.docker.deploy(second, replaces=first, tell=shaky.tell)
    assert falls.fell
    assert observed.presence is Presence.running
    assert await body_of(observed.url or "") == "v2"
    assert shaky.running() == [second.deployment]
    assert len(shaky.of(second)) == 1
    assert len(shaky.of(first)) == 1


async def test_a_deployment_on_a_fixed_port_survives_it_too(own: Path, shaky: World) -> None:
    first = await shaky.up("v1", host_port=18473)
    second = shaky.placement(await shaky.release(shaky.binding(host_port=18473), "v2"))
    async with anyio.create_task_group() as group:
        shaky.on_tell = Falls(own, "stopping the old release", group)
        observed = await shaky.docker.deploy(second, replaces=first, tell=shaky.tell)
    assert await body_of(observed.url or "") == "v2"
    assert shaky.running() == [second.deployment]


async def test_a_rollback_survives_an_engine_that_is_killed_in_its_middle(own: Path, shaky: World) -> None:
    first = await shaky.up("v1")
    second = await shaky.up("v2", replaces=first)
    async with anyio.create_task_group() as group:
        shaky.on_tell = falls = Falls(own, "starting", group)
        observed = await shaky.docker.rollback(first, restores=first, ends=second, tell=shaky.tell)
    assert falls.fell
    assert await body_of(observed.url or "") == "v1"
    assert shaky.running() == [first.deployment]


async def test_what_ran_when_the_engine_was_killed_is_seen_to_have_ended_and_is_restarted(own: Path, shaky: World) -> None:
    placed: Placement = await shaky.up("v1", replicas=2)
    script("kill", own)
    with pytest.raises(EngineAway):
        await shaky.docker.status(placed)
    script("start", own)
    assert (await shaky.docker.status(placed)).presence is Presence.exited
    assert (await shaky.docker.restart(placed)).presence is Presence.running
    assert shaky.running() == [placed.deployment] * 2


async def test_replicas_are_brought_to_their_number_across_a_kill(own: Path, shaky: World) -> None:
    one = await shaky.up("v1")
    three = shaky.placement(one.release.evolve(replicas=3))
    async with anyio.create_task_group() as group:
        shaky.on_tell = falls = Falls(own, "starting replica 3 of 3", group)
        observed = await shaky.docker.scale(three, restores=one, tell=shaky.tell)
    assert falls.fell
    assert observed.presence is Presence.running
    assert len(shaky.running()) == 3
