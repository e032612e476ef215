"""Collectors to be killed: a process that forks one for each line that it reads, and says its number.

Run as `python -m tests.operations.collecting DIRECTORY`. What is collected are the keeper's files below DIRECTORY/desks.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio

from ops_mcp.domain.releases import Placement
from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import Tailed
from ops_mcp.operations import collect
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.providers.local.following import follow
from ops_mcp.providers.local.home import Desk
from ops_mcp.store.database import Database
from ops_mcp.store.logs.store import LogStore
from tests.operations.fakes import open_database
from tests.operations.killable import FilePlace, Halts, parts_of

KEEPER = Path(collect.__file__).parents[1] / "providers" / "local" / "keeper"


@dataclass
class KeptPlace(FilePlace):
    """A place whose lines are the files of a real keeper."""

    most_bytes: int = 20_000

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        desk = Desk(self.directory / "desks" / placement.deployment)
        return await anyio.to_thread.run_sync(lambda: follow(desk, position, most_bytes=min(most_bytes, self.most_bytes)))


def keeper_log(directory: Path, deployment: str, *, size: int, files: int = 5) -> Any:
    """What the keeper writes a service's output with; the keeper is a script and no module of ours."""
    return _keeper().Log(str(directory / "desks" / deployment / "logs"), size, files)


def _keeper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keeper_main", KEEPER / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(KEEPER))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(KEEPER))
    return module


def collector_parts(
    directory: Path, database: Database, clock: Callable[[], datetime], pause: float, most_bytes: int = 20_000
) -> Parts:
    """Real time in small pieces: it looks again almost at once."""
    place = KeptPlace(directory, Halts(directory, "-"), most_bytes=most_bytes)
    parts = parts_of(database, place, 1, Reins())

    async def sleep(seconds: float) -> None:
        await anyio.sleep(seconds * pause)

    return Parts(
        database=parts.database,
        providers=parts.providers,
        probe=parts.probe,
        settle=parts.settle,
        clock=clock,
        sleep=sleep,
        fence=1,
        reins=parts.reins,
    )


async def main(directory: Path) -> None:
    async with open_database(directory) as database:
        store = LogStore(directory / "logs.db", LogTerms(), lambda: datetime.now(UTC))
        parts = collector_parts(directory, database, lambda: datetime.now(UTC), 0.01)
        await collect.Collection(parts, store, lambda: str).run()


if __name__ == "__main__":
    collect.EVERY_SECONDS = collect.QUIET_SECONDS = 0.01
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            anyio.run(main, Path(sys.argv[1]))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write("gone\n")
        sys.stdout.flush()
