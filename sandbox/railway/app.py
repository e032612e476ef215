"""Railway's API and the services it runs, as one ASGI application. Speaks HTTP and `graphql-transport-ws`; fails on demand."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import anyio
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, execute_sync, parse, subscribe, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.railway.answering import Asking, answering, read_schema
from sandbox.railway.faults import Budget, Fault, Faults, Observer
from sandbox.railway.world import Scope, World

PATH = "/graphql/v2"
PROTOCOL = "graphql-transport-ws"
OPAQUE = frozenset({"variables", "serializedConfig", "meta", "errors"})


async def _hang() -> NoReturn:
    """Never answer: over a real socket the client gives up."""
    await anyio.sleep_forever()
    raise AssertionError


async def _break() -> None:
    """Over a real socket: answer half, then close."""


@dataclass
class Railway:
    """One simulated Railway. In a process of its own `hang` and `cut` do what their names say; in-process they raise instead."""

    world: World
    schema_path: Path | None = None
    hourly: int = 1000
    observer: Observer | None = None
    hang: Callable[[], Awaitable[object]] = _hang
    cut: Callable[[], Awaitable[object]] = _break
    new_words: dict[str, str] = field(default_factory=dict[str, str])
    """Statuses told by words that no published schema knows, from the true one to the new one."""
    new_fields: bool = False
    """Every object told carries a field that nobody asked for."""
    refuses_sockets: bool = False
    drops_sockets_after: int | None = None
    sockets: int = field(default=0, init=False)
    news_sent: int = field(default=0, init=False)
    tokens_seen: list[str] = field(default_factory=list[str], init=False)

    def __post_init__(self) -> None:
        self.schema: GraphQLSchema = answering(read_schema(self.schema_path))
        self.faults = Faults(self.world.clock)
        self.budget = Budget(self.world.clock, self.hourly)
        self.app = Starlette(
            routes=[
                Route(PATH, self._post, methods=["POST"]),
                WebSocketRoute(PATH, self._socket),
                Route("/simulator", self._tell),
                Route("/served/{service}/{environment}{rest:path}", self._serve),
            ]
        )

    # Questions over HTTP

    async def _post(self, request: Request) -> Response:
        body = await request.json()
        name = str(body.get("operationName") or "")
        fault = self.faults.next(name)
        if not self.budget.take(name) or (fault is not None and fault.kind == "429"):
            return self._limited(fault)
        if fault is not None and fault.kind == "slow":
            await anyio.sleep(fault.seconds)
        if fault is not None and fault.kind in {"500", "timeout_before", "disconnect", "internal"}:
            return await self._failed(fault)
        answer = self._answer(body, request)
        if fault is not None and fault.kind in {"timeout_after", "disconnect_after"}:
            return await self._failed(fault)
        return JSONResponse(answer, headers=self.budget.headers())

    def _answer(self, body: dict[str, Any], request: Request | WebSocket) -> dict[str, Any]:
        variables = body.get("variables") or {}
        document, errors = _read(self.schema, body["query"])
        if document is None:
            result = ExecutionResult(None, errors)
        else:
            result = execute_sync(
                self.schema,
                document,
                variable_values=variables,
                operation_name=body.get("operationName"),
                context_value=self._asking(request),
            )
        answer = dict(result.formatted)
        if self.observer is not None:
            self.observer(body["query"], variables, answer)
        return self._newer(answer)

    def _limited(self, fault: Fault | None) -> Response:
        wait = fault.retry_after if fault is not None and fault.retry_after is not None else int(self.budget.resets_in) + 1
        if fault is not None and fault.retry_after is None:
            wait = 30
        return JSONResponse({"error": "too many"}, 429, headers={"retry-after": str(wait)})

    async def _failed(self, fault: Fault) -> Response:
        match fault.kind:
            case "500":
                return JSONResponse({"error": "upstream"}, 503)
            case "internal":
                return JSONResponse({"data": None, "errors": [{"message": "Problem processing request"}]})
            case "timeout_before" | "timeout_after":
                await self.hang()
            case _:
                await self.cut()
        return StreamingResponse(iter([b'{"da']), headers={"content-length": "1000"})

    def _asking(self, request: Request | WebSocket) -> Asking:
        self.world.settle()
        project = request.headers.get("project-access-token")
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens_seen.append(project or bearer)
        scope: Scope | None = self.world.tokens.get(project or bearer)
        # Each kind of token has a header of its own, and means nothing in the other one.
        if scope is not None and (scope.project is not None) != (project is not None):
            scope = None
        return Asking(self.world, scope, token_given=project is not None)

    def _newer(self, told: Any, *, name: str = "") -> Any:
        """The answer of a Railway that has moved on."""
        if isinstance(told, dict) and name not in OPAQUE:
            more = {"fieldOfTomorrow": {"deep": [1]}} if self.new_fields else {}
            return {key: self._newer(value, name=key) for key, value in told.items()} | more
        if isinstance(told, list):
            return [self._newer(item, name=name) for item in told]
        return self.new_words.get(told, told) if name == "status" else told

    # News over a WebSocket

    async def _socket(self, socket: WebSocket) -> None:
        if self.refuses_sockets or PROTOCOL not in socket.scope.get("subprotocols", []):
            await socket.close(1002)
            return
        await socket.accept(subprotocol=PROTOCOL)
        self.budget.take("WebSocket")
        self.sockets += 1
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._converse(socket)

    async def _converse(self, socket: WebSocket) -> None:
        if (await socket.receive_json()).get("type") != "connection_init":
            await socket.close(4400)
            return
        await socket.send_json({"type": "connection_ack"})
        await socket.send_json({"type": "ping"})
        while (message := await socket.receive_json()).get("type") != "subscribe":
            pass
        asked, id = message["payload"], message["id"]
        async with anyio.create_task_group() as group:
            group.start_soon(self._drain, socket, group.cancel_scope)
            await self._send_news(socket, id, asked)
            group.cancel_scope.cancel()

    async def _drain(self, socket: WebSocket, scope: anyio.CancelScope) -> None:
        """Take pongs; what the client ends is ended here."""
        try:
            while (await socket.receive_json()).get("type") != "complete":
                pass
        except (WebSocketDisconnect, RuntimeError):
            pass
        scope.cancel()

    async def _send_news(self, socket: WebSocket, id: str, asked: dict[str, Any]) -> None:
        document, errors = _read(self.schema, asked["query"])
        stream: Any = ExecutionResult(None, errors)
        if document is not None:
            found = subscribe(
                self.schema,
                document,
                variable_values=asked.get("variables"),
                operation_name=asked.get("operationName"),
                context_value=self._asking(socket),
            )
            stream = await found if isinstance(found, Awaitable) else found
        if isinstance(stream, ExecutionResult):
            await socket.send_json({"id": id, "type": "error", "payload": [_told(e) for e in stream.errors or ()]})
            return
        sent = 0
        async for result in stream:
            answer = dict(result.formatted)
            if self.observer is not None:
                self.observer(asked["query"], asked.get("variables") or {}, answer)
            await socket.send_json({"id": id, "type": "next", "payload": self._newer(answer)})
            sent, self.news_sent = sent + 1, self.news_sent + 1
            if self.drops_sockets_after is not None and sent >= self.drops_sockets_after:
                await socket.close(1011)
                return
        await socket.send_json({"id": id, "type": "complete"})

    # What was deployed, and what was asked

    async def _tell(self, _: Request) -> Response:
        """What was really done, and how often something was asked: for whoever watches from outside."""
        self.world.settle()
        budget = self.budget
        told = {"deeds": self.world.deeds, "asked": budget.count(), "most_in_an_hour": budget.most_in_an_hour()}
        return JSONResponse({**told, "refused": budget.refused, "sockets": self.sockets})

    async def _serve(self, request: Request) -> Response:
        """The service's own answer, from whatever deployment is active there now."""
        self.world.settle()
        instance = self.world.instances.get((request.path_params["service"], request.path_params["environment"]))
        active = self.world.deployments.get(instance.active or "") if instance else None
        if active is None or active.stopped or active.status not in {"SUCCESS", "SLEEPING", "REMOVING"}:
            return Response("Application not found", 404)
        if active.status == "SLEEPING":
            self.world.restart(active)
        behaviour = self.world.behaviour(active)
        status = 200 if behaviour.healthy else 500
        return Response(json.dumps({"commit": active.content, "deployment": active.id}), status, media_type="application/json")


@lru_cache(maxsize=200)
def _read(schema: GraphQLSchema, text: str) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """The document, or what is wrong with it. Clients ask the same over and over."""
    try:
        document = parse(text)
    except GraphQLError as error:
        return None, [error]
    errors = validate(schema, document)
    return (None, errors) if errors else (document, [])


def _told(error: GraphQLError) -> dict[str, Any]:
    return dict(error.formatted)
