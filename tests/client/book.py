"""A server of checkpoints on a real HTTP socket whose memory is a list: it is slow, fails, refuses and goes away as told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from ops_mcp.client import Reach
from ops_mcp.config import Http
from ops_mcp.domain.calls import CallId
from ops_mcp.domain.identity import Client, Credential, Token
from ops_mcp.domain.outcomes import Done, Failed, Outcome
from ops_mcp.errors import Code, Problem
from ops_mcp.ports import Progress
from ops_mcp.server import build
from ops_mcp.tools.supervise.checkpoint import checkpoint
from ops_mcp.tools.supervise.tasks import task
from ops_mcp.values import JsonObject, Secret
from ops_mcp.web import application, door, listen, serve
from tests.providers.local.fakes import free_port
from tests.wire.fakes import done

TOKEN = "opsmcp_" + "a" * 30
CALL = CallId("call_1")


@dataclass
class Book:
    """What was stored, each key once. `troubles` are what becomes of the next calls, one each; empty is no trouble."""

    stored: list[JsonObject] = field(default_factory=list[JsonObject])
    by_key: dict[str, Done] = field(default_factory=dict[str, Done])
    attempts: int = 0
    troubles: list[str] = field(default_factory=list[str])
    always: str = ""
    cancel_by: str = ""
    resumable: JsonObject | None = None
    hung: anyio.Event = field(default_factory=anyio.Event)

    @property
    def said(self) -> list[tuple[Any, Any]]:
        """Status and action of what was stored, in the order in which it was."""
        return [(one["status"], one["action"]) for one in self.stored]

    async def __call__(
        self, credential: Credential, client: Client, name: str, arguments: JsonObject, *, progress: Progress
    ) -> Outcome:
        if name == "task":
            return done(_shown(str(arguments["task"])) | ({"untrusted_resumable": self.resumable} if self.resumable else {}))
        self.attempts += 1
        trouble = self.troubles.pop(0) if self.troubles else self.always
        if trouble == "hang":
            await self.hung.wait()
        if trouble == "fail before":
            raise RuntimeError
        if trouble in list(Code):
            return Failed(CALL, Problem(code=Code(trouble), message="Not like this.", retryable=trouble == "over_budget"))
        outcome = self._store(arguments)
        if trouble == "fail after":
            raise RuntimeError
        return outcome

    def _store(self, arguments: JsonObject) -> Done:
        key = str(arguments["idempotency_key"])
        if key not in self.by_key:
            self.stored.append(arguments)
            self.by_key[key] = done(self._answer(arguments))
        return self.by_key[key]

    def _answer(self, arguments: JsonObject) -> JsonObject:
        opened = sum("name" in one for one in self.stored)
        return {
            "task": arguments.get("task", f"task_{opened:08d}"),
            "state": "running", "status": arguments["status"], "number": len(self.stored), "progress": 0, "elapsed_seconds": 1.0,
            "context": "none", "context_percent": 0.0, "posted": "now", "cancel_requested": bool(self.cancel_by),
            "cancel_by": self.cancel_by, "untrusted_cancel_reason": "enough", "dry_run": False,
        }  # fmt: skip


@dataclass
class Office:
    """The book at its address; it may be closed and opened again there."""

    book: Book
    port: int
    spool: Path
    tokens: set[str]

    @property
    def reach(self) -> Reach:
        return Reach(url=f"http://127.0.0.1:{self.port}/mcp", token=Secret(TOKEN), spool=self.spool)

    async def known(self, token: Token) -> bool:
        return token.secret.get_secret_value() in self.tokens

    async def turned_away(self, address: str) -> None:
        """Whoever has no token is no concern here."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Serve until left; whatever is under way then is cut off."""
        http = Http(port=self.port)
        tools: dict[str, Any] = {"checkpoint": checkpoint, "task": task}
        app = application(build(self.book, tools, door=door), http, self, ready=_ready)
        bound = listen(http)
        stop = anyio.Event()
        with closing(bound):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(serve, app, bound, http, stop=stop))
                try:
                    yield
                finally:
                    stop.set()
                    self.book.hung.set()


def office(directory: Path) -> Office:
    return Office(Book(), free_port(), directory / "spool", {TOKEN})


def _shown(task: str) -> JsonObject:
    """A task as the server shows it, as far as the client looks."""
    line: JsonObject = {
        "id": task, "agent": "ada", "environment": "sandbox", "state": "running", "status": "working", "progress": 0,
        "checkpoint_at": "2026-11-20T12:00:00Z", "untrusted_name": "x", "untrusted_action": "x",
    }  # fmt: skip
    return {
        "task": line, "untrusted_requested_by": "", "elapsed_seconds": 1.0, "context": "none", "tokens_used": 0,
        "token_limit": 200_000,
        "checkpoints": [], "checkpoints_in_all": 0, "artifacts": [], "artifacts_in_all": 0, "children": [],
    }  # fmt: skip


async def _ready() -> bool:
    return True
