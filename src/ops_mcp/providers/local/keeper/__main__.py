"""The small process that stands between ops-mcp and one isolated command: it starts it, keeps its output, and ends all of it.

Run as `python -I -S keeper keep|run`; it reads one line of JSON from standard input and imports nothing of ops_mcp.
`keep` detaches and outlives its starter; `run` stays in the foreground and ends everything when its standard input closes.
"""

# pathlib and its company would double the start-up and the memory of every keeper.
# ruff: noqa: PTH103, PTH105, PTH110, PTH118, PTH123, FBT003, UP031

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing itself would cost as much as everything else here
if TYPE_CHECKING:
    from typing import TypedDict

    from ops_mcp.providers.local.keeper.kin import beneath, boot_id, everything_below, start_of

    class Order(TypedDict):
        argv: list[str]
        options: list[str]
        env: dict[str, str]
        start_in: str
        uid: int | None
        depth: int
        directory: str
        deployment: str
        nonce: str
        grace_seconds: float
        deadline_seconds: float
        log_bytes: int
        log_files: int

else:
    from kin import beneath, boot_id, everything_below, start_of  # beside this file; there is no package here

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOCK_SECONDS = 2.0
_TIMED_OUT = 124
_STARTER_GONE = 125


def main() -> int:
    """Read the order and carry it out; the exit code of `run` is the command's own, 128 + signal, 124 or 125."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return _STARTER_GONE  # the starter died while it was still writing; nothing was asked for
    order: Order = json.loads(line)
    return run(order) if sys.argv[1] == "run" else keep(order)


def keep(order: Order) -> int:
    """Detach by a double fork, start the command, and tell the starter on standard output how that went."""
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.write(1, _read_all(told))
        return 0
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(told)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    if nothing > 2:
        os.close(nothing)
    os.chdir("/")
    os.umask(0o077)
    os._exit(_keep_detached(order, tell))


def _keep_detached(order: Order, tell: int) -> int:
    directory = order["directory"]
    lock = _lock(os.path.join(directory, "running.lock"))
    if lock is None or not _still_wanted(order):
        os.write(tell, b"superseded")
        return 0
    state: dict[str, object] = {
        "deployment": order["deployment"],
        "nonce": order["nonce"],
        "boot": boot_id(),
        "keeper": {"pid": os.getpid(), "start": start_of(os.getpid())},
        "service": None,
        "state": "starting",
        "started_at": time.time(),
    }
    _save(directory, state)
    wake = _wakeups()
    output, into = os.pipe()
    os.set_blocking(output, False)
    child = _start(order, into)
    os.close(into)
    state.update(state="running", service={"pid": child, "start": start_of(child)})
    _save(directory, state)
    os.write(tell, b"started")
    os.close(tell)
    log = Log(os.path.join(directory, "logs"), size=order["log_bytes"], files=order["log_files"])
    status, stopped = _watch(order, child, output, wake, log)
    log.close()
    code, number = _ending(status, confined=order["depth"] > 0)
    state.update(state="ended", exit_code=code, signal=number, stopped=stopped, ended_at=time.time())
    _save(directory, state)
    return 0


def _watch(order: Order, child: int, output: int, wake: int, log: Log) -> tuple[int, bool]:
    """Copy output until the command and all it started are gone; returns its wait status and whether we were asked to end it."""
    status: int | None = None
    stopped = False
    kill_at: float | None = None
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        poll.poll(100 if kill_at is not None else 1000)
        _copy(output, log, poll)
        asked = signal.SIGTERM in _drain(wake)
        alive = everything_below(os.getpid())
        status = _reap(child, status)
        if not alive and status is not None:
            _copy(output, log, poll)
            return status, stopped
        if (asked or status is not None) and kill_at is None:
            stopped = asked
            kill_at = time.monotonic() + order["grace_seconds"]
            _signal(beneath(child, order["depth"]) if status is None else alive, signal.SIGTERM)
        elif kill_at is not None and time.monotonic() >= kill_at:
            _signal(alive, signal.SIGKILL)


def run(order: Order) -> int:
    """Run the command to its end, its deadline, or the end of our standard input, and leave nothing of it behind."""
    wake = _wakeups()
    child = _start(order, 1)
    ends_at = time.monotonic() + order["deadline_seconds"]
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(wake, select.POLLIN)
    result: int | None = None
    while result is None:
        ready = dict(poll.poll(max(0, min(1000, int((ends_at - time.monotonic()) * 1000) + 1))))
        asked = signal.SIGTERM in _drain(wake)
        status = _reap(child)
        if status is not None:
            code, number = _ending(status, confined=order["depth"] > 0)
            result = code if number is None else 128 + number
        elif asked or (0 in ready and not os.read(0, 1)):
            result = _STARTER_GONE
        elif time.monotonic() >= ends_at:
            result = _TIMED_OUT
    while alive := everything_below(os.getpid()):
        _signal(alive, signal.SIGKILL)
        _reap(child)
        time.sleep(0.005)
    return result


def _start(order: Order, output: int) -> int:
    """Fork and become the command. Options for bubblewrap, which hold the environment, go through an unnamed file, never argv."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    parent = os.getpid()
    options = _unnamed(order["options"]) if order["options"] else None
    child = os.fork()
    if child:
        if options is not None:
            os.close(options)
        return child
    try:
        _become(order, output, parent, options)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the keeper's own code in the forked child
        os.write(2, ("ops-mcp could not start the command: %s\n" % error).encode())
    os._exit(127)


def _become(order: Order, output: int, parent: int, options: int | None) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if order["depth"] == 0:
        os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if options is not None:
        os.dup2(options, 3)
        os.set_inheritable(3, True)
    os.closerange(4 if options is not None else 3, 4096)
    os.chdir(order["start_in"])
    if order["uid"] is not None:
        os.setgroups([])
        os.setgid(order["uid"])
        os.setuid(order["uid"])
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
    if os.getppid() != parent:
        os._exit(_STARTER_GONE)
    os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is the point


def _unnamed(options: list[str]) -> int:
    """A readable descriptor with NUL-separated `options` that no path leads to."""
    descriptor = os.memfd_create("options")
    os.write(descriptor, b"".join(os.fsencode(option) + b"\0" for option in options))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Log:
    """Lines in `current.log`, moved to `1.log`, `2.log` … when it is full; long lines are cut."""

    LINE = 32 * 1024

    def __init__(self, directory: str, size: int, files: int) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directory, self.size, self.files = directory, size, files
        self.rest = b""
        self.cutting = False
        self._open()

    def _open(self) -> None:
        self.out = open(os.path.join(self.directory, "current.log"), "ab", buffering=0)  # noqa: SIM115 - open until rotated
        self.written = self.out.tell()

    def write(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self.rest) > self.LINE:
            self._line(self.rest)
            self.rest = b""
            self.cutting = True

    def _line(self, line: bytes) -> None:
        if self.cutting:  # what follows the part of a long line that was kept
            self.cutting = False
            return
        line = line if len(line) <= self.LINE else line[: self.LINE] + b" [cut]"
        try:
            self.written += self.out.write(line + b"\n")
            if self.written >= self.size:
                self._rotate()
        except OSError:
            pass  # a full disk must not end the service

    def _rotate(self) -> None:
        self.out.close()
        for number in range(self.files - 1, 0, -1):
            older = "current.log" if number == 1 else "%d.log" % (number - 1)
            if os.path.exists(os.path.join(self.directory, older)):
                os.replace(os.path.join(self.directory, older), os.path.join(self.directory, "%d.log" % number))
        self._open()

    def close(self) -> None:
        if self.rest:
            self._line(self.rest)
        self.out.close()


def _copy(output: int, log: Log, poll: select.poll) -> None:
    """At most 1 MiB a turn, so that a flood cannot keep us from hearing TERM."""
    for _ in range(16):
        try:
            data = os.read(output, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError):
                poll.unregister(output)
            return
        log.write(data)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _reap(child: int, status: int | None = None) -> int | None:
    """The wait status of `child`, or None while it lives; whatever else has ended is reaped on the way."""
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = ended[1] if ended[0] == child else status
    except ChildProcessError:
        pass
    return status


def _ending(status: int, *, confined: bool) -> tuple[int | None, int | None]:
    """(exit code, signal). bubblewrap reports a signal as 128 + its number."""
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return (None, code - 128) if confined and 128 < code < 160 else (code, None)


def _wakeups() -> int:
    """A descriptor on which the numbers of TERM and CHLD arrive as bytes."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _only_wake)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _only_wake(number: int, frame: object) -> None:
    """The byte on the descriptor says it."""


def _drain(wake: int) -> bytes:
    try:
        return os.read(wake, 4096)
    except BlockingIOError:
        return b""


def _lock(path: str) -> int | None:
    """Hold `path` for as long as we live. A second keeper of the same deployment gives up."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() >= until:
                return None
            time.sleep(0.02)


def _still_wanted(order: Order) -> bool:
    try:
        with open(os.path.join(order["directory"], "wanted"), encoding="ascii") as file:
            return file.read() == order["nonce"]
    except OSError:
        return False


def _save(directory: str, state: dict[str, object]) -> None:
    temporary = os.path.join(directory, "process.json.new")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, os.path.join(directory, "process.json"))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _read_all(descriptor: int) -> bytes:
    data = b""
    while part := os.read(descriptor, 4096):
        data += part
    return data


if __name__ == "__main__":
    sys.exit(main())
