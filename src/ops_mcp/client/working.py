"""A supervised piece of work: begun when it is entered, ended with what it came to, whatever that is."""

import asyncio
import functools
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio

from ops_mcp.client.lines import FINAL, Receipt, lenient
from ops_mcp.client.reach import Reach
from ops_mcp.client.supervisor import Supervisor, new_name
from ops_mcp.domain.tasks import CheckpointStatus
from ops_mcp.values import JsonObject

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class CancelRequested(Exception):
    """A person wants this task to end. Raised only by `AgentTask.raise_if_cancelled`."""


class AgentTask:
    """One task as its agent sees it. No method raises because of the server, and none waits for it long."""

    def __init__(
        self, supervisor: Supervisor, name: str, receipt: Receipt, *, state: JsonObject | None = None, local: str = ""
    ) -> None:
        self.name = name
        self.receipt = receipt
        self.state = state
        """What was kept of this task last, for a restarted agent to go on from."""
        self._supervisor = supervisor
        self._local = local
        self._last_action = ""
        self._ended = False

    @property
    def id(self) -> str:
        """The task's id; a local name while the server does not know it, which `ops-mcp checkpoint` and emitters take too."""
        if self.receipt.task == self._local:
            self._local = ""  # somebody may ask later what it became
        return self.receipt.task

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a subprocess that is to report on this task."""
        return {**os.environ, "OPS_MCP_TASK": self.id}

    @property
    def cancel_requested(self) -> bool:
        """Whether a person has asked for the task's end, as far as the last answer said."""
        return self._seen().cancel_requested

    def raise_if_cancelled(self) -> None:
        """Raise `CancelRequested` when a person has asked for the end; it leaves the task `cancelled`."""
        seen = self._seen()
        if seen.cancel_requested:
            raise CancelRequested(f"{seen.cancel_by} asked for the end of {self.name}: {seen.cancel_reason}")

    async def checkpoint(
        self, action: str, *, status: CheckpointStatus | str = CheckpointStatus.checkpoint, progress: int | None = None,
        tokens_used: int | None = None, tokens_delta: int | None = None, force: bool = False, state: JsonObject | None = None,
        **more: Any,
    ) -> Receipt:  # fmt: skip
        """Report. `more` are the other fields of `AgentCheckpoint`; what cannot be meant is left out with a log line."""
        said = {"status": status, "progress": progress, "tokens_used": tokens_used, "tokens_delta": tokens_delta}
        checkpoint = lenient(action, {**said, "force": force, "state": state, **more})
        self.state = checkpoint.state if checkpoint.state is not None else self.state
        self._ended = checkpoint.status in FINAL
        receipt = await self._supervisor.checkpoint(self.receipt.task, checkpoint)
        self.receipt = receipt if receipt.stored else receipt.model_copy(update=_still_known(self._seen()))
        return self.receipt

    async def artifact(self, kind: str, name: str, *, url: str = "", content: str = "") -> Receipt:
        """Show something that the task made: `pull_request`, `file`, `deployment`, `log`, `patch` or `other`."""
        made = {"kind": kind, "name": name, "url": url, "content": content}
        return await self.checkpoint(f"Made: {name}", artifacts=(made,))

    async def tokens(self, used: int) -> Receipt:
        """Report the tokens used so far, and nothing else."""
        return await self.checkpoint(f"Tokens used: {used:,}", tokens_used=used)

    async def end(self, error: BaseException | None) -> None:
        """Report how the work ended, unless it said so itself."""
        if not self._ended:
            await self._say_how(error)
        if self._local and self.receipt.stored:
            await self._supervisor.forget(self._local)

    async def _say_how(self, error: BaseException | None) -> None:
        match ending(error):
            case CheckpointStatus.complete:
                await self.checkpoint("Completed", status=CheckpointStatus.complete)
            case CheckpointStatus.cancelled:
                await self.checkpoint("Cancelled", status=CheckpointStatus.cancelled)
            case status:
                kind = type(error).__name__
                await self.checkpoint(f"Failed: {kind}", status=status, error=f"{kind}: {error}")

    def _seen(self) -> Receipt:
        """The server's last answer; a checkpoint that was sent late has brought it."""
        return self._supervisor.receipts.get(self.receipt.task, self.receipt)


@asynccontextmanager
async def agent_task(
    name: str, *, environment: str, kind: str = "", repo: str = "", parent: AgentTask | str | None = None,
    requested_by: str = "", token_limit: int | None = None, task: str | None = None,
    server: Supervisor | Reach | str | None = None,
) -> AsyncGenerator[AgentTask]:  # fmt: skip
    """A task around a block of work: `complete` when it ends well, `error` for an exception, `cancelled` for a cancellation.

    `task` goes on with one that was begun before, whose kept state is then in `AgentTask.state`. `server` is a URL, a `Reach` or
    a `Supervisor` that several tasks share; without one the environment says (OPS_MCP_URL, OPS_MCP_TOKEN).
    """
    async with AsyncExitStack() as stack:
        shared = server if isinstance(server, Supervisor) else await stack.enter_async_context(Supervisor(server))
        about = {"kind": kind, "repo": repo, "requested_by": requested_by, "token_limit": token_limit}
        about["parent"] = parent.id if isinstance(parent, AgentTask) else parent
        begun = await _resumed(shared, task, name) if task else await _begun(shared, name, environment, about)
        try:
            yield begun
        except BaseException as error:
            with anyio.CancelScope(shield=True), anyio.move_on_after(shared.patience):
                await begun.end(error)
            raise
        await begun.end(None)


def supervised_agent(
    name: str = "", *, environment: str, server: Supervisor | Reach | str | None = None, **about: Any
) -> Callable[[Callable[Concatenate[AgentTask, P], Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Run each call of a function as a task of its own, which the function is given first. The name is the function's if none."""

    def supervised(function: Callable[Concatenate[AgentTask, P], Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        called = name or getattr(function, "__name__", "task").replace("_", " ")

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            async with agent_task(called, environment=environment, server=server, **about) as task:
                return await function(task, *args, **kwargs)

        return wrapper

    return supervised


def ending(error: BaseException | None) -> CheckpointStatus:
    """What a block of work came to, by what left it."""
    match error:
        case None:
            return CheckpointStatus.complete
        case SystemExit(code=None | 0):
            return CheckpointStatus.complete
        case KeyboardInterrupt() | CancelRequested() | asyncio.CancelledError():
            return CheckpointStatus.cancelled
        case _ if type(error).__name__ == "Cancelled":  # trio's, which need not be installed
            return CheckpointStatus.cancelled
        case _:
            return CheckpointStatus.error


async def _begun(supervisor: Supervisor, name: str, environment: str, about: dict[str, Any]) -> AgentTask:
    local = new_name()
    receipt = await supervisor.open(name, environment=environment, local=local, **about)
    return AgentTask(supervisor, name, receipt, local=local)


async def _resumed(supervisor: Supervisor, task: str, name: str) -> AgentTask:
    state = await supervisor.load(task)
    begun = AgentTask(supervisor, name, Receipt(task=task, stored=False), state=state)
    await begun.checkpoint(f"Resumed: {name}", status=CheckpointStatus.starting)
    return begun


def _still_known(seen: Receipt) -> dict[str, object]:
    """What a receipt for a checkpoint that is not stored yet takes over from the answer before it."""
    return {name: getattr(seen, name) for name in ("task", "cancel_requested", "cancel_by", "cancel_reason")}
