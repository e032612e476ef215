"""What the host says of processes: who lives, who descends from whom, who listens. Signals only what it is given."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_mcp.providers.local.keeper.kin import boot_id, everything_below, start_of

_LISTEN = "0A"
# Sockets at these addresses accept what is sent to 127.0.0.1; as /proc prints them.
_REACHES_LOOPBACK = {
    "0100007F",
    "00000000",
    "0" * 32,
    "0000000000000000FFFF00000100007F",
    "0000000000000000FFFF000000000000",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be confused with a later one of the same number: pid, start in ticks since boot, boot."""

    pid: int
    start: int
    boot: str

    @property
    def lives(self) -> bool:
        if self.boot != boot_id():
            return False
        return _state(self.pid) not in ("", "Z", "X") and start_of(self.pid) == self.start

    def tree(self) -> list[int]:
        """This process and everything it started, as far as it is alive."""
        return [self.pid, *everything_below(self.pid)] if self.lives else []


def listeners(port: int) -> list[tuple[str, int]] | None:
    """(inode, uid) of every socket that listens where 127.0.0.1:`port` arrives; None where it cannot be known."""
    if sys.platform != "linux":
        return None
    found: list[tuple[str, int]] = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            address, _, number = fields[1].rpartition(":")
            if fields[3] == _LISTEN and int(number, 16) == port and address in _REACHES_LOOPBACK:
                found.append((fields[9], int(fields[7])))
    return found


def answers_from(port: int, tree: Sequence[int]) -> bool | None:
    """Whether all that listens on `port` belongs to `tree`; False when nothing listens, None when it cannot be known."""
    sockets = listeners(port)
    if sockets is None:
        return None
    if not sockets:
        return False
    held, hidden = _sockets_of(tree)
    missing = [inode for inode, _ in sockets if inode not in held]
    if not missing:
        return True
    return None if hidden and len(missing) == len(sockets) and holder(missing[0]) is None else False


def holder(inode: str) -> int | None:
    """The process that holds the socket, or None when it cannot be seen."""
    for pid in _all():
        if inode in _sockets_of([pid])[0]:
            return pid
    return None


def name_of(pid: int) -> str:
    """The program's own short name; text from strangers."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def marked(variable: str, value: str) -> list[int]:
    """Living processes that were started with `variable` = `value` in their environment."""
    wanted = f"{variable}={value}".encode()
    found: list[int] = []
    for pid in _all():
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in entries and _state(pid) not in ("Z", "X"):
            found.append(pid)
    return found


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Signal each; one that is gone is fine."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "" if Path("/proc/self").exists() else _state_without_proc(pid)
    return stat.rpartition(b")")[2].split()[0].decode()


def _state_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "S"
    return "S"


def _sockets_of(pids: Sequence[int]) -> tuple[set[str], bool]:
    """Inodes of the sockets these processes hold, and whether one of them would not let us look."""
    found: set[str] = set()
    hidden = False
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names are all we need, thousands of them
        except PermissionError:
            hidden = True
            continue
        except OSError:
            continue
        found |= {target[8:-1] for target in _targets(pid, descriptors) if target.startswith("socket:[")}
    return found, hidden


def _targets(pid: int, descriptors: Sequence[str]) -> Iterator[str]:
    for descriptor in descriptors:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 - the same
        except OSError:
            continue


def _all() -> Iterator[int]:
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - the same
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())
