"""`ops-mcp worker …`: who carries out deployments, and how to end it."""

import os
import signal
import socket

import anyio
import psutil

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply
from ops_mcp.errors import Conflict, DeadlineExceeded, NotFound, NotPermitted
from ops_mcp.store import leases
from ops_mcp.store.leases import Lease
from ops_mcp.values import JsonObject

worker_command = group("worker", help="The process that carries out deployments.")

STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.05


@command("status", group=worker_command)
async def worker_status(desk: Desk) -> Reply:
    """Show whether a worker is at work, and which."""
    async with desk.database() as database:
        lease = await leases.present(database)
    return Reply(described(lease, desk), (told(lease, desk),))


@command("stop", group=worker_command)
async def worker_stop(desk: Desk) -> Reply:
    """End the worker. It stops at a step boundary; the next one goes on from there."""
    desk.refuse_agents()
    async with desk.database() as database:
        lease = await leases.present(database)
        if lease is None or not lease.is_live(desk.now()):
            raise NotFound("No worker is at work.", hint="One starts with the next deployment.")
        _end(lease)
        await _gone(lease)
    return Reply({"stopped": lease.claim.pid}, (f"The worker (process {lease.claim.pid}) has ended.",))


def described(lease: Lease | None, desk: Desk) -> JsonObject:
    """The lease for machines."""
    if lease is None:
        return {"alive": False}
    claim = lease.claim.json_value()
    return {"alive": lease.is_live(desk.now()), "fence": lease.fence, "expires_at": lease.expires_at.isoformat(), "claim": claim}


def told(lease: Lease | None, desk: Desk) -> str:
    """The lease in a line."""
    if lease is None:
        return "No worker has ever run here; one starts with the first deployment."
    claim = lease.claim
    if not lease.is_live(desk.now()):
        return f"No worker is at work; the last one was version {claim.version}, until {lease.expires_at:%Y-%m-%d %H:%M:%S} UTC."
    where = f"process {claim.pid} on {claim.host}" if claim.pid else "unknown process"
    return f"A worker of version {claim.version} is at work: {where}, fence {lease.fence}."


def _end(lease: Lease) -> None:
    """Ask the process that holds the lease to leave. Never one that merely got the same number."""
    claim = lease.claim
    if claim.host and claim.host != socket.gethostname():
        raise Conflict(f"The worker runs on {claim.host}.", hint="Stop it there.")
    if not claim.pid or not _is_same(claim.pid, claim.pid_started):
        raise NotFound("The worker's process is gone already.", hint="Its lease expires by itself within seconds.")
    try:
        os.kill(claim.pid, signal.SIGTERM)
    except PermissionError as error:
        raise NotPermitted("The worker belongs to another user.", hint="Run this as that user.") from error


async def _gone(lease: Lease) -> None:
    for _ in range(round(STOP_SECONDS / _LOOK_SECONDS)):  # another process's end is no event of ours
        if not _is_same(lease.claim.pid, lease.claim.pid_started):
            return
        await anyio.sleep(_LOOK_SECONDS)
    raise DeadlineExceeded("The worker finishes a step before it ends.", hint="Look again: ops-mcp worker status")


def _is_same(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and (not started or abs(process.create_time() - started) < 1.0)
    except psutil.NoSuchProcess:
        return False
