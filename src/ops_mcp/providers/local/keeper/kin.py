"""Which processes descend from which, without any library; the keeper and the provider both look through this."""

# pathlib and its company would double the start-up and the memory of every keeper.
# ruff: noqa: PTH112, PTH123, PTH208, UP031

import os


def everything_below(root: int) -> list[int]:
    """Every living descendant of `root`; zombies are dead."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _processes():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def beneath(child: int, depth: int) -> list[int]:
    """The command's own processes: below `depth` layers of bubblewrap, which must not be told to end before them."""
    layer = [child]
    for _ in range(depth):
        layer = [pid for pid, parent, state in _processes() if parent in layer and state not in "ZX"]
    return layer + [pid for top in layer for pid in everything_below(top)]


def _processes() -> list[tuple[int, int, str]]:
    if not os.path.isdir("/proc/self"):
        return _processes_by_ps()
    found: list[tuple[int, int, str]] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            found.append((int(name), int(fields[1]), fields[0].decode()))
    return found


def _processes_by_ps() -> list[tuple[int, int, str]]:
    import subprocess  # only where there is no /proc

    listed = subprocess.run(["/bin/ps", "-axo", "pid=,ppid=,state="], capture_output=True, check=False, timeout=5).stdout.decode()
    rows = (line.split() for line in listed.splitlines())
    return [(int(row[0]), int(row[1]), row[2][0]) for row in rows if len(row) >= 3]


def start_of(pid: int) -> int:
    """When the process started, in ticks since boot; 0 where there is no /proc."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
