"""Sending what lies in the spool: each task's lines in order, each until the server has it or refuses it for good."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, assert_never

from ops_mcp.client.lines import LOCAL, Accepted, Later, Line, Refused
from ops_mcp.client.spool import Spool
from ops_mcp.errors import Code, Problem
from ops_mcp.values import JsonObject

log = logging.getLogger(__name__)

T = TypeVar("T")

Outcome = Accepted | Refused | Later
Deliver = Callable[[JsonObject], Awaitable[Outcome]]
Told = Callable[[Line, Outcome], None]

_AT_ONCE = 50
"""So many lines are taken out of a file together. A crash before that sends them again, which their keys make harmless."""

_BUSY = Later(Problem(code=Code.in_progress, message="Another process is sending this task's checkpoints."), busy=True)
_NO_PARENT_YET = Later(Problem(code=Code.in_progress, message="The task's parent is not open yet."), busy=True)
_NOT_OPEN = Problem(code=Code.not_found, message="The task was never opened.")


class OnDisk(Protocol):
    """Runs a file operation where it does not hold up the event loop."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


async def drain(spool: Spool, name: str, deliver: Deliver, *, told: Told, on_disk: OnDisk) -> Later | None:
    """Send a task's lines; None when nothing is left to send, else why it stopped."""
    while True:
        now = await on_disk(lambda: spool.resolved(name))
        if not now:
            return None
        stopped = await _drained(spool, now, deliver, told=told, on_disk=on_disk)
        # Opened by this: what lay behind goes on under the task's id.
        if stopped is not None or not now.startswith(LOCAL):
            return stopped


async def _drained(spool: Spool, name: str, deliver: Deliver, *, told: Told, on_disk: OnDisk) -> Later | None:
    done: set[str] = set()
    with spool.sending(name) as mine:
        if not mine:
            return _BUSY
        try:
            while lines := [line for line in await on_disk(lambda: spool.pending(name)) if line.key not in done]:
                for line in lines:
                    outcome = await _sent(spool, name, line, deliver, on_disk)
                    told(line, outcome)
                    if isinstance(outcome, Later):
                        return outcome
                    if name.startswith(LOCAL):
                        return _opened(spool, name, line, outcome)
                    done.add(line.key)
                if len(done) >= _AT_ONCE:
                    spool.remove(name, done)
                    done.clear()
        finally:
            # Not left to another thread: a cancelled drain may wait for nothing more.
            if done:
                spool.remove(name, done)
    return None


async def _sent(spool: Spool, name: str, line: Line, deliver: Deliver, on_disk: OnDisk) -> Outcome:
    if name.startswith(LOCAL) and not line.opens:
        return Refused(_NOT_OPEN)
    arguments = {**line.arguments, "idempotency_key": line.key}
    if not line.opens:
        arguments["task"] = name
        return await deliver(arguments)
    about = arguments.get("about")
    parent = about.get("parent") if isinstance(about, dict) else None
    if isinstance(about, dict) and isinstance(parent, str) and parent.startswith(LOCAL):
        became = await on_disk(lambda: spool.resolved(parent))
        if became == parent:
            return _NO_PARENT_YET
        arguments["about"] = {**about, "parent": became} if became else {n: v for n, v in about.items() if n != "parent"}
    return await deliver(arguments)


def _opened(spool: Spool, name: str, line: Line, outcome: Accepted | Refused) -> None:
    match outcome:
        case Accepted(receipt=receipt):
            spool.opened(name, receipt.task, key=line.key)
        case Refused(problem=problem):
            lost = len(spool.pending(name)) - 1
            log.warning("A task could not be opened, and %d more checkpoints of it are lost: %s", lost, problem.message)
            spool.opened(name, "", key=line.key)
        case _:
            assert_never(outcome)
