"""What is really there for a deployment: its keeper's record held against the process table and the port. Changes nothing."""

from datetime import UTC, datetime

from ops_mcp.domain.releases import Observed, Presence
from ops_mcp.errors import ProviderError
from ops_mcp.providers._locks import is_locked
from ops_mcp.providers._waiting import until
from ops_mcp.providers.local import processes
from ops_mcp.providers.local.home import Desk, Started
from ops_mcp.providers.local.lines import tail

_TAIL_LINES = 20


def observe(desk: Desk, *, port: int | None) -> Observed:
    """Look at the deployment's processes; `answers` is true only when all that listens on the port is theirs."""
    started = desk.started()
    if started is None:
        building = is_locked(desk.preparing)
        return Observed(deployment=desk.deployment, presence=Presence.building if building else Presence.absent)
    if started.deployment != desk.deployment:
        return Observed(
            deployment=desk.deployment, presence=Presence.unknown, detail="The keeper's record names another deployment."
        )
    if started.state == "ended":
        return _ended(desk, started)
    tree = tree_of(started)
    if not tree:
        return _ended(desk, started, detail="It ended unseen: its keeper was killed, or the host restarted.")
    return Observed(
        deployment=desk.deployment,
        presence=Presence.running,
        answers=processes.answers_from(port, tree) if port is not None else None,
        since=_moment(started.started_at),
        url=_url(port),
        detail="" if started.keeper_identity.lives else "Its keeper is gone; its output is no longer kept.",
    )


def tree_of(started: Started) -> list[int]:
    """Living processes of the deployment: below its keeper, or below its service where the keeper is gone."""
    below_keeper = started.keeper_identity.tree()
    service = started.service_identity
    return below_keeper or (service.tree() if service else [])


async def refuse_taken_port(port: int, *, seconds: float = 2.0) -> None:
    """Refuse when something listens on the port, and name it. Sockets of a process just killed get a moment to go."""
    await until(lambda: not processes.listeners(port), seconds=seconds)
    for inode, uid in processes.listeners(port) or ():
        pid = processes.holder(inode)
        who = f"process {pid}" if pid is not None else f"a process of uid {uid}"
        raise ProviderError(
            f"Port {port} is taken by {who}; nothing was started.",
            hint="End that process, or give the service another port in its binding.",
            details={"port": port, "pid": pid, "untrusted_program": processes.name_of(pid) if pid is not None else None},
        )


def _ended(desk: Desk, started: Started, *, detail: str = "") -> Observed:
    return Observed(
        deployment=desk.deployment,
        presence=Presence.exited,
        answers=False,
        exit_code=started.exit_code,
        signal=started.signal,
        since=_moment(started.ended_at) if started.ended_at is not None else None,
        detail=detail or ("It was stopped." if started.stopped else ""),
        untrusted_tail=tuple(tail(desk.logs, _TAIL_LINES)),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _url(port: int | None) -> str | None:
    return f"http://127.0.0.1:{port}" if port is not None else None
