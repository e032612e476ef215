"""Whether a command of the operator succeeds. It gets no shell, none of our environment, and its output is never read."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass

import anyio
from anyio.abc import Process

from ops_mcp.domain.inventory import CommandAsked, Found, HealthState
from ops_mcp.operations.probes.reaching import Means, Seen

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_REAP_SECONDS = 2.0


@dataclass(slots=True)
class CommandSeen(Seen):
    """`missing` says that there is no such program, or that it may not be run."""

    exit_code: int | None = None
    missing: bool = False


async def ask(probe: CommandAsked, _means: Means, seen: CommandSeen) -> None:
    try:
        process = await anyio.open_process(
            list(probe.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except OSError:
        seen.missing = True
        return
    try:
        seen.exit_code = await process.wait()
    finally:
        with anyio.move_on_after(_REAP_SECONDS, shield=True):
            await _end(process)


def verdict(probe: CommandAsked, seen: CommandSeen) -> Found:
    if seen.missing:
        return Found(HealthState.unknown, "the command cannot be run here: there is no such program, or it may not be run")
    if seen.exit_code is None:
        return Found(HealthState.unhealthy, f"the command did not end within {probe.timeout_seconds:g} s")
    if seen.exit_code == 0:
        return Found(HealthState.healthy, "the command succeeds", seen.milliseconds)
    ended = f"was ended by signal {-seen.exit_code}" if seen.exit_code < 0 else f"exits with code {seen.exit_code}"
    return Found(HealthState.unhealthy, f"the command {ended}", seen.milliseconds)


async def _end(process: Process) -> None:
    """End it and whatever it left behind in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left, or it became somebody else
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
