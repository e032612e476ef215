"""Ends what a deployment runs, for good: TERM, grace, KILL, and whoever was left behind. Only for holders of the home's lock."""

import signal

from ops_mcp.errors import ProviderError
from ops_mcp.providers._waiting import until
from ops_mcp.providers.local import processes
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.isolation import MARK
from ops_mcp.providers.local.observing import tree_of

_KEEPER_SECONDS = 5.0
_GONE_SECONDS = 5.0
_STARTING_SECONDS = 15.0


async def was_started(desk: Desk) -> bool:
    """Whether a keeper was ever started for what is wanted now; one that is just starting is waited for."""
    wanted = desk.wanted()
    if wanted is None:
        return False
    await until(lambda: _recorded(desk, wanted) or not desk.is_kept(), seconds=_STARTING_SECONDS)
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
        await until(lambda: not tree_of(started), seconds=grace_seconds + _KEEPER_SECONDS)
        processes.send(tree_of(started), signal.SIGKILL)
    await _end_those_left(desk)


async def _await_record(desk: Desk) -> None:
    """A keeper that got its lock before we withdrew what is wanted writes its record at once, or gives up."""
    await until(lambda: not desk.is_kept() or not desk.started_is_stale(), seconds=_KEEPER_SECONDS)


async def _end_those_left(desk: Desk) -> None:
    """Processes that outlived a killed keeper still carry the deployment's mark in their environment."""
    if await until(lambda: _none_left(desk), seconds=_GONE_SECONDS):
        return
    raise ProviderError(
        "Processes of this deployment do not end.",
        hint="They may be stuck in the kernel; look at the host, then try again.",
        temporary=True,
    )


def _none_left(desk: Desk) -> bool:
    left = processes.marked(MARK, desk.mark)
    processes.send(left, signal.SIGKILL)
    return not left


def _recorded(desk: Desk, nonce: str) -> bool:
    """A keeper's record of this start, or of one that still runs: then a slow keeper of an earlier caller was faster."""
    started = desk.started()
    return started is not None and (started.nonce == nonce or started.keeper_identity.lives)
