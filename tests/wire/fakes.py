"""A hand-written stand-in for the one path of calls, and a few tools, for everything that speaks MCP."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import Field

from ops_mcp.domain.calls import CallId
from ops_mcp.domain.identity import Client, Credential, Effect, NoToken, Token
from ops_mcp.domain.outcomes import Done, Failed, Outcome, Refused
from ops_mcp.errors import Code, Problem
from ops_mcp.ports import Progress
from ops_mcp.server import Door
from ops_mcp.tool import AnyTool, Args, Result, Tool, WriteArgs
from ops_mcp.values import JsonObject


class Nothing(Args):
    pass


class Text(Args):
    text: str = Field(description="What to say")


class One(Args):
    id: str


class Deploy(WriteArgs):
    service: str
    environment: str


class Anything(Result):
    said: str = ""


def _tool(name: str, args: type[Args], effect: Effect = Effect.read, *, alters_runtime: bool = False) -> AnyTool:
    return Tool(
        name=name,
        toolset="core",
        title=name.capitalize(),
        description=f"Fake of {name}.",
        effect=effect,
        args=args,
        result=Anything,
        reply_tokens=100,
        alters_runtime=alters_runtime,
    )


TOOLS: Mapping[str, AnyTool] = {
    tool.name: tool
    for tool in (
        _tool("whoami", Nothing),
        _tool("services", Nothing),
        _tool("deploy", Deploy, Effect.change, alters_runtime=True),
        _tool("deployments", Nothing),
        _tool("deployment", One),
        _tool("deployment_cancel", One, Effect.change),
        _tool("approval", One),
        _tool("say", Text),
    )
}

CALL_ID = CallId("call_1")


@dataclass
class Received:
    credential: Credential
    client: Client
    name: str
    arguments: JsonObject


@dataclass
class FakeCalls:
    """Answers like the core: known tools are done or as `outcomes` says, others refused; `said` keeps what arrived."""

    outcomes: dict[str, Outcome | BaseException] = field(default_factory=dict[str, Outcome | BaseException])
    received: list[Received] = field(default_factory=list[Received])
    settled: list[str] = field(default_factory=list[str])
    entered: anyio.Event = field(default_factory=anyio.Event)
    release: anyio.Event = field(default_factory=anyio.Event)
    settle_seconds: float = 0.0

    async def __call__(
        self, credential: Credential, client: Client, name: str, arguments: JsonObject, *, progress: Progress
    ) -> Outcome:
        self.received.append(Received(credential, client, name, arguments))
        if name not in TOOLS:
            return Refused(CALL_ID, Problem(code=Code.unknown_tool, message="No such tool.", hint="See tools/list."))
        if isinstance(planned := self.outcomes.get(name), BaseException):
            raise planned
        if planned is not None:
            return planned
        return await self._scripted(name, arguments, progress)

    async def _scripted(self, name: str, arguments: JsonObject, progress: Progress) -> Outcome:
        text = arguments.get("text")
        if name == "say" and not isinstance(text, str):
            return Failed(CALL_ID, Problem(code=Code.invalid_arguments, message="text: must be a string."))
        match text:
            case "crash":
                raise RuntimeError("the password is hunter2")
            case "wait":
                await self._wait(progress)
            case "print":
                print("stray output")  # noqa: T201  the test looks for it on stderr
            case "unencodable":
                return done({"said": "\ud800"})
            case _:
                pass
        return done({"said": text or name})

    async def _wait(self, progress: Progress) -> None:
        try:
            await progress(1, 2, "half way")
            self.entered.set()
            await self.release.wait()
        finally:
            with anyio.move_on_after(5, shield=True):
                await anyio.lowlevel.checkpoint()
                self.settled.append("say")
                print("settled", file=sys.stderr, flush=True)  # noqa: T201  read by the tests of real processes


def door(credential: Credential | None = None) -> Door:
    return lambda ctx: (credential or NoToken(), Client(transport="memory"))


def token(value: str = "ops_agent_token") -> Token:
    return Token.model_validate({"secret": value})


def done(result: JsonObject, *, replayed: bool = False) -> Done:
    return Done(CALL_ID, result, json.dumps(result, separators=(",", ":"), ensure_ascii=False), replayed)


def refused(code: Code = Code.not_permitted, **more: Any) -> Refused:
    return Refused(CALL_ID, Problem(code=code, message="Not in this environment.", hint="Ask ada for staging.", **more))
