"""The agent's side of supervision: every checkpoint goes to disk first and is sent from there, and no job waits long."""

import logging
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from ops_mcp.client.connection import Connection, Unreached, deliver
from ops_mcp.client.draining import Outcome, drain
from ops_mcp.client.lines import LOCAL, Accepted, AgentCheckpoint, Later, Line, Receipt, Refused
from ops_mcp.client.reach import Reach
from ops_mcp.client.spool import Spool
from ops_mcp.errors import Code, Problem
from ops_mcp.secrets import make_private_directory
from ops_mcp.values import JsonObject

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 2.0
"""The longest that one checkpoint holds up its job, and only while the server answers: after a wait in vain nobody waits again
until an answer has come in time."""
GOODBYE_SECONDS = 5.0
BUSY_SECONDS = 0.05
PAUSES = (0.2, 30.0)
"""The first pause after a failed attempt, and the longest."""
_STUBBORN = 30.0
_LAST_TRIES = 10
"""So often is looked, before leaving, whether another process has finished with a task."""

_SILENT = Problem(
    code=Code.timeout, message="The server has not answered yet.", hint="It is kept and sent later.", retryable=True
)


class Supervisor:
    """An agent's connection to supervision, for any number of tasks: `async with Supervisor() as supervisor`.

    Nothing here raises because of the server. What is not stored when this ends lies in the spool, and the next one sends it.
    """

    def __init__(self, reach: Reach | str | None = None, *, patience: float = PATIENCE_SECONDS) -> None:
        self.reach = reach if isinstance(reach, Reach) else Reach.from_environ(url=reach)
        self.spool = Spool(_directory(self.reach))
        self.receipts: dict[str, Receipt] = {}
        self.patience = patience
        self._answers_in_time = True
        self._connection = Connection(self.reach)
        self._files = anyio.CapacityLimiter(4)
        self._waiting: dict[str, _Wait] = {}
        self._lanes: set[str] = set()
        self._told_of: Code | None = None
        self._more: set[str] = set()
        self._closing = anyio.Event()
        self._idle = anyio.Event()
        self._group: TaskGroup | None = None
        self._scopes: list[anyio.CancelScope] = []

    async def __aenter__(self) -> Self:
        if (trouble := self.reach.trouble) is not None:
            log.warning("No checkpoint will be sent: %s %s", trouble.message, trouble.hint)
            return self
        self._connection, self._closing = Connection(self.reach), anyio.Event()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._apart, self._connection.run)
        self._group.start_soon(self._apart, self._leftovers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._group is None:
            return
        try:
            # Also for a job that is being cancelled, but then it is not to be held up.
            seconds = min(self.patience * (1 if error else 2.5), GOODBYE_SECONDS)
            with anyio.CancelScope(shield=True), anyio.move_on_after(seconds):
                await self._sent()
        finally:
            group, self._group = self._group, None
            for scope in self._scopes:
                scope.cancel()
            # Without the job's exception: it is the job's, and would come out wrapped in a group.
            await group.__aexit__(None, None, None)

    async def open(
        self, name: str, *, environment: str, first: AgentCheckpoint | None = None, local: str = "", **about: str | int | None
    ) -> Receipt:
        """Begin a task. `Receipt.task` is its id, or `local`, its name here, until the server has heard of it.

        `about` are `kind`, `repo`, `parent`, `requested_by` and `token_limit`.
        """
        first = first or AgentCheckpoint.model_validate({"action": f"Starting: {name}", "status": "starting"})
        return await self._report(local or new_name(), opening(name, environment, first, about))

    async def checkpoint(self, task: str, checkpoint: AgentCheckpoint) -> Receipt:
        """Report on a task by hand. Waits for the server's answer, but not long."""
        return await self._report(task, line_of(checkpoint))

    async def load(self, task: str) -> JsonObject | None:
        """The resumable state of a task: what was kept of it last, also if the server has not got it yet."""
        if self.reach.trouble is not None:
            return None
        mine = [line.arguments["state"] for line in await self._pending(task) if "state" in line.arguments]
        if mine and isinstance(mine[-1], dict):
            return mine[-1]
        task = await self._on_disk(lambda: self.spool.resolved(task)) or task
        return None if task.startswith(LOCAL) else await self._loaded(task)

    async def _loaded(self, task: str) -> JsonObject | None:
        with anyio.move_on_after(max(self.patience, GOODBYE_SECONDS)):
            try:
                answer = await self._connection.call("task", {"task": task})
            except Unreached as error:
                log.warning("The state of %s could not be read: %s", task, error)
                return None
            shown = cast(JsonObject, answer.structured_content or {}).get("untrusted_resumable")
            return shown if isinstance(shown, dict) else None
        return None

    async def flush(self, seconds: float) -> None:
        """Try once to send all that lies in the spool, in at most so long. The last thing to do before leaving."""
        if self._group is not None:
            with anyio.move_on_after(seconds):
                await self._leftovers()
                await self._sent()

    def left(self) -> int:
        """How many checkpoints wait to be sent."""
        return sum(len(self.spool.pending(task)) for task in self.spool.waiting())

    async def forget(self, local: str) -> None:
        """Nobody will ask any more what this local name became."""
        try:
            await self._on_disk(lambda: self.spool.forget(local))
        except OSError as error:
            log.debug("The spool's note of %s stays: %s", local, error)

    def push(self, task: str) -> None:
        """Send what somebody else put into this task's spool."""
        self._more.add(task)
        if self._group is not None and task not in self._lanes:
            self._lanes.add(task)
            self._group.start_soon(self._apart, partial(self._lane, task))

    async def _apart(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until we end it: a job that is being cancelled has yet to say so."""
        if self._group is None:
            return  # ended before this began
        with anyio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            await work()
        self._scopes.remove(scope)

    async def _report(self, task: str, line: Line) -> Receipt:
        if (trouble := self.reach.trouble) is not None:
            return Receipt(task=task, stored=False, problem=trouble)
        wait = self._waiting[line.key] = _Wait(task)
        try:
            await self._on_disk(partial(self.spool.append, task, line))
            wait.lies_there = True
            self.push(task)
            with anyio.move_on_after(self.patience if self._answers_in_time else 0) as patience:
                await wait.over.wait()
            if patience.cancelled_caught:
                self._answers_in_time = False
        except (OSError, ValueError) as error:
            log.warning("A checkpoint is lost: %s", error)
            return Receipt(task=task, stored=False, problem=Problem(code=Code.unavailable, message=str(error)))
        finally:
            del self._waiting[line.key]
        return self._receipt(task, wait.outcome)

    def _receipt(self, task: str, outcome: Outcome | None) -> Receipt:
        match outcome:
            case Accepted(receipt=receipt):
                return receipt
            case Refused(problem=problem):
                return Receipt(task=task, stored=False, problem=problem)
            case Later(problem=problem):
                return Receipt(task=task, stored=False, spooled=True, problem=problem)
            case None:
                return Receipt(task=task, stored=False, spooled=True, problem=_SILENT)

    async def _lane(self, task: str) -> None:
        """Send one task's lines until none is left; pause where that fails."""
        pause, tries = PAUSES[0], _LAST_TRIES
        while tries:
            self._more.discard(task)
            leaving = self._closing.is_set()
            later = await self._drained(task)
            if later is None and task not in self._more:
                break
            if later is None:
                pause = PAUSES[0]
                continue
            if leaving:
                tries = tries - 1 if later.busy else 0
            length = BUSY_SECONDS if later.busy else _pause(later.problem, pause)
            pause = pause if later.busy else min(pause * 2, PAUSES[1])
            with anyio.move_on_after(length if tries else 0):
                await (anyio.sleep_forever() if leaving else self._closing.wait())
        self._lanes.discard(task)
        if tries:
            self._sent_by_another(task)
        if not self._lanes:
            self._idle.set()
            self._idle = anyio.Event()

    async def _drained(self, task: str) -> Later | None:
        try:
            later = await drain(self.spool, task, self._deliver, told=partial(self._told, task), on_disk=self._on_disk)
        except OSError as error:
            later = Later(Problem(code=Code.unavailable, message=f"The spool cannot be used ({type(error).__name__})."))
        if later is not None and not later.busy:
            self._put_off(task, later)
        return later

    async def _deliver(self, arguments: JsonObject) -> Outcome:
        began = time.monotonic()
        outcome = await deliver(self._connection, arguments)
        if not isinstance(outcome, Later) and time.monotonic() - began < self.patience:
            self._answers_in_time = True
        return outcome

    def _told(self, task: str, line: Line, outcome: Outcome) -> None:
        match outcome:
            case Accepted(receipt=receipt):
                self.receipts[task] = receipt
                self._told_of = None
            case Refused(problem=problem):
                log.warning("A checkpoint was refused and is dropped: %s: %s", problem.code, problem.message)
            case Later():
                pass
        if (wait := self._waiting.get(line.key)) is not None:
            wait.outcome = outcome
            wait.over.set()

    def _put_off(self, task: str, later: Later) -> None:
        """Nobody waits for a server that is known to be away."""
        self._answers_in_time = False
        if self._told_of != later.problem.code:
            self._told_of = later.problem.code
            log.warning("Checkpoints wait in %s: %s", self.spool.directory, later.problem.message)
        self._release(task, later)

    def _sent_by_another(self, task: str) -> None:
        """Nothing is left to send, and whoever still waits was not told: another process has sent it."""
        self._release(task, Accepted(self.receipts.get(task, Receipt(task=task))))

    def _release(self, task: str, outcome: Outcome) -> None:
        for wait in self._waiting.values():
            if wait.task == task and wait.outcome is None and wait.lies_there:
                wait.outcome = outcome
                wait.over.set()

    async def _leftovers(self) -> None:
        """Send what earlier processes could not."""
        try:
            await self._on_disk(lambda: self.spool.sweep(time.time()))
            for task in await self._on_disk(self.spool.waiting):
                self.push(task)
        except OSError as error:
            log.warning("The spool cannot be looked through: %s", error)

    async def _sent(self) -> None:
        self._closing.set()
        while self._lanes:
            await self._idle.wait()

    async def _pending(self, task: str) -> tuple[Line, ...]:
        name = await self._on_disk(lambda: self.spool.resolved(task)) or task
        return await self._on_disk(lambda: self.spool.pending(name))

    async def _on_disk(self, work: Callable[[], T]) -> T:
        # Threads of its own: the job may have taken all of the shared ones for longer than a checkpoint may take.
        return await anyio.to_thread.run_sync(work, limiter=self._files)


class _Wait:
    """For what becomes of one line."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.over = anyio.Event()
        self.outcome: Outcome | None = None
        self.lies_there = False


def new_name() -> str:
    """A local name for a task that the server does not know yet; names sort by when they were made."""
    return f"{LOCAL}{int(time.time() * 1000):012x}{secrets.token_hex(8)}"


def line_of(checkpoint: AgentCheckpoint) -> Line:
    """A checkpoint with its key, made before the first attempt to send it."""
    return Line(key=f"cp_{secrets.token_hex(16)}", at=datetime.now(UTC), arguments=checkpoint.arguments())


def opening(name: str, environment: str, first: AgentCheckpoint, about: dict[str, str | int | None]) -> Line:
    """The line that opens a task."""
    said = {key: value for key, value in about.items() if value not in (None, "")}
    arguments = {**first.arguments(), "name": name[:500], "environment": environment}
    return line_of(first).evolve(opens=True, arguments=arguments | ({"about": said} if said else {}))


def _directory(reach: Reach) -> Path:
    """Where lines are kept; for this process only where the usual place cannot be written."""
    try:
        make_private_directory(reach.spool)
        make_private_directory(reach.directory)
    except OSError as error:
        there = Path(tempfile.mkdtemp(prefix="ops-mcp-spool-"))
        log.warning("%s cannot be written (%s): checkpoints are kept in %s.", reach.spool, type(error).__name__, there)
        return there
    return reach.directory


def _pause(problem: Problem, pause: float) -> float:
    """As long as the server asks for; long where only an operator can help."""
    if problem.retry_after_seconds is not None:
        return min(max(problem.retry_after_seconds, pause), _STUBBORN)
    return pause if problem.retryable else _STUBBORN
