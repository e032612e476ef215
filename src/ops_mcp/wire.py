"""The process's standard streams as the protocol's wire. Standard library only: it runs before anything heavy is imported."""

import os
import stat
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wire:
    """Private duplicates of stdin and stdout, above the standard range and closed in children."""

    read_fd: int
    write_fd: int


def claim() -> Wire | None:
    """Take stdin and stdout for the protocol alone, or None where they are no pipes and the SDK's own transport has to serve.

    Afterwards fd 0 is the null device and fd 1 is stderr, so a stray print, a crash report or a child process can neither read
    nor write the wire. Called first, so that even what an import prints goes to stderr.
    """
    if sys.platform == "win32" or not (_is_stream(0) and _is_stream(1)):
        return None
    wire = Wire(read_fd=_above_standard(0), write_fd=_above_standard(1))
    _divert(0, os.open(os.devnull, os.O_RDONLY))
    _divert(1, _stderr_or_nothing())
    return wire


def _is_stream(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _above_standard(fd: int) -> int:
    # Not os.dup: with a standard stream closed at start it could land on 0, 1 or 2 and be diverted again. POSIX only.
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _divert(fd: int, to: int) -> None:
    os.dup2(to, fd)
    if to > 2:
        os.close(to)


def _stderr_or_nothing() -> int:
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
