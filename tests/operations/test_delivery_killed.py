"""Workers killed with SIGKILL while they deliver to a real receiver that fails as well: every notice arrives, in order, once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.observing import Notice
from tests.channels.receiving import Receiver, notice, receiver
from tests.operations.delivering import put
from tests.operations.fakes import open_database

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifos")]

ROOT = Path(__file__).parents[2]
POINTS = [f"{number}-{step}" for number in (0, 3) for step in ("claimed", "sent", "settled")]
THREADS = ("web", "docs")


@pytest.fixture(scope="module")
def running() -> Generator[Receiver]:
    with receiver() as one:
        yield one


def some(count: int, prefix: str, channel: str = "pager") -> list[Notice]:
    """Notices in two threads, numbered in their order."""
    return [notice(f"ntc_{n}", channel=channel, thread=THREADS[n % 2], title=f"{prefix} {n}") for n in range(count)]


@contextmanager
def delivering(
    directory: Path, tables: dict[str, Any], *, halts_at: str = "-", repeats: str = "told"
) -> Generator[subprocess.Popen[bytes]]:
    with (directory / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.operations.delivering", str(directory), halts_at, json.dumps(tables), repeats],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def until(there: Path) -> None:
    """Wait until the file is there."""
    with anyio.fail_after(30):
        while not there.exists():
            await anyio.sleep(0.01)


async def filled(directory: Path, notices: list[Notice]) -> None:
    os.mkfifo(directory / "fifo")
    async with open_database(directory) as database:
        await database.write(lambda tx: put(tx, notices))


async def states(directory: Path) -> dict[str, str]:
    async with open_database(directory) as database:
        return dict(await database.fetch("SELECT id, state FROM outbox ORDER BY position"))


async def killed_and_taken_over(directory: Path, tables: dict[str, Any], point: str, repeats: str = "told") -> None:
    with delivering(directory, tables, halts_at=point, repeats=repeats) as first:
        await until(directory / "reached")
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    (directory / "released").touch()
    with delivering(directory, tables, repeats=repeats):
        await until(directory / "done")


def in_order(ids: list[str]) -> bool:
    """Whether the notices of each thread came in their order, every one once."""
    numbers = [int(id.removeprefix("ntc_")) for id in ids]
    threads = [[n for n in numbers if n % 2 == which] for which in (0, 1)]
    return all(thread == sorted(set(thread)) for thread in threads)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
async def test_a_webhook_gets_every_notice_once_by_its_id_wherever_the_worker_was_killed(tmp_path: Path, point: str) -> None:
    with receiver() as there:
        there.plan("500", "reset", "429:1", "taken-reset")
        await filled(tmp_path, some(6, point))
        tables = {"pager": {"kind": "webhook", "url": there.notices, "key": "k", "timeout_seconds": 1.0}}
        await killed_and_taken_over(tmp_path, tables, point)
        ids = there.ids()
        assert sorted(ids) == [f"ntc_{n}" for n in range(6)]
        assert in_order(ids)
        assert set((await states(tmp_path)).values()) == {"delivered"}
        repeats = there.told()["repeats"]
        assert len(repeats) >= 1, "the answer to one that was taken was reset, so it came again"
        if point.endswith("sent"):
            assert point.replace("-sent", "") in {id.removeprefix("ntc_") for id in repeats}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
async def test_a_file_gets_every_notice_once_wherever_the_worker_was_killed(tmp_path: Path, point: str) -> None:
    await filled(tmp_path, some(6, point))
    tables = {"pager": {"kind": "file", "path": str(tmp_path / "out.jsonl")}}
    await killed_and_taken_over(tmp_path, tables, point)
    ids = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(ids) == [f"ntc_{n}" for n in range(6)]
    assert in_order(ids)
    assert set((await states(tmp_path)).values()) == {"delivered"}


async def test_a_worker_killed_between_sending_and_settling_sends_again_under_the_same_id(
    tmp_path: Path, running: Receiver
) -> None:
    await filled(tmp_path, some(4, "quick"))
    tables = {"pager": {"kind": "webhook", "url": running.notices, "key": "k"}}
    await killed_and_taken_over(tmp_path, tables, "1-sent")
    told = running.told()
    assert sorted(row["id"] for row in told["received"]) == ["ntc_0", "ntc_1", "ntc_2", "ntc_3"]
    assert in_order([row["id"] for row in told["received"]])
    assert "ntc_1" in told["repeats"]
    assert set((await states(tmp_path)).values()) == {"delivered"}


@pytest.mark.parametrize("point", ["1-claimed", "1-sent"])
async def test_a_worker_killed_with_a_notice_in_its_hands_leaves_it_unknown_where_no_repeat_is_told(
    tmp_path: Path, point: str
) -> None:
    await filled(tmp_path, some(4, "untold"))
    tables = {"pager": {"kind": "file", "path": str(tmp_path / "out.jsonl")}}
    await killed_and_taken_over(tmp_path, tables, point, "untold")
    ids = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    arrived = ["ntc_1"] if point == "1-sent" else []
    assert sorted(ids) == sorted(["ntc_0", *arrived, "ntc_2", "ntc_3"])
    assert await states(tmp_path) == {"ntc_0": "delivered", "ntc_1": "unknown", "ntc_2": "delivered", "ntc_3": "delivered"}
    async with open_database(tmp_path) as database:
        rows = await database.fetch("SELECT body FROM ledger WHERE kind = 'notice.unknown'")
    (record,) = [json.loads(row[0]) for row in rows]
    assert record["data"]["notice"] == "ntc_1"
