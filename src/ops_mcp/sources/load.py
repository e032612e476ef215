"""How loaded this host is: percent of its CPU, memory and fullest disk, read without holding up the loop."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio
from anyio import to_thread

from ops_mcp.governance.history import GuardLevel
from ops_mcp.governance.load import BOUNDS, Measure, Reading
from ops_mcp.ports import Clock, Sleep

T = TypeVar("T")

SHORT_SECONDS, SURE_SECONDS = 0.2, 0.8
"""CPU is a share of time, so it needs two looks. Where the look before is of no use, the second comes after the short pause; what
would block then is looked at for longer, because a process that has just started keeps a small host busy by itself."""

OLDEST_SECONDS = 60.0
_READ_SECONDS = 5.0
"""A disk behind a network may never answer."""


class HostLoad:
    """Readings of this host, each with the CPU's share since the one before. Disks are those of `state_dir` and of the root."""

    def __init__(self, state_dir: Path, clock: Clock, *, sleep: Sleep = anyio.sleep) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._sleep = sleep
        self._before: _Look | None = None

    async def read(self) -> Reading:
        """A reading of now; what could not be read is None."""
        cpu = await self._cpu()
        memory = await _in_thread(_memory)
        disk = await _in_thread(lambda: _disk(self._state_dir))
        return Reading(self._clock(), cpu, memory, disk)

    async def _cpu(self) -> float | None:
        before = self._before
        if before is None or not SHORT_SECONDS <= anyio.current_time() - before.at <= OLDEST_SECONDS:
            before = await _look()
            await self._sleep(SHORT_SECONDS)
        now = await _look()
        if before is None or now is None:
            return None
        if now.at - before.at < SURE_SECONDS and _busy(before, now) >= BOUNDS[Measure.cpu][GuardLevel.critical]:
            await self._sleep(SURE_SECONDS)
            now = await _look() or now
        self._before = now
        return _busy(before, now)


class _Times(NamedTuple):
    """Seconds of all CPUs together since the host started."""

    busy: float
    total: float


class _Look(NamedTuple):
    at: float
    times: _Times


def _busy(before: _Look, now: _Look) -> float:
    """Percent of the CPUs' time between two looks."""
    total = now.times.total - before.times.total
    return min(100.0, max(0.0, (now.times.busy - before.times.busy) / total * 100)) if total > 0 else 0.0


async def _look() -> _Look | None:
    times = await _in_thread(_cpu_times)
    return _Look(anyio.current_time(), times) if times is not None else None


async def _in_thread(reading: Callable[[], T]) -> T | None:
    """What it reads, or None where the host does not tell it, or not in time."""
    import psutil  # 20 ms, and only changes need it

    with anyio.move_on_after(_READ_SECONDS):
        try:
            return await to_thread.run_sync(reading, abandon_on_cancel=True)
        except (OSError, psutil.Error):
            return None
    return None


def _cpu_times() -> _Times:
    import psutil

    times = psutil.cpu_times()
    # Waiting for a disk is idling; the time of guests is counted among user and nice already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return _Times(total - times.idle - getattr(times, "iowait", 0.0), total)


def _memory() -> float:
    import psutil

    return float(psutil.virtual_memory().percent)


def _disk(state_dir: Path) -> float:
    """Of the fuller one: where this installation writes, and the root."""
    import psutil

    own = next((path for path in (state_dir, *state_dir.parents) if path.exists()), Path(state_dir.anchor))
    return float(max(psutil.disk_usage(str(path)).percent for path in (own, Path(own.anchor or "/"))))
