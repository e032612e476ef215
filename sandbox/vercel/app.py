"""The simulated Vercel as an ASGI application: routes of any version, scopes, limits, faults, the endless stream, the sites."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.vercel import control, endpoints, sites
from sandbox.vercel.calls import Call, Problem, admitted
from sandbox.vercel.faults import Fault, NoAnswer, Seen, Trouble
from sandbox.vercel.world import World

IN_PROCESS = "sandbox.in_process"
"""In the extensions of an ASGI scope: the caller understands `NoAnswer`, so that nobody has to wait for a real time-out."""

_ROUTES = (
    ("GET", 7, "/deployments", "getDeployments", endpoints.list_deployments),
    ("POST", 13, "/deployments", "createDeployment", endpoints.create_deployment),
    ("GET", 13, "/deployments/{id:path}", "getDeployment", endpoints.get_deployment),
    ("DELETE", 13, "/deployments/{id}", "deleteDeployment", endpoints.delete_deployment),
    ("PATCH", 12, "/deployments/{id}/cancel", "cancelDeployment", endpoints.cancel_deployment),
    ("GET", 3, "/deployments/{id}/events", "getDeploymentEvents", endpoints.deployment_events),
    ("POST", 2, "/deployments/{id}/aliases", "assignAlias", endpoints.assign_alias),
    ("GET", 4, "/aliases/{alias}", "getAlias", endpoints.get_alias),
    ("POST", 10, "/projects/{project}/promote/{id}", "requestPromote", endpoints.promote),
    ("POST", 1, "/projects/{project}/rollback/{id}", "requestRollback", endpoints.roll_back),
    ("GET", 1, "/projects/{project}/promote/aliases", "listPromoteAliases", endpoints.promote_aliases),
    ("GET", 9, "/projects/{project}", "getProject", endpoints.get_project),
    ("GET", 10, "/projects/{project}/env", "filterProjectEnvs", endpoints.list_variables),
    ("POST", 10, "/projects/{project}/env", "createProjectEnv", endpoints.create_variable),
)
_LOGS = ("GET", 1, "/projects/{project}/deployments/{id}/runtime-logs", "getRuntimeLogs")
_VERSIONED = re.compile(r"^/v([0-9]+)/")


class Vercel:
    """`trouble` is what goes wrong and what was asked. `beat_seconds` is the real pause between keep-alives of a stream."""

    def __init__(
        self, world: World, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep, controlled: bool = False
    ) -> None:
        self.world = world
        self.trouble = Trouble()
        self.sleep = sleep
        self.beat_seconds = 0.05
        # Routes with more behind the same words come first: an id may hold slashes where sites are served by path.
        api = [self._route(method, version, path, name, endpoint) for method, version, path, name, endpoint in _ROUTES]
        api.sort(key=lambda route: ":path" in route.path)
        method, version, path, name = _LOGS
        steering = control.Control(self.world, self.trouble).routes if controlled else []
        self._app = Starlette(routes=[*steering, *sites.routes(world), self._logs(method, version, path, name), *api])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (site := sites.by_host(self.world, scope)) is not None:
            await site(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _route(self, method: str, version: int, path: str, name: str, endpoint: endpoints.Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            async def act(call: Call) -> Response:
                status, body = endpoint(call)
                return JSONResponse(body, status) if body is not None else Response(status_code=status)

            return await self._answered(request, version, name, act)

        return Route("/v{version:int}" + path, answer, methods=[method], name=name)

    def _logs(self, method: str, version: int, path: str, name: str) -> Route:
        async def answer(request: Request) -> Response:
            async def act(call: Call) -> Response:
                call.project(call.path("project"))
                rows = call.deployment(call.path("id")).rows
                return StreamingResponse(self._stream(rows), media_type="application/stream+json")

            return await self._answered(request, version, name, act)

        return Route("/v{version:int}" + path, answer, methods=[method], name=name)

    async def _answered(self, request: Request, version: int, name: str, act: Callable[[Call], Awaitable[Response]]) -> Response:
        at = self.world.now
        if request.path_params["version"] != version:
            self.trouble.odd_versions.add(f"{name} v{request.path_params['version']}")
        try:
            response = await self._carried_out(request, name, act)
        except Problem as problem:
            response = JSONResponse(problem.body, problem.status, problem.headers)
        except NoAnswer as silence:
            self.trouble.seen.append(Seen(at, name, 0))
            return await _silent(request, silence)
        self.trouble.seen.append(Seen(at, name, response.status_code))
        return response

    async def _carried_out(self, request: Request, name: str, act: Callable[[Call], Awaitable[Response]]) -> Response:
        for fault in self.trouble.due(name, self.world.now, after=False):
            await self._strike(fault)
        if (limited := self.trouble.limited(name, self.world.now)) is not None:
            raise _too_many(limited[0].most, limited[1], self.world.now)
        self.world.advance()
        response = await act(await admitted(request, self.world))
        for fault in self.trouble.due(name, self.world.now, after=True):
            if fault.kind == "truncated":
                whole = bytes(response.body)
                return _Cut(whole[: len(whole) // 2], len(whole), response.status_code)
            await self._strike(fault)
        return response

    async def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "slow":
                await self.sleep(fault.seconds)
            case "timeout" | "reset" | "truncated":
                raise NoAnswer(fault.kind)
            case "status" if fault.status == 429:
                raise _too_many(0, self.world.now + 1000 * fault.seconds, self.world.now)
            case "status":
                problem = Problem(fault.status, fault.code, **fault.extra)  # type: ignore[arg-type]
                problem.body = {fault.named: problem.body["error"]}
                raise problem

    async def _stream(self, rows: list[dict[str, object]]) -> AsyncIterator[bytes]:
        """Rows so far, then whatever comes, with keep-alives; until Vercel's own limit, which a delimiter tells."""
        told = 0
        while True:
            for row in rows[told:]:
                yield json.dumps(row).encode() + b"\n"
                told += 1
                if told >= self.world.most_log_rows:
                    yield json.dumps(_delimiter(self.world)).encode() + b"\n"
                    if not self.world.lingers:
                        return
            yield b"\n"
            await anyio.sleep(self.beat_seconds)


def _too_many(most: int, reset: float, now: float) -> Problem:
    wait = max(1, round((reset - now) / 1000))
    limit = {"total": most, "remaining": 0, "reset": int(reset / 1000), "resetMs": reset}
    headers = {
        "retry-after": str(wait),
        "x-ratelimit-limit": str(most),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(reset / 1000)),
    }
    return Problem(429, "rate_limited", f"Too many requests; again in {wait} s", headers=headers, limit=limit)


async def _silent(request: Request, silence: NoAnswer) -> Response:
    """Over a real connection, a time-out is waited for until the client hangs up, and a reset cuts an answer that has begun."""
    if IN_PROCESS in request.scope.get("extensions", {}):
        raise silence
    if silence.kind != "timeout":
        return _Cut(b"", 100)
    while not await request.is_disconnected():
        await anyio.sleep(0.1)
    return Response(status_code=400)


class _Cut(Response):
    """The beginning of a body under a length that promises more."""

    def __init__(self, begun: bytes, promised: int, status_code: int = 200) -> None:
        super().__init__(status_code=status_code)
        self._begun = begun
        self._promised = promised

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        headers = [(b"content-type", b"application/json"), (b"content-length", str(self._promised).encode())]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self._begun, "more_body": True})
        raise NoAnswer("truncated")


def _delimiter(world: World) -> dict[str, object]:
    at = int(world.now) if world.now else int(datetime.now(UTC).timestamp() * 1000)
    return {
        "rowId": "",
        "timestampInMs": at,
        "level": "error",
        "message": "Exceeded query limit",
        "messageTruncated": False,
        "source": "delimiter",
        "domain": "",
        "requestMethod": "",
        "requestPath": "",
        "responseStatusCode": 0,
    }
