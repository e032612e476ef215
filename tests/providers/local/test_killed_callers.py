"""A worker dies by SIGKILL at each point of a deployment; whoever repeats it ends with exactly one process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.releases import DeploymentId, Presence, Release
from ops_mcp.providers._waiting import until
from ops_mcp.providers.local.keeper.kin import everything_below
from ops_mcp.providers.local.place import in_silence
from tests.providers.local.fakes import SERVICE, World, alive, at, commit, placed

pytestmark = pytest.mark.anyio

OLD, NEW = DeploymentId("dep_old"), DeploymentId("dep_new")
ROOT = Path(__file__).parents[3]


@contextmanager
def caller(world: World, release: Release, *, hold_at: str, replaces: str = "-") -> Iterator[subprocess.Popen[str]]:
    """Another process that deploys `release` and holds still at `hold_at`; it is killed at the end."""
    command = [
        sys.executable,
        "-m",
        "tests.providers.local.caller",
        str(world.root),
        hold_at,
        replaces,
        world.mode,
        str(world.runs),
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None
    try:
        process.stdin.write(placed(release, NEW).model_dump_json() + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


async def said(process: subprocess.Popen[str], word: str) -> None:
    """Wait until the caller says that it is there."""
    assert process.stdout is not None
    with anyio.fail_after(20):
        while (line := (await anyio.to_thread.run_sync(process.stdout.readline)).strip()) != word:
            assert line, "the caller ended early"


def kill_tree(process: subprocess.Popen[str]) -> None:
    """As rough as a client can be: every process below the caller, and the caller."""
    for pid in (*everything_below(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)


@pytest.mark.parametrize("point", ["mirroring", "building", "stopping", "starting", "started", "done"])
async def test_a_deployment_repeated_after_a_kill_ends_with_exactly_one_process(plain: World, point: str) -> None:
    repository = plain.repository()
    binding = plain.binding(repository, build=["{python}", "-c", "print('built')"])
    await plain.up(binding, OLD)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    release = await plain.release(binding)
    with caller(plain, release, hold_at=point, replaces=OLD) as process:
        await said(process, point)
        kill_tree(process)
    before = await plain.local.status(at(binding, OLD))
    assert before.presence is (Presence.running if point in ("mirroring", "building", "stopping") else Presence.exited)
    await plain.local.deploy(placed(release, NEW), replaces=at(binding, OLD), tell=in_silence)
    await plain.seen(binding, NEW, lambda o: o.answers is True)
    assert len(plain.living()) == 1
    assert len(alive(plain.processes_of("app.py"))) - len(elsewhere(plain)) == 1


def elsewhere(world: World) -> list[int]:
    """Services of other tests that run at the same time."""
    mine = set(world.tree(NEW))
    return [pid for pid in world.processes_of("app.py") if pid not in mine and not in_world(world, pid)]


def in_world(world: World, pid: int) -> bool:
    try:
        return str(world.root) in str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False


@pytest.mark.parametrize("point", ["mirroring", "building", "starting", "started"])
async def test_stopping_after_a_kill_leaves_nothing_that_could_still_start(plain: World, point: str) -> None:
    binding = plain.binding(plain.repository())
    release = await plain.release(binding)
    with caller(plain, release, hold_at=point) as process:
        await said(process, point)
        kill_tree(process)
    await plain.local.stop(at(binding, NEW))
    assert plain.living() == []
    assert (await plain.local.status(at(binding, NEW))).presence in (Presence.absent, Presence.exited)


async def test_a_build_held_forever_ends_with_the_caller_that_is_killed(anywhere: World) -> None:
    code = "import time; time.sleep(600)"
    binding = anywhere.binding(anywhere.repository(), build=["{python}", "-c", code, f"held-{anywhere.port}"])
    release = await anywhere.release(binding)
    with caller(anywhere, release, hold_at="never") as process:
        await said(process, "building")
        assert await until(lambda: held(anywhere) != [], seconds=20)
        assert (await anywhere.local.status(at(binding, NEW))).presence is Presence.building
        process.kill()
        process.wait(timeout=10)
    assert await until(lambda: held(anywhere) == [], seconds=10)
    assert (await anywhere.local.status(at(binding, NEW))).presence is Presence.absent


def held(world: World) -> list[int]:
    return alive(world.processes_of(f"held-{world.port}"))


async def test_two_callers_of_one_deployment_start_one_process_between_them(plain: World) -> None:
    binding = plain.binding(plain.repository(), build=["{python}", "-c", "print('built')"])
    release = await plain.release(binding)
    with caller(plain, release, hold_at="never") as first, caller(plain, release, hold_at="never") as second:
        await said(first, "done")
        await said(second, "done")
    await plain.seen(binding, NEW, lambda o: o.answers is True)
    assert len(plain.living()) == 1
    assert len(list(plain.root.glob("state/local/web/sandbox/releases/*"))) == 1


async def test_the_service_survives_the_whole_process_tree_that_started_it(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository())
    release = await anywhere.release(binding)
    with caller(anywhere, release, hold_at="never") as process:
        await said(process, "done")
        kill_tree(process)
    await anywhere.seen(binding, NEW, lambda o: o.answers is True)
    assert len(anywhere.living()) == 1
