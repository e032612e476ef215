"""Ends what a deployment runs, for good: TERM, grace, KILL, and whoever was left behind. Only for holders of the home's lock."""

import signal

import anyio

from ops_mcp.errors import ProviderError
from ops_mcp.providers.local import processes
from ops_mcp.providers.local.ground import MARK
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.observing import tree_of

_KEEPER_SECONDS = 5.0
_GONE_SECONDS = 5.0
_STARTING_SECONDS = 15.0


async def was_started(desk: Desk) -> bool:
    """Whether a keeper was ever started for what is wanted now; one that is just starting is waited for."""
    wanted = desk.wanted()
    if wanted is None:
        return False
    with anyio.move_on_after(_STARTING_SECONDS):
        while desk.is_kept() and not _recorded(desk, wanted):
            await anyio.sleep(0.02)
    return _recorded(desk, wanted)


async def stop(desk: Desk, *, grace_seconds: float) -> None:
    """End the deployment. Afterwards no keeper that was asked for before can start, and nothing of it lives."""
    if not desk.path.is_dir():
        return
    desk.want_nothing()
    await _await_record(desk)
    started = desk.started()
    if started is not None and started.state != "ended" and tree_of(started):
        if started.keeper_identity.lives:
            processes.send([started.keeper_identity.pid], signal.SIGTERM)
        else:
            processes.send(tree_of(started), signal.SIGTERM)
        with anyio.move_on_after(grace_seconds + _KEEPER_SECONDS):
            while tree_of(started):
                await anyio.sleep(0.02)
        processes.send(tree_of(started), signal.SIGKILL)
    await _end_those_left(desk)


async def _await_record(desk: Desk) -> None:
    """A keeper that got its lock before we withdrew what is wanted writes its record at once, or gives up."""
    with anyio.move_on_after(_KEEPER_SECONDS):
        while desk.is_kept() and desk.started_is_stale():
            await anyio.sleep(0.02)


async def _end_those_left(desk: Desk) -> None:
    """Processes that outlived a killed keeper still carry the deployment's mark in their environment."""
    with anyio.move_on_after(_GONE_SECONDS):
        while left := processes.marked(MARK, desk.deployment):
            processes.send(left, signal.SIGKILL)
            await anyio.sleep(0.02)
        return
    raise ProviderError(
        f"{len(left)} processes of this deployment do not end.",
        hint="They may be stuck in the kernel; look at the host, then try again.",
        temporary=True,
    )


def _recorded(desk: Desk, nonce: str) -> bool:
    started = desk.started()
    return started is not None and started.nonce == nonce
