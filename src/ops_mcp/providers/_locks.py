"""Advisory locks beside files, shared by processes: waited for within a deadline, or only looked at."""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from ops_mcp.errors import InProgress
from ops_mcp.providers._waiting import until


@asynccontextmanager
async def locked(path: Path, *, seconds: float, doing: str) -> AsyncGenerator[None]:
    """Hold an advisory lock that processes share; `InProgress` when it is not free in time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not await until(lambda: _taken(descriptor), seconds=seconds):
            raise InProgress(f"Waited {seconds:g} s for {doing}.", hint="Try again when it is through.", retry_after_seconds=5)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock at `path`; a shared look that hinders nobody for longer than a retry."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
