"""A gigabyte of log collected while it is searched, and a word of its last hour found, against ripgrep over the same files."""

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from bench.result import Result, at_most
from ops_mcp.domain.places import Binding
from ops_mcp.logs.settings import LogTerms
from ops_mcp.observing import LogSearch
from ops_mcp.operations.collect import Collection
from ops_mcp.operations.run import run
from ops_mcp.store.logs.store import LogStore
from tests.operations.collecting import collector_parts
from tests.operations.fakes import BINDING, ENVIRONMENT, open_database, open_world

BYTES, FILES, SPAN = 2**30, 8, timedelta(hours=24)
WORD, WORD_EVERY = "zebrafish", 50_000
ROUNDS, MOST_MEMORY = 9, 300.0
ROOT = Path(__file__).parents[1]


async def measure() -> list[Result]:
    """Needs no house. Collector and searcher are processes of their own, as worker and server are; both are measured."""
    with tempfile.TemporaryDirectory(prefix="ops-mcp-logs-") as name:
        directory = Path(name)
        files = await _written(directory)
        with _process("collect", directory) as collector, _process("search", directory) as searcher:
            collected = await anyio.to_thread.run_sync(_told, collector)
            assert searcher.stdin is not None
            searcher.stdin.write("\n")
            searcher.stdin.flush()
            searched = await anyio.to_thread.run_sync(_told, searcher)
        return _results(collected, searched, await anyio.to_thread.run_sync(_ripgrep, files))


def _results(collected: dict[str, float], searched: dict[str, float], ripgrep: float | None) -> list[Result]:
    size = f"{BYTES / 2**30:g} GiB"
    results = [
        Result(f"logs, {size} collected while it is searched: one collector", collected["rate"], "lines/s"),
        Result(f"logs, {size}: bytes of the store for one of log", collected["stored"], "x"),
        at_most(f"logs, {size}: collector's peak memory", collected["memory"], "MiB", MOST_MEMORY),
        at_most(f"logs, {size}: searcher's peak memory", searched["memory"], "MiB", MOST_MEMORY),
        Result("logs, a word of the newest hour collected so far, while collecting: median", searched["meanwhile"], "ms"),
        Result(f"logs, a word of the whole day in {size}: median", searched["day"], "ms"),
    ]
    if ripgrep is not None:
        name = f"logs, a word of the last hour in {size}, against ripgrep over the same files: median"
        results.append(at_most(name, searched["hour"], "ms", 1.0, baseline=ripgrep))
    return results


async def _written(directory: Path) -> list[Path]:
    """The services that serve, and the lines of a day that they have written."""
    end = datetime.now(UTC)
    found: list[Path] = []
    async with open_world(directory) as world:
        for number in range(FILES):
            binding = Binding.model_validate({**BINDING.model_dump(), "service": f"service-{number}"})
            operation = await world.deploy("v1", binding=binding)
            assert (await run(operation, world.parts)).state == "healthy"
            logs = directory / "desks" / operation.deployment / "logs"
            logs.mkdir(parents=True)
            found.append(logs / "current.log")
            await anyio.to_thread.run_sync(_write, found[-1], end, number)
    return found


def _write(file: Path, end: datetime, seed: int) -> None:
    chance = random.Random(seed)
    bodies = [_body(chance, number) for number in range(5_000)]
    mean = statistics.mean(map(len, bodies)) + 29
    count = int(BYTES / FILES / mean)
    with file.open("w", encoding="utf-8") as out:
        for part in _parts(count, 20_000):
            lines: list[str] = []
            for number in part:
                at = end - SPAN * ((count - number) / count)
                word = f" {WORD}" if number % WORD_EVERY == WORD_EVERY // 2 else ""
                lines.append(f"{at.isoformat(timespec='milliseconds')} {chance.choice(bodies)}{word}\n")
            out.writelines(lines)


def _parts(count: int, size: int) -> Iterator[range]:
    return (range(begin, min(begin + size, count)) for begin in range(0, count, size))


def _body(chance: random.Random, number: int) -> str:
    user, took, status = chance.randrange(10**6), chance.randrange(2000), chance.choice((200, 200, 200, 201, 404, 500))
    return chance.choice(
        (
            f"INFO request handled method=GET path=/v1/orders/{number} user={user} status={status} took={took}ms",
            f'level=info msg="order stored" order={number} customer={user} took={took}ms region=eu-west-{number % 3}',
            f"WARN connection to 10.0.{number % 256}.{user % 256}:5432 took {took} ms, pool holds {number % 64} of 64",
            f"ERROR could not charge card of customer {user}: gateway answered {status} after {took} ms, attempt {number % 4}",
            f"DEBUG [worker-{number % 16}] cache miss for session {user:08x}, loading it from the database took {took} us",
        )
    )


def _process(what: str, directory: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.log_search", what, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )


def _told(process: "subprocess.Popen[str]") -> dict[str, float]:
    assert process.stdout is not None
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def _ripgrep(files: list[Path]) -> float | None:
    """Milliseconds of its best case: one word as it is written, counted only, in files that are in memory."""
    if (program := shutil.which("rg")) is None:
        return None
    took: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([program, "--count", "--fixed-strings", WORD, *map(str, files)], check=True, stdout=subprocess.DEVNULL)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def _collect(directory: Path) -> dict[str, float]:
    async with open_database(directory) as database:
        store = LogStore(directory / "logs.db", LogTerms(), lambda: datetime.now(UTC))
        collection = Collection(collector_parts(directory, database, lambda: datetime.now(UTC), 1, 2**20), store, lambda: str)
        began = time.perf_counter()
        await collection.once()
        took = time.perf_counter() - began
        everything = await store.search(LogSearch(environment=ENVIRONMENT, limit=1))
        size = sum(file.stat().st_size for file in directory.glob("logs.db*"))
        await store.aclose()
    return {"rate": everything.matched / took, "stored": size / BYTES, "memory": _peak_memory()}


async def _search(directory: Path) -> dict[str, float]:
    """Again and again while lines are collected, until somebody says that they are; then for the record."""
    now = datetime.now(UTC)
    store = LogStore(directory / "logs.db", LogTerms(), lambda: datetime.now(UTC))
    hour = LogSearch(environment=ENVIRONMENT, text=WORD, since=now - timedelta(hours=1))
    meanwhile: list[float] = []

    async def until_told(scope: anyio.CancelScope) -> None:
        await anyio.to_thread.run_sync(sys.stdin.readline)
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(until_told, group.cancel_scope)
        while True:
            newest = (await store.search(LogSearch(environment=ENVIRONMENT, limit=1))).records
            if newest:  # what is collected so far is an old day's: its own last hour is the one that has lines
                meanwhile.append(await _timed(store, hour.evolve(since=newest[0].time - timedelta(hours=1))))
            await anyio.sleep(0.5)
    of_the_hour = [await _timed(store, hour) for _ in range(ROUNDS)]
    of_the_day = [await _timed(store, hour.evolve(since=None)) for _ in range(3)]
    found = await store.search(hour)
    assert found.matched >= FILES * int(BYTES / FILES / 160 / 24 / WORD_EVERY), found.matched
    await store.aclose()
    return {
        "meanwhile": statistics.median(meanwhile),
        "hour": statistics.median(of_the_hour),
        "day": statistics.median(of_the_day),
        "memory": _peak_memory(),
    }


async def _timed(store: LogStore, wanted: LogSearch) -> float:
    began = time.perf_counter()
    await store.search(wanted)
    return (time.perf_counter() - began) * 1000


def _peak_memory() -> float:
    """MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    doing = {"collect": _collect, "search": _search}[sys.argv[1]]
    print(json.dumps(anyio.run(doing, Path(sys.argv[2]))), flush=True)
