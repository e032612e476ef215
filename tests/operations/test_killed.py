"""Workers that are killed or stopped at every boundary: one release, one final state, no effect twice."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.operations.parts import Reins
from ops_mcp.operations.run import run
from ops_mcp.store import leases
from tests.operations.fakes import BINDING, START, World, open_world
from tests.operations.killable import FilePlace, Halts, parts_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifos"),
]

ROOT = Path(__file__).parents[2]
QUICK = Binding.model_validate(
    {**BINDING.model_dump(), "health": {"verify_seconds": 0.6, "watch_seconds": 0.3, "interval_seconds": 0.05}}
)
FINAL = {"healthy", "rolled_back", "down", "failed", "cancelled", "unknown"}

ON_THE_WAY = [
    "check begun",
    "release begun",
    "deploy before",
    "deploy after",
    "verify begun",
    "probe dep_2",
    "watch begun",
    "done done",
]
ON_THE_WAY_BACK = ["verify undo_begun", "rollback before", "rollback after", "undo note", "undo undone"]


@asynccontextmanager
async def deployed(directory: Path, content: str) -> AsyncGenerator[World]:
    """A world in which v1 serves and `content` is committed over it, before any worker process is alive."""
    os.mkfifo(directory / "fifo")
    async with open_world(directory) as world:
        first = await world.deploy("v1", binding=QUICK)
        place = FilePlace(directory, Halts(directory, "-"))
        assert (await run(first, parts_of(world.database, place, world.parts.fence, Reins()))).state == "healthy"
        await world.database.write(lambda tx: leases.release(tx, world.parts.fence, at=START))
        await world.deploy(content, binding=QUICK)
        yield world


@contextmanager
def worker(directory: Path, *, halts_at: str = "-", lease_seconds: float = 30) -> Generator[subprocess.Popen[bytes]]:
    """A worker process, killed with SIGKILL at the end if it still lives."""
    with (directory / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.operations.killable", str(directory), halts_at, str(lease_seconds)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def final_state(world: World, deployment: str) -> str:
    with anyio.fail_after(20):
        while (state := await world.state(deployment)) not in FINAL:
            await anyio.sleep(0.02)
    return state


async def reached(directory: Path) -> None:
    with anyio.fail_after(20):
        while not (directory / "reached").exists():
            await anyio.sleep(0.01)


def effects(directory: Path) -> list[str]:
    return (directory / "effects").read_text(encoding="utf-8").splitlines()


async def settlements(world: World) -> list[str]:
    rows = await world.database.fetch(
        "SELECT json_extract(body, '$.deployment'), json_extract(body, '$.verdict') FROM ledger WHERE kind = 'operation.settled'"
    )
    return [f"{deployment} {verdict}" for deployment, verdict in rows]


async def killed_at(point: str, directory: Path, world: World) -> str:
    """Kill a worker at the point and let the next one finish; the final state."""
    with worker(directory, halts_at=point) as first:
        await reached(directory)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    (directory / "released").touch()
    with worker(directory):
        return await final_state(world, "dep_2")


@pytest.mark.parametrize("point", ON_THE_WAY)
async def test_a_worker_killed_on_the_way_leaves_a_journal_that_the_next_one_finishes(tmp_path: Path, point: str) -> None:
    async with deployed(tmp_path, "v2") as world:
        assert await killed_at(point, tmp_path, world) == "healthy"
        assert effects(tmp_path) == ["start dep_1 v1", "end dep_1", "start dep_2 v2"]
        assert await settlements(world) == ["dep_1 healthy", "dep_2 healthy"]
        assert await world.serving() == "dep_2"
        assert await world.locked_by() == []


@pytest.mark.parametrize("point", ON_THE_WAY_BACK)
async def test_a_worker_killed_during_the_undo_leaves_one_that_the_next_one_finishes(tmp_path: Path, point: str) -> None:
    async with deployed(tmp_path, "broken") as world:
        assert await killed_at(point, tmp_path, world) == "rolled_back"
        assert effects(tmp_path) == ["start dep_1 v1", "end dep_1", "start dep_2 broken", "end dep_2", "start dep_1 v1"]
        assert await settlements(world) == ["dep_1 healthy", "dep_2 rolled_back"]
        assert await world.serving() == "dep_1"
        assert await world.locked_by() == []


@pytest.mark.parametrize("point", ["deploy before", "deploy after", "release begun", "watch begun"])
async def test_a_worker_stopped_past_its_lease_and_continued_is_refused_and_repeats_nothing(tmp_path: Path, point: str) -> None:
    async with deployed(tmp_path, "v2") as world:
        with worker(tmp_path, halts_at=point, lease_seconds=1) as stopped:
            await reached(tmp_path)
            stopped.send_signal(signal.SIGSTOP)
            (tmp_path / "released").touch()
            with worker(tmp_path):
                assert await final_state(world, "dep_2") == "healthy"
                before = await world.lines("dep_2")
                await anyio.to_thread.run_sync(continued_to_its_end, tmp_path, stopped)
                assert await world.lines("dep_2") == before
        assert effects(tmp_path) == ["start dep_1 v1", "end dep_1", "start dep_2 v2"]
        assert await settlements(world) == ["dep_1 healthy", "dep_2 healthy"]


def continued_to_its_end(directory: Path, stopped: subprocess.Popen[bytes]) -> None:
    """Let the stopped worker go on, and wait for it to leave by itself."""
    stopped.send_signal(signal.SIGCONT)
    (directory / "fifo").write_bytes(b"go on")
    stopped.wait(10)
