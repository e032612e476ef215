"""How a tool is declared: once, with schema, effect, cost, hints and handler together."""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Annotated, Generic, TypeAlias, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, Field

from ops_mcp.domain.calls import Cost, Verdict
from ops_mcp.domain.identity import Effect
from ops_mcp.domain.places import NAME_PATTERN
from ops_mcp.domain.releases import Applied, DeploymentId, Plan
from ops_mcp.domain.tasks import Report
from ops_mcp.observing import Observation
from ops_mcp.ports import Ops
from ops_mcp.values import Json, JsonObject, Value, digest


class Target(Value):
    """What a call's arguments point at, before anything is looked up. An id is resolved to its environment by the server."""

    environment: str | None = None
    service: str | None = None
    deployment: str | None = None
    approval: str | None = None
    alert: str | None = None
    rule: str | None = None
    task: str | None = None
    to: str | None = None


class Args(Value):
    """Base of every tool's arguments: strict types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def target(self) -> Target:
        """What these arguments point at, before anything is looked up."""
        return Target()

    @classmethod
    def recordable(cls, arguments: JsonObject) -> JsonObject:
        """What of arguments that could not be parsed may be recorded: all, but for what a tool knows may hold a secret."""
        return arguments


ServiceArg: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN, description="See `services`")]
EnvironmentArg: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN, description="See `services`")]


class WriteArgs(Args):
    """What every write takes besides its own arguments."""

    dry_run: bool = Field(default=False, description="Return the plan and the verdict; no effect")
    idempotency_key: str | None = Field(default=None, max_length=128, pattern=r"^[!-~]+$", description="Repeat-safe for 7 days")
    reason: str = Field(default="", max_length=500, description="For the ledger and approver")


class Result(Value):
    """Base of every tool's result; its JSON schema is the tool's output schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null")


@dataclass(frozen=True, slots=True)
class Committed:
    """What a change's `finish` is told: the deployment it works on, or what came of its writes. `plan` is absent when an
    idempotency key was repeated."""

    deployment: DeploymentId | None
    plan: Plan | None = None
    applied: Applied | None = None


SCHEMAS = "tools/schemas.json"
"""Written by `docs/generate.py`, never by hand."""

A = TypeVar("A", bound=Args)
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[R]):
    """What a record's handler wants kept, and its result. Nothing is kept on a dry run.

    A `report` is written in the transaction of the settlement.
    """

    result: R
    samples: tuple[Observation, ...] = ()
    report: Report | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tool(Generic[A, R]):
    """A tool as the registry holds it.

    A read has `read`; a record has `record`, which returns what is to be kept; a change has `plan` (read-only, returns the
    plan), `finish` (after the commit: waits within the deadline and returns the result) and `planned` (the result of a dry
    run). `reply_tokens` is the most its reply can come to. `answers_when_down` marks the reads that still answer, unrecorded,
    when the ledger cannot be written. `recovers` marks the change that may be the exempt way back (`rollback`).
    `follows` marks the change that writes only our own rows and whose `finish` looks anew when its key is repeated.
    """

    name: str
    toolset: str
    title: str
    description: str
    effect: Effect
    args: type[A]
    result: type[R]
    reply_tokens: int
    read: Callable[[A, Ops], Awaitable[R]] | None = None
    record: Callable[[A, Ops], Awaitable[Recorded[R]]] | None = None
    plan: Callable[[A, Ops], Awaitable[Plan]] | None = None
    finish: Callable[[Committed, Ops], Awaitable[R]] | None = None
    planned: Callable[[Plan, Verdict], R] | None = None
    alters_runtime: bool = False
    always_reachable: bool = False
    answers_when_down: bool = False
    recovers: bool = False
    follows: bool = False
    open_world: bool = False
    idempotent: bool = True

    @property
    def ceiling(self) -> Cost:
        """The most one call can cost before the operator's price is added."""
        return Cost(calls=1, tokens=self.reply_tokens)


AnyTool: TypeAlias = Tool[Args, Result]


def read(
    *,
    toolset: str,
    title: str,
    reply_tokens: int,
    always_reachable: bool = False,
    answers_when_down: bool = False,
    open_world: bool = False,
) -> Callable[[Callable[[A, Ops], Awaitable[R]]], Tool[A, R]]:
    """Declare a read: the decorated function is the handler, its docstring the description that models see."""

    def declare(handler: Callable[[A, Ops], Awaitable[R]]) -> Tool[A, R]:
        args, result = _signature(handler)
        return Tool(
            name=handler.__name__,
            toolset=toolset,
            title=title,
            description=_description(handler),
            effect=Effect.read,
            args=args,
            result=result,
            reply_tokens=reply_tokens,
            read=handler,
            always_reachable=always_reachable,
            answers_when_down=answers_when_down,
            open_world=open_world,
        )

    return declare


def record(
    *, toolset: str, title: str, reply_tokens: int, result: type[R]
) -> Callable[[Callable[[A, Ops], Awaitable[Recorded[R]]]], Tool[A, R]]:
    """Declare a record: the decorated function returns what is to be kept of the caller's own work, and writes nothing."""

    def declare(handler: Callable[[A, Ops], Awaitable[Recorded[R]]]) -> Tool[A, R]:
        arguments, _ops, _recorded = get_type_hints(handler).values()
        return Tool(
            name=handler.__name__,
            toolset=toolset,
            title=title,
            description=_description(handler),
            effect=Effect.record,
            args=arguments,
            result=result,
            reply_tokens=reply_tokens,
            record=handler,
        )

    return declare


def change(
    *,
    toolset: str,
    title: str,
    reply_tokens: int,
    finish: Callable[[Committed, Ops], Awaitable[R]],
    planned: Callable[[Plan, Verdict], R],
    result: type[R],
    alters_runtime: bool,
    recovers: bool = False,
    follows: bool = False,
    effect: Effect = Effect.change,
) -> Callable[[Callable[[A, Ops], Awaitable[Plan]]], Tool[A, R]]:
    """Declare a change: the decorated function returns its plan and does nothing; `finish` answers after the commit."""

    def declare(planner: Callable[[A, Ops], Awaitable[Plan]]) -> Tool[A, R]:
        arguments, _ops, _plan = get_type_hints(planner).values()
        return Tool(
            name=planner.__name__,
            toolset=toolset,
            title=title,
            description=_description(planner),
            effect=effect,
            args=arguments,
            result=result,
            reply_tokens=reply_tokens,
            plan=planner,
            finish=finish,
            planned=planned,
            alters_runtime=alters_runtime,
            recovers=recovers,
            follows=follows,
            open_world=True,
        )

    return declare


def input_schema(tool: AnyTool) -> JsonObject:
    """The exact JSON schema that tools/list publishes."""
    return _written().get(_name_of(tool.args)) or made_schemas(tool)[_name_of(tool.args)]


def output_schema(tool: AnyTool) -> JsonObject:
    return _written().get(_name_of(tool.result)) or made_schemas(tool)[_name_of(tool.result)]


def made_schemas(tool: AnyTool) -> dict[str, JsonObject]:
    """The schemas of a tool's arguments and result, made from its models: about 2 ms a tool."""
    return {
        _name_of(tool.args): cast(JsonObject, _terse(tool.args.model_json_schema())),
        _name_of(tool.result): tool.result.model_json_schema(mode="serialization"),
    }


@lru_cache(maxsize=1)
def _written() -> Mapping[str, JsonObject]:
    """The schemas of all shipped tools as `make docs` wrote them down and `make check` holds them: a server that makes them
    itself starts a tenth of its time later."""
    file = resources.files("ops_mcp") / SCHEMAS
    return cast(Mapping[str, JsonObject], json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _name_of(model: type[Args | Result]) -> str:
    return f"{model.__module__}:{model.__qualname__}"


@lru_cache(maxsize=256)
def schema_digest(tool: AnyTool) -> str:
    """Names exactly the definition that the caller was shown; it goes into each record."""
    return digest({"name": tool.name, "description": tool.description, "input": input_schema(tool)})


def _terse(schema: Json) -> Json:
    """Without what only costs tokens: titles, the null of an optional argument (leaving it out says the same), empty defaults."""
    match schema:
        case {"anyOf": [dict() as only, {"type": "null"}], **rest}:
            return _terse({**{k: v for k, v in rest.items() if k != "default"}, **only})
        case dict():
            return {
                name: {n: _terse(p) for n, p in part.items()} if name == "properties" and isinstance(part, dict) else _terse(part)
                for name, part in schema.items()
                if not (name == "title" and isinstance(part, str)) and not (name == "default" and part in (None, ""))
            }
        case list():
            return [_terse(item) for item in schema]
        case _:
            return schema


def _signature(handler: Callable[[A, Ops], Awaitable[R]]) -> tuple[type[A], type[R]]:
    arguments, _ops, result = get_type_hints(handler).values()
    return arguments, result


def _description(handler: Callable[..., object]) -> str:
    return inspect.cleandoc(handler.__doc__ or "")
