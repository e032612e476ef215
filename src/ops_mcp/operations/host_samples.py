"""What this host uses, as samples of the metrics that `metrics.names` describes."""

import os
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation

_MOST_DISKS = 20
_NO_DISKS = frozenset({"squashfs", "overlay", "tmpfs", "devtmpfs", "proc", "sysfs", "cgroup", "cgroup2"})


class CpuTimes(NamedTuple):
    """Seconds of all processors together since the host started."""

    busy: float
    total: float


class HostSamples:
    """Used from one thread at a time. The processors' share is that of the time since the look before."""

    def __init__(self, host: str = "") -> None:
        self._host = host or socket.gethostname()
        self._before: CpuTimes | None = None

    def taken(self, at_ms: int) -> list[Observation]:
        """What can be read; what cannot is left out, and is never 0. Blocks for a moment."""
        import psutil  # 20 ms, and a server's first answer does not need it

        found: dict[tuple[str, str], float] = {}
        for part in (self._cpu, _load, _memory, _disks, _network):
            try:
                found.update(part(psutil))
            except (OSError, psutil.Error, NotImplementedError):
                continue
        return [
            Observation(labels_of({"host": self._host, "mountpoint": mount}, name=name), at_ms, value)
            for (name, mount), value in found.items()
        ]

    def _cpu(self, psutil: Any) -> dict[tuple[str, str], float]:
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # counted in user and nice already
        now = CpuTimes(total - times.idle - getattr(times, "iowait", 0.0), total)
        before, self._before = self._before, now
        if before is None or now.total <= before.total:
            return {}
        share = (now.busy - before.busy) / (now.total - before.total)
        return {("host_cpu_ratio", ""): min(1.0, max(0.0, share))}


def _load(_: Any) -> dict[tuple[str, str], float]:
    return {("host_load1", ""): os.getloadavg()[0]}


def _memory(psutil: Any) -> dict[tuple[str, str], float]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        ("host_memory_used_ratio", ""): 1 - memory.available / memory.total,
        ("host_memory_available_bytes", ""): float(memory.available),
        ("host_swap_used_ratio", ""): swap.used / swap.total if swap.total else 0.0,
    }


def _disks(psutil: Any) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for mount in _mounts(psutil):
        try:
            disk = psutil.disk_usage(mount)
        except OSError:  # unmounted meanwhile, or not ours to see
            continue
        found["host_disk_used_ratio", mount] = disk.percent / 100
        found["host_disk_free_bytes", mount] = float(disk.free)
    return found


def _mounts(psutil: Any) -> Iterator[str]:
    """Of each device one, and the root, whatever it is on."""
    yield "/"
    devices: set[str] = set()
    for part in psutil.disk_partitions(all=False)[:200]:
        shown = part.mountpoint != "/" and part.fstype not in _NO_DISKS and os.path.isdir(part.mountpoint)  # noqa: PTH112
        if shown and part.device not in devices and len(devices) < _MOST_DISKS:
            devices.add(part.device)
            yield part.mountpoint


def _network(psutil: Any) -> dict[tuple[str, str], float]:
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return {
        ("host_network_receive_bytes_total", ""): float(sum(card.bytes_recv for card in cards)),
        ("host_network_transmit_bytes_total", ""): float(sum(card.bytes_sent for card in cards)),
    }
