"""Who reads what is served beside MCP: an agent through the gate of the tool that shows the same, an operator as they are."""

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ops_mcp.app import App, visible
from ops_mcp.call import call
from ops_mcp.domain.identity import Agent, Client, Operator, Token
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import Code, OpsError, Problem
from ops_mcp.values import JsonObject
from ops_mcp.web import bearer

STATUS = {
    Code.invalid_arguments: 400,
    Code.unauthenticated: 401,
    Code.not_permitted: 403,
    Code.frozen: 403,
    Code.not_found: 404,
    Code.unknown_tool: 404,
    Code.not_configured: 404,
    Code.conflict: 409,
    Code.over_budget: 429,
    Code.rate_limited: 429,
    Code.unavailable: 503,
    Code.timeout: 504,
}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Visitors(Protocol):
    """What is known of tokens."""

    async def guest(self, token: Token) -> Agent | Operator | None: ...

    async def turned_away(self, address: str) -> None: ...


class Guest:
    """One request of somebody known. What an agent asks for is decided, charged and recorded as a call of its own."""

    def __init__(self, app: App, who: Agent | Operator, token: Token, address: str) -> None:
        self.app = app
        self.who = who
        self._token = token
        self._client = Client(transport="http", address=address)

    async def through(self, tool: str, arguments: JsonObject) -> JsonObject:
        """What the tool answers this agent. Raises `Turned` with what it was refused for."""
        outcome = await call(self.app, self._token, self._client, tool, arguments)
        if isinstance(outcome, Done):
            return outcome.result
        raise Turned(outcome.problem)

    def environments(self, tool: str) -> tuple[EnvironmentName, ...]:
        """Those that this guest may see."""
        world = self.app.world()
        match self.who:
            case Operator():
                return tuple(world.config.environments)
            case Agent():
                return visible(self.app.rules(), world, self.who, self.app.clock(), tool=tool)


class Turned(Exception):
    """The gate refused, with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


Answer = Callable[[Guest, Request], Awaitable[Response]]


def route(path: str, answer: Answer, app: App, visitors: Visitors) -> Route:
    """A path that is read with a token."""
    return Route(path, endpoint=_Entry(answer, app, visitors), methods=["GET"])


class _Entry:
    """Lets a known token in; everybody else gets 401 and is counted by address."""

    def __init__(self, answer: Answer, app: App, visitors: Visitors) -> None:
        self._answer = answer
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._respond(scope, receive)
        except Turned as turned:
            response = refused(turned.problem)
        except OpsError as error:
            response = refused(error.problem)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        token, client = bearer(scope), scope.get("client")
        address = client[0] if client else ""
        who = await self._visitors.guest(token) if token is not None else None
        if token is None or who is None:
            await self._visitors.turned_away(address)
            return refused(_UNKNOWN, {"WWW-Authenticate": 'Bearer realm="ops-mcp"'})
        response = await self._answer(Guest(self._app, who, token, address), Request(scope, receive))
        response.headers.update(_HEADERS)
        return response


def refused(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as HTTP says it."""
    wait = problem.retry_after_seconds
    retry = {"Retry-After": str(math.ceil(wait))} if wait is not None else {}
    status = STATUS.get(problem.code, 500)
    return JSONResponse(problem.json_value(), status_code=status, headers={**_HEADERS, **retry, **(headers or {})})


_UNKNOWN = Problem(
    code=Code.unauthenticated,
    message="A bearer token of an agent or operator is required.",
    hint="Send 'Authorization: Bearer TOKEN'. An operator makes one with `ops-mcp operator token NAME`.",
)
