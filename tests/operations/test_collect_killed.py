"""A collector that is killed at any moment while a service writes and its files are rotated: nothing is lost, nothing doubled."""

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import anyio
import pytest

from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import LogSearch
from ops_mcp.operations.collect import Collection
from ops_mcp.operations.run import run
from ops_mcp.providers.local.following import follow
from ops_mcp.providers.local.home import Desk
from ops_mcp.store.logs.store import LogStore
from tests.operations.collecting import collector_parts, keeper_log
from tests.operations.fakes import ENVIRONMENT, open_world

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
SIZE, FILES = 25_000, 5


class Writer:
    """One service's output through the keeper's own log: single lines, traces, and parts of lines."""

    def __init__(self, directory: Path, deployment: str, chance: random.Random) -> None:
        self.deployment = deployment
        self.lines: list[str] = []
        self._desk = Desk(directory / "desks" / deployment)
        self._log = keeper_log(directory, deployment, size=SIZE, files=FILES)
        self._chance = chance
        self._bytes = 0

    def has_room(self) -> bool:
        """Whether more rotates nothing away that was not read yet; what is stored tells how far that is."""
        if self._bytes > SIZE * (FILES - 2) and not follow(self._desk, self._stored(), most_bytes=SIZE * FILES).lines:
            self._bytes = 0
        return self._bytes <= SIZE * (FILES - 2)

    @property
    def rotations(self) -> int:
        return sum(len(line) + 1 for line in self.lines) // SIZE

    def close(self) -> None:
        self._log.close()

    def _stored(self) -> str:
        with closing(sqlite3.connect(self._desk.path.parents[1] / "logs.db", timeout=5)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchall():
                return ""  # killed before it had stored anything
            rows = connection.execute("SELECT position FROM positions WHERE deployment = ?", (self.deployment,)).fetchall()
        return str(rows[0][0]) if rows else ""

    def write(self, most: int) -> None:
        fresh: list[str] = []
        for _ in range(self._chance.randrange(1, most)):
            number = len(self.lines) + len(fresh)
            fresh.append(f"{datetime.now(UTC).isoformat()} ERROR {self.deployment} number {number} failed")
            if self._chance.random() < 0.1:
                fresh += ["Traceback (most recent call last):", f'  File "a.py", line {number}', f"ValueError: {number}"]
        data = "".join(f"{line}\n" for line in fresh).encode()
        cut = self._chance.randrange(len(data))
        self._log.write(data[:cut])
        self._log.write(data[cut:])
        self.lines += fresh
        self._bytes += len(data)


@pytest.mark.parametrize("kills", [6, pytest.param(150, marks=pytest.mark.slow)])
async def test_killing_the_collector_at_any_moment_loses_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    async with open_world(tmp_path) as world:
        operations = [await world.deploy("v1")]
        assert (await run(operations[0], world.parts)).state == "healthy"
        writers = [Writer(tmp_path, operations[0].deployment, chance)]
        await anyio.to_thread.run_sync(_killed_again_and_again, tmp_path, writers, chance, kills)
        store = LogStore(tmp_path / "logs.db", LogTerms(), lambda: datetime.now(UTC))
        ahead = [timedelta()]
        parts = collector_parts(tmp_path, world.database, lambda: datetime.now(UTC) + ahead[0], 0.01)
        collection = Collection(parts, store, lambda: str)
        await collection.once()
        ahead[0] = timedelta(seconds=5)  # what is open ends when nothing follows
        await collection.once()
        for writer in writers:
            writer.close()
            assert await stored_lines(store, writer.deployment) == writer.lines
            assert writer.rotations >= kills // 10
        await store.aclose()


def _killed_again_and_again(directory: Path, writers: Sequence[Writer], chance: random.Random, kills: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.operations.collecting", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as forks:
        assert forks.stdin is not None
        assert forks.stdout is not None
        for _ in range(kills):
            forks.stdin.write("\n")
            forks.stdin.flush()
            child = int(forks.stdout.readline())
            try:
                _written_meanwhile(writers, chance, forks.stdout)
            finally:
                os.kill(child, signal.SIGKILL)
            assert forks.stdout.readline() == "gone\n"
        forks.stdin.close()


def _written_meanwhile(writers: Sequence[Writer], chance: random.Random, told: IO[str]) -> None:
    for _ in range(chance.randrange(1, 12)):
        room = [writer for writer in writers if writer.has_room()]
        for writer in room:
            writer.write(chance.choice((4, 60)))
        ended, _, _ = select.select([told], [], [], chance.random() * (0.03 if room else 0.5))
        assert not ended  # it goes on until it is killed


async def stored_lines(store: LogStore, deployment: str) -> list[str]:
    """In the order in which they were collected."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.search(
            LogSearch(environment=ENVIRONMENT, deployment=deployment, oldest_first=True, limit=1000, cursor=cursor)
        )
        found += [line for record in page.records for line in record.raw.split("\n")]
        cursor = page.next_cursor
        if cursor is None:
            return found
