"""The SDK's everything-server, unmodified: `… bare` as it ships, `… governed` with each of its answers given by a call of ours.

Governed, it is our own server on our own HTTP side. Each fixture tool is a read in our registry: admitted, recorded, redacted,
bounded and settled like any other, listed by us, and its arguments are those that our path parsed. So is each prompt, resource
and completion. What our tools never say (pictures, questions to the client) travels through the path as JSON and is made into
the SDK's own types again after it. What is no answer (lists, subscriptions, log levels) is the fixture's own.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    ListToolsResult,
    ReadResourceResult,
    TextContent,
)
from mcp.types import Tool as ListedTool
from mcp_everything_server.server import event_store, mcp  # pyright: ignore[reportMissingImports]  fetched by the test
from pydantic import BaseModel, ConfigDict, JsonValue, create_model

from ops_mcp import startup, web
from ops_mcp.app import App
from ops_mcp.call import call
from ops_mcp.config import Config, load
from ops_mcp.domain.identity import Effect
from ops_mcp.domain.outcomes import Done
from ops_mcp.errors import Unavailable
from ops_mcp.governance.policy import Action
from ops_mcp.ports import Ops
from ops_mcp.reading import read_policy
from ops_mcp.server import Context, build, sealed, to_result
from ops_mcp.tool import AnyTool, Args, Result, Tool
from ops_mcp.values import JsonObject
from ops_mcp.visitors import StoredVisitors

FIXTURES: Server[Any] = mcp._lowlevel_server
"""The SDK offers no other way to its handlers; its own fixtures go the same way."""

BEHIND: Mapping[str, type[BaseModel]] = {
    "resources/read": ReadResourceResult,
    "prompts/get": GetPromptResult,
    "completion/complete": CompleteResult,
}
"""What else answers with content, and with what; each is a call of a tool that is not listed."""

OWN = (
    "resources/list", "resources/templates/list", "prompts/list",
    "resources/subscribe", "resources/unsubscribe", "subscriptions/listen", "logging/setLevel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a fixture answers. Our path hands a tool its arguments only, and no tool of ours asks the client back."""

    ctx: Context
    params: BaseModel


ASKED: ContextVar[Asked] = ContextVar("asked")


class Given(Args):
    """Arguments as the fixture's own schema describes them; the fixture judges them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    @classmethod
    def recordable(cls, arguments: JsonObject) -> JsonObject:
        return arguments


class Said(Result):
    """A fixture's answer on its way through our path."""

    kind: Literal["complete", "input_required"]
    answer: dict[str, JsonValue]


def fixture(name: str, method: str, schema: JsonObject, description: str = "") -> AnyTool:
    """A tool of ours behind which is the fixture's handler of `method`."""

    def published(*_: object, **__: object) -> JsonObject:
        return schema

    entry = FIXTURES.get_request_handler(method)
    assert entry is not None, method

    async def answer(args: Args, _ops: Ops) -> Said:
        asked = ASKED.get()
        params = asked.params
        if isinstance(params, CallToolRequestParams):
            params = params.model_copy(update={"arguments": dict(args.model_extra or {})})
        answered = await entry.handler(asked.ctx, params)
        if isinstance(answered, CallToolResult) and answered.is_error:
            raise Unavailable(" ".join(part.text for part in answered.content if isinstance(part, TextContent)))
        kind = "input_required" if isinstance(answered, InputRequiredResult) else "complete"
        return Said(kind=kind, answer=cast(BaseModel, answered).model_dump(mode="json", by_alias=True, exclude_none=True))

    arguments = create_model(f"{name}_arguments", __base__=Given)
    arguments.model_json_schema = published  # type: ignore[method-assign]  the fixture's schema is published as it is
    return cast(
        AnyTool,
        Tool(
            name=name, toolset="fixtures", title=name, description=description, effect=Effect.read,
            args=arguments, result=Said, reply_tokens=20_000, read=answer,
        ),
    )  # fmt: skip


def governed(app: App, listed: Mapping[str, AnyTool], shown: Mapping[str, ListedTool]) -> Server[Any]:
    """Our server with the fixtures behind its call path."""
    calls = partial(call, app)
    server = build(calls, listed, door=web.door)
    listing, calling = server.get_request_handler("tools/list"), server.get_request_handler("tools/call")
    assert listing is not None
    assert calling is not None

    async def list_tools(ctx: Context, params: Any) -> ListToolsResult:
        """Our listing. A result's schema is the fixture's, because the answer is its own in the end."""
        ours = cast(ListToolsResult, await listing.handler(ctx, params))
        tools = [tool.model_copy(update={"output_schema": shown[tool.name].output_schema}) for tool in ours.tools]
        return ours.model_copy(update={"tools": tools})

    async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        with asking(ctx, params):
            ours = cast(CallToolResult, await calling.handler(ctx, params))
        return (
            ours if ours.is_error else cast(CallToolResult, unpacked(cast(JsonObject, ours.structured_content), CallToolResult))
        )

    def behind(method: str, kind: type[BaseModel]) -> Callable[[Context, BaseModel], Any]:
        async def answer(ctx: Context, params: BaseModel) -> BaseModel:
            credential, client = web.door(ctx)
            with asking(ctx, params):
                outcome = await calls(credential, client, hidden_name(method), {})
            assert isinstance(outcome, Done), to_result(outcome)
            return unpacked(outcome.result, kind)

        return sealed(answer)

    server.add_request_handler("tools/list", listing.params_type, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    for method, kind in BEHIND.items():
        server.add_request_handler(method, entry_of(method).params_type, behind(method, kind))
    for method in OWN:
        server.add_request_handler(method, entry_of(method).params_type, entry_of(method).handler)
    # No tool of ours asks a client, so our server mints no state; the fixtures' state is sealed as their own server seals it.
    server.middleware.append(RequestStateBoundary(RequestStateSecurity(keys=[os.urandom(32)]), default_audience=server.name))
    return server


class asking:  # noqa: N801  read as a verb
    """Within it the fixtures know which request they answer."""

    def __init__(self, ctx: Context, params: BaseModel) -> None:
        self._asked = Asked(ctx, params)

    def __enter__(self) -> None:
        self._token = ASKED.set(self._asked)

    def __exit__(self, *_: object) -> None:
        ASKED.reset(self._token)


def unpacked(said: JsonObject, kind: type[BaseModel]) -> BaseModel:
    found = Said.model_validate(said)
    return (InputRequiredResult if found.kind == "input_required" else kind).model_validate(found.answer)


def entry_of(method: str) -> Any:
    return FIXTURES.get_request_handler(method)


def hidden_name(method: str) -> str:
    return method.replace("/", "_")


@asynccontextmanager
async def our_application(config: Config):
    """The ASGI application of `ops-mcp serve` with the fixtures for tools."""
    shown = {tool.name: tool for tool in await mcp.list_tools()}
    listed = {name: fixture(name, "tools/call", tool.input_schema, tool.description or "") for name, tool in shown.items()}
    hidden = {hidden_name(method): fixture(hidden_name(method), method, {"type": "object"}) for method in BEHIND}
    tools = listed | hidden
    policy = read_policy(config.config_dir / "policies", tuple(Action(t.name, t.effect, t.toolset) for t in tools.values()))
    async with startup.open_app(config, wake_worker=lambda: None) as opened:
        rules = opened.app.rules
        app = replace(opened.app, tools=tools, rules=lambda: replace(rules(), policy=policy))
        visitors = StoredVisitors(opened.database, app.clock)
        yield web.application(governed(app, listed, shown), config.settings.http, visitors, ready=visitors.ready)


async def main(way: str) -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp", flush=True)  # noqa: T201  read by the test
    if way == "bare":
        app = mcp.streamable_http_app(event_store=event_store, retry_interval=100)
        await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[bound])
        return
    config = load(os.environ)
    async with our_application(config) as app:
        await web.serve(app, bound, config.settings.http, stop=anyio.Event())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
