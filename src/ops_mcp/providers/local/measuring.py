"""What the processes of one deployment use, by the process table."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import anyio
from anyio import to_thread

from ops_mcp.domain.observations import Sample
from ops_mcp.ports import Clock, Sleep
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.observing import tree_of

_APART_SECONDS = 0.25


async def measure(desk: Desk, *, clock: Clock, sleep: Sleep) -> Sequence[Sample]:
    """`cpu_seconds`, `memory_bytes` (resident; shared pages count in each process) and `processes` of what runs, without its
    keeper, with their `open_files` and `threads`, and `started_at`, when the oldest of them was, in seconds since 1970;
    `cpu_percent` of one core over the quarter of a second that this takes. Nothing where nothing runs."""
    first = await to_thread.run_sync(_used, desk)
    if first is None:
        return ()
    began = anyio.current_time()
    await sleep(_APART_SECONDS)
    passed = anyio.current_time() - began
    now = await to_thread.run_sync(_used, desk)
    if now is None:
        return ()
    found = {
        "cpu_seconds": now.cpu_seconds,
        "memory_bytes": float(now.memory_bytes),
        "processes": float(now.processes),
        "threads": float(now.threads),
        "started_at": now.started_at,
    }
    if now.open_files is not None:
        found["open_files"] = float(now.open_files)
    if passed >= _APART_SECONDS / 2:  # a clock that jumps measures nothing
        found["cpu_percent"] = max(0.0, now.cpu_seconds - first.cpu_seconds) / passed * 100
    at = clock()
    return tuple(Sample(name=name, value=round(value, 3), at=at) for name, value in found.items())


class _Used(NamedTuple):
    cpu_seconds: float
    memory_bytes: int
    processes: int
    threads: int
    open_files: int | None
    started_at: float


def _used(desk: Desk) -> _Used | None:
    """Processor time includes that of children that ended and were waited for. Who runs as another user tells no open files."""
    import psutil  # 20 ms, and deploying needs none of it

    started = desk.started()
    if started is None or started.state == "ended":
        return None
    cpu_seconds, memory_bytes, processes, threads, open_files = 0.0, 0, 0, 0, 0
    hidden, started_at = False, math.inf
    for pid in tree_of(started):
        if pid == started.keeper.pid:
            continue
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                threads, started_at = threads + process.num_threads(), min(started_at, process.create_time())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        cpu_seconds += times.user + times.system + times.children_user + times.children_system
        memory_bytes, processes = memory_bytes + memory.rss, processes + 1
        try:
            open_files += process.num_fds()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            hidden = True
    if not processes:
        return None
    return _Used(cpu_seconds, memory_bytes, processes, threads, None if hidden else open_files, started_at)
