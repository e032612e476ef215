"""What is really there for a deployment: its keeper's record held against the process table and the port. Changes nothing."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ops_mcp.domain.releases import Observed, Presence
from ops_mcp.errors import ProviderError
from ops_mcp.providers.local import processes
from ops_mcp.providers.local.home import Desk, Started, is_locked
from ops_mcp.providers.local.waiting import until

_TAIL_LINES = 20
_LINE_CHARACTERS = 2000
_MOST_TAIL_BYTES = 4 << 20


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


def last_log_lines(logs: Path, lines: int) -> Sequence[str]:
    """The newest lines over all rotated files, oldest first; bounded in number, length and bytes read."""
    found: list[str] = []
    left = _MOST_TAIL_BYTES
    for name in ("current.log", *(f"{number}.log" for number in range(1, 100))):
        missing = max(0, lines) - len(found)
        if missing <= 0 or left <= 0 or not (logs / name).exists():
            break
        text = _end_of(logs / name, left)
        left -= len(text)
        found = [line[:_LINE_CHARACTERS] for line in text.decode(errors="replace").splitlines()[-missing:]] + found
    return found


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
        untrusted_tail=tuple(last_log_lines(desk.logs, _TAIL_LINES)),
    )


def _end_of(file: Path, most: int) -> bytes:
    with contextlib.suppress(OSError), file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - most))
        text = opened.read(most)
        return text if size <= most else text.partition(b"\n")[2]
    return b""


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _url(port: int | None) -> str | None:
    return f"http://127.0.0.1:{port}" if port is not None else None
