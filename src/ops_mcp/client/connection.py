"""One connection to the server, made when it is wanted and made again when it breaks. Speaks through the SDK's own client."""

import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio
from pydantic import ValidationError

from ops_mcp.client.lines import Accepted, Later, Receipt, Refused
from ops_mcp.client.reach import Reach
from ops_mcp.errors import Code, Problem
from ops_mcp.values import JsonObject

if TYPE_CHECKING:
    import httpx2
    from mcp import Client
    from mcp.types import CallToolResult

log = logging.getLogger(__name__)

CALL_SECONDS = 30.0
"""How long an answer may take. Nobody's job waits for it: see `supervisor.PATIENCE_SECONDS`."""
PROBLEM = "dev.ops-mcp/problem"
_VERSION = "2026-07-28"
_CLOSED = -32000
"""What the SDK answers in the server's place when the connection is gone."""

FOR_GOOD = (Code.invalid_arguments, Code.not_found, Code.conflict, Code.unsupported)
"""What no second attempt changes. Whatever an operator can still put right (a token, a ceiling, a toolset) is tried again."""


class Unreached(Exception):
    """No answer came, or none that says whether the call was carried out."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        kept = Problem(code=Code.unavailable, message=message, hint="It is kept and sent later.", retryable=True)
        self.problem = problem or kept


class Connection:
    """`run` keeps it; `call` may be used by many tasks at once."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._client: Client | None = None
        self._wanted = anyio.Event()
        self._changed = anyio.Event()
        self._broken = anyio.Event()
        self._denied = 0

    async def run(self) -> None:
        """Connect whenever somebody wants to call, until cancelled."""
        while True:
            await self._wanted.wait()
            self._broken = anyio.Event()
            try:
                async with _client(self._reach, self) as client:
                    self._tell(client)
                    await self._broken.wait()
            except Exception as error:  # noqa: BLE001  whatever the SDK or the network raises, the job goes on without
                log.info("The connection to ops-mcp ended: %s", _words(error))
            self._wanted = anyio.Event()
            self._tell(None)

    async def call(self, tool: str, arguments: JsonObject) -> "CallToolResult":
        """Call a tool. Raises `Unreached`."""
        # Heavy, and wanted only where something is sent.
        from mcp import MCPError

        try:
            with anyio.fail_after(CALL_SECONDS):
                client = await self._connected()
                return await client.call_tool(tool, arguments)
        except TimeoutError as error:
            self._broken.set()
            raise Unreached(f"No answer within {CALL_SECONDS:g} seconds.") from error
        except MCPError as error:
            if (problem := _problem(error.data)) is not None:
                raise Unreached(problem.message, problem) from error
            self._broken.set()
            raise Unreached(self._said("" if error.code == _CLOSED else f"The server answered: {error.message}.")) from error
        except (OSError, RuntimeError, ValidationError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._broken.set()
            raise Unreached(self._said("")) from error

    def denied(self, status: int) -> None:
        """The server answered a request with this status instead of a reply."""
        self._denied = status

    async def _connected(self) -> "Client":
        self._wanted.set()
        if self._client is None or self._broken.is_set():
            await self._changed.wait()
        if self._client is None:
            raise Unreached(self._said(""))
        return self._client

    def _tell(self, client: "Client | None") -> None:
        self._client = client
        self._changed.set()
        self._changed = anyio.Event()

    def _said(self, message: str) -> str:
        status, self._denied = self._denied, 0
        return f"The server answered HTTP {status}." if status else message or "ops-mcp cannot be reached."


async def deliver(connection: Connection, arguments: JsonObject) -> Accepted | Refused | Later:
    """Report one checkpoint."""
    try:
        result = await connection.call("checkpoint", arguments)
    except Unreached as error:
        return Later(error.problem)
    if not result.is_error:
        try:
            return Accepted(Receipt.model_validate(result.structured_content))
        except ValidationError:
            return Later(Problem(code=Code.unavailable, message="The server's answer cannot be read.", retryable=True))
    problem = problem_of(result)
    return Refused(problem) if problem.code in FOR_GOOD and not problem.retryable else Later(problem)


def problem_of(result: "CallToolResult") -> Problem:
    """What a refused call's reply says was wrong."""
    unsaid = Problem(code=Code.unavailable, message="The server refused, and did not say why.", retryable=True)
    return _problem(result.meta) or unsaid


def _problem(data: object) -> Problem | None:
    try:
        return Problem.model_validate(cast(JsonObject, data)[PROBLEM]) if isinstance(data, dict) and PROBLEM in data else None
    except ValidationError:
        return None


@asynccontextmanager
async def _client(reach: Reach, connection: Connection) -> "AsyncGenerator[Client]":
    """The SDK's client over the transport that `reach` asks for."""
    # Together they take longer to import than most jobs want to wait for.
    import httpx2
    from mcp import Client, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with AsyncExitStack() as stack:
        if reach.url:
            headers = {"authorization": f"Bearer {reach.secret()}"}
            http = httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(connect=10, read=CALL_SECONDS, write=10, pool=None),
                # A proxy from the environment would be handed the token of a loopback server in clear text.
                trust_env=reach.url.startswith("https:"),
                event_hooks={"response": [_noting(connection)]},
            )
            transport = streamable_http_client(reach.url, http_client=await stack.enter_async_context(http))
        else:
            reach.secret()
            server = StdioServerParameters(command=sys.executable, args=["-m", "ops_mcp"], env=dict(reach.environ))
            transport = stdio_client(server, errlog=sys.stderr)
        # Pinned to one version there is nothing to ask before the first call.
        yield await stack.enter_async_context(Client(transport, mode=_VERSION, cache=None))


def _noting(connection: Connection) -> "Callable[[httpx2.Response], Awaitable[None]]":
    async def note(response: "httpx2.Response") -> None:
        if response.status_code >= 400:
            connection.denied(response.status_code)

    return note


def _words(error: BaseException) -> str:
    """The first cause by its kind: an exception's text may quote what was sent."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return type(error).__name__
