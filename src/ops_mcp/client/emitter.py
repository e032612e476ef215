"""Checkpoints from code without an event loop: a line on disk, and a thread that sends it."""

import atexit
import logging
import os
import threading
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.from_thread import BlockingPortal

from ops_mcp.client.lines import FINAL, Receipt, lenient
from ops_mcp.client.reach import Reach
from ops_mcp.client.supervisor import GOODBYE_SECONDS, Supervisor, line_of, new_name, opening
from ops_mcp.client.working import ending
from ops_mcp.domain.tasks import CheckpointStatus

log = logging.getLogger(__name__)


class SyncCheckpointEmitter:
    """Reports on a task from a plain program: on `task`, on the one that the parent handed down (OPS_MCP_TASK), or on a new one
    where `name` and `environment` are given. Never raises into the job, and never waits for the server but in `close`."""

    def __init__(
        self, task: str | None = None, *, name: str = "", environment: str = "", server: Reach | str | None = None, **about: Any
    ) -> None:
        self._reach = server if isinstance(server, Reach) else Reach.from_environ(url=server)
        self._opens = None if task else (name, environment, about) if name else None
        self.task = task or (new_name() if name else os.environ.get("OPS_MCP_TASK", ""))
        self._supervisor = Supervisor(self._reach)
        self._own = self._opens is not None
        self._ended = False
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._opening = threading.Lock()
        self._leaving = threading.Event()
        if not self.task:
            log.warning("There is no task to report on. Give one, or a name and an environment, or set OPS_MCP_TASK.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close. A task that was opened here ends with what the block came to; one that was handed down goes on."""
        if self._own and not self._ended:
            status = ending(error)
            words = f"{type(error).__name__}: {error}" if status is CheckpointStatus.error else ""
            self.emit(_LAST.get(status, "Failed"), status, error=words)
        self.close()

    def emit(
        self, text: str, status: CheckpointStatus | str = CheckpointStatus.checkpoint, progress: int | None = None, **more: Any
    ) -> None:
        """Report. `more` are the other fields of `AgentCheckpoint`."""
        if not self.task or self._reach.trouble is not None:
            return
        # The job matters more than what is told of it.
        try:
            checkpoint = lenient(text, {"status": status, "progress": progress, **more})
            self._ended = checkpoint.status in FINAL
            with self._opening:
                line = opening(self._opens[0], self._opens[1], checkpoint, self._opens[2]) if self._opens else line_of(checkpoint)
                self._supervisor.spool.append(self.task, line)
                self._opens = None
            self._send()
        except Exception:
            log.exception("A checkpoint is lost.")

    def close(self, seconds: float = GOODBYE_SECONDS) -> None:
        """Wait for what was emitted to be sent, at most so long; what is left then is sent by whoever comes next."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        atexit.unregister(self.close)
        self._leaving.set()  # for a thread that is still starting
        if (portal := self._portal) is not None:
            try:
                portal.start_task_soon(portal.stop)
            except RuntimeError:
                log.debug("The sending thread has ended already.")
        thread.join(seconds)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a subprocess that is to report on this task."""
        return {**os.environ, "OPS_MCP_TASK": self.task}

    @property
    def cancel_requested(self) -> bool:
        """Whether a person has asked for the task's end, as far as the last answer said."""
        return self._supervisor.receipts.get(self.task, Receipt(task=self.task)).cancel_requested

    def _send(self) -> None:
        if self._thread is None:
            self._leaving.clear()
            self._portal = None
            self._thread = threading.Thread(target=anyio.run, args=(self._run,), name="ops-mcp-checkpoints", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        elif (portal := self._portal) is not None:
            portal.start_task_soon(self._supervisor.push, self.task)
        # Else the thread is starting, and looks for everything when it has.

    async def _run(self) -> None:
        async with BlockingPortal() as portal, self._supervisor:
            self._portal = portal
            self._supervisor.push(self.task)
            if not self._leaving.is_set():
                await portal.sleep_until_stopped()


_LAST = {CheckpointStatus.complete: "Completed", CheckpointStatus.cancelled: "Cancelled"}
