"""What the containers of a deployment use, by the engine's own counters.

Facts: CPU use is (difference of the container / difference of the system) × processors; a single `one-shot` answer has no earlier
value to subtract, so two are asked for. Memory in use leaves out the file cache that can go: `inactive_file` (cgroup 2) or
`total_inactive_file` (cgroup 1).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.domain.observations import Sample
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.ports import Clock, Sleep
from ops_mcp.providers.docker.answers import Stats, read
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.engine import EngineApi

_APART_SECONDS = 0.5


class Pair(NamedTuple):
    """Two measurements of one container, some time apart."""

    before: Stats
    after: Stats


async def measure(engine: EngineApi, found: Sequence[Ours], *, clock: Clock, sleep: Sleep) -> Sequence[Sample]:
    """All running replicas together. Nothing where nothing runs."""
    running = [one for one in found if one.container.state.status == "running"]
    before = await _stats(engine, running)
    if not before:
        return ()
    await sleep(_APART_SECONDS)
    after = await _stats(engine, running)
    pairs = [Pair(before[identity], after[identity]) for identity in before if identity in after]
    return samples(pairs, at=clock()) if pairs else ()


def samples(pairs: Sequence[Pair], *, at: datetime) -> Sequence[Sample]:
    """`cpu_percent` of one processor, `cpu_cores`, `memory_bytes`, `memory_limit_bytes`, `pids` and `replicas`."""
    cores = [used for pair in pairs if (used := cores_used(pair)) is not None]
    found: dict[str, float] = {
        "memory_bytes": sum(memory_used(pair.after) for pair in pairs),
        "memory_limit_bytes": sum(pair.after.memory.limit for pair in pairs),
        "pids": sum(pair.after.pids.current for pair in pairs),
        "replicas": len(pairs),
    }
    if len(cores) == len(pairs):
        found |= {"cpu_cores": sum(cores), "cpu_percent": sum(cores) * 100}
    return tuple(Sample(name=name, value=round(value, 4), at=at) for name, value in found.items())


def cores_used(pair: Pair) -> float | None:
    """None where the system's counter did not move, or one went backwards: the container was started again in between."""
    own = pair.after.cpu.usage.total - pair.before.cpu.usage.total
    system = pair.after.cpu.system - pair.before.cpu.system
    if own < 0 or system <= 0:
        return None
    return own / system * max(1, pair.after.cpu.online)


def memory_used(stats: Stats) -> int:
    idle = stats.memory.stats.get("total_inactive_file", stats.memory.stats.get("inactive_file", 0))
    return max(0, stats.memory.usage - idle)


async def _stats(engine: EngineApi, running: Sequence[Ours]) -> Mapping[str, Stats]:
    """By container; one that has ended meanwhile is left out."""
    found: dict[str, Stats] = {}
    for one in running:
        path = f"/containers/{one.container.id}/stats"
        try:
            answer = await engine.ask("GET", path, doing="what it uses", params={"stream": "false", "one-shot": "true"})
        except (NotFound, Conflict):
            continue
        stats = read(Stats, answer.body, doing="what it uses")
        if stats.cpu.usage.total:
            found[one.container.id] = stats
    return found
