"""MCP resources and completion. Both show operational data, so each is a call of the read tool behind it and nothing else."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)
from mcp_types import INVALID_PARAMS

from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.errors import Code, Problem
from ops_mcp.tool import AnyTool
from ops_mcp.values import Json, JsonObject

PROBLEM = "dev.ops-mcp/problem"
"""Where a refusal or failure carries its `Problem`: in a result's `_meta`, in an error's `data`."""

REFUSED = -32010
"""A resource or completion that the gate refused. Of the codes that the specification leaves to implementations."""

READING = "resources/read"
"""What the ledger names a read of an address behind which there is no tool."""

_COMPLETIONS = 100
_ID = r"[A-Za-z0-9_.-]{1,128}"
"""What may stand in a resource's address; the tool behind it judges the rest."""

Gate = Callable[[ServerRequestContext[Any, Any], str, JsonObject], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Page:
    """A resource without variables: the tools whose results it shows, by the name under which each is shown.

    Those of `also` are shown where they are enabled.
    """

    uri: str
    name: str
    title: str
    description: str
    tools: Mapping[str, str]
    also: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource with one id: the tool that reads it and the argument that takes the id."""

    prefix: str
    name: str
    title: str
    description: str
    tool: str
    argument: str

    @property
    def template(self) -> str:
        return self.prefix + "{id}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where completions of an argument come from: a tool, the list in its result, and the field of an item that is no text."""

    tool: str
    items: str
    field: str


PAGES = (
    Page(
        "ops://status",
        "status",
        "Status",
        "Who you are, what you may change, what is left of your budget, what runs and how it is",
        {"caller": "whoami", "services": "services"},
        {"health": "health"},
    ),
    Page(
        "ops://inventory",
        "inventory",
        "Inventory",
        "Services, what serves in each environment, and how everything is that should run",
        {"": "services"},
        {"health": "health"},
    ),
    Page("ops://tasks", "tasks", "Tasks", "What agents work on, the newest first", {"": "tasks"}),
)
ENTRIES = (
    Entry("ops://deployments/", "deployment", "Deployment", "One deployment, its steps and its health", "deployment", "id"),
    Entry("ops://approvals/", "approval", "Approval", "One approval request and where it stands", "approval", "id"),
    Entry("ops://tasks/", "task", "Task", "One task of an agent, its checkpoints and what it made", "task", "task"),
)
SOURCES: Mapping[str, Source] = {
    "service": Source("services", "services", "service"),
    "environment": Source("services", "environments", ""),
    "deployment": Source("deployments", "deployments", "id"),
}


class Shelf:
    """The resources whose tools are enabled. Holds the gate and the tools; keeps nothing between requests."""

    def __init__(self, gate: Gate, tools: Mapping[str, AnyTool]) -> None:
        self._gate = gate
        self._pages = {page.uri: page for page in PAGES if all(tool in tools for tool in page.tools.values())}
        self._tools = tools
        self._entries = [entry for entry in ENTRIES if entry.tool in tools]
        self._sources = {name: source for name, source in SOURCES.items() if source.tool in tools}

    async def list_resources(
        self, _ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        refuse_cursor(params)
        return ListResourcesResult(
            resources=[
                Resource(uri=p.uri, name=p.name, title=p.title, description=p.description, mime_type="application/json")
                for p in self._pages.values()
            ]
        )

    async def list_templates(
        self, _ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        refuse_cursor(params)
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template=e.template, name=e.name, title=e.title, description=e.description, mime_type="application/json"
                )
                for e in self._entries
            ]
        )

    async def read(self, ctx: ServerRequestContext[Any, Any], params: ReadResourceRequestParams) -> ReadResourceResult:
        shown = await self._shown(ctx, params.uri)
        return ReadResourceResult(
            contents=[TextResourceContents(uri=params.uri, mime_type="application/json", text=compact(shown))]
        )

    async def complete(self, ctx: ServerRequestContext[Any, Any], params: CompleteRequestParams) -> CompleteResult:
        """Names that start with what was typed; an empty list for an argument that nobody completes."""
        wanted = _completed_argument(params)
        source = self._sources.get(wanted)
        if source is None:
            return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
        found = _column(await self._result(ctx, source.tool, {}), source)
        matching = sorted({value for value in found if value.startswith(params.argument.value)})
        return CompleteResult(
            completion=Completion(values=matching[:_COMPLETIONS], total=len(matching), has_more=len(matching) > _COMPLETIONS)
        )

    async def _shown(self, ctx: ServerRequestContext[Any, Any], uri: str) -> JsonObject:
        if page := self._pages.get(uri):
            also = {name: tool for name, tool in page.also.items() if tool in self._tools}
            parts = {name: await self._result(ctx, tool, {}) for name, tool in (*page.tools.items(), *also.items())}
            return {**parts.pop("", {}), **parts}
        for entry in self._entries:
            if found := re.fullmatch(re.escape(entry.prefix) + f"({_ID})", uri):
                return await self._result(ctx, entry.tool, {entry.argument: found[1]}, uri=uri)
        await self._gate(ctx, READING, {"uri": uri})  # there is no such tool: the gate refuses and records it
        raise _no_such_resource(uri)

    async def _result(
        self, ctx: ServerRequestContext[Any, Any], tool: str, arguments: JsonObject, *, uri: str = ""
    ) -> JsonObject:
        outcome = await self._gate(ctx, tool, arguments)
        match outcome:
            case Done():
                return outcome.result
            case Failed() | Refused() | NeedsApproval():
                raise _refusal(outcome.problem, uri)
            case _:
                assert_never(outcome)


def compact(value: Json) -> str:
    """JSON text without spaces. What has no UTF-8 form or no JSON form raises: a reply must be readable by every client."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def _completed_argument(params: CompleteRequestParams) -> str:
    """The thing to complete; a template's `id` means what its address names."""
    if params.ref.type == "ref/resource":
        entry = next((e for e in ENTRIES if e.template == params.ref.uri), None)
        return entry.name if entry is not None and params.argument.name == "id" else ""
    return params.argument.name


def _column(result: JsonObject, source: Source) -> list[str]:
    rows = result.get(source.items)
    if not isinstance(rows, list):
        return []
    values = [row.get(source.field) if isinstance(row, dict) else row for row in rows]
    return [value for value in values if isinstance(value, str)]


def _refusal(problem: Problem, uri: str) -> MCPError:
    code = INVALID_PARAMS if problem.code in (Code.not_found, Code.invalid_arguments) else REFUSED
    data: dict[str, object] = {PROBLEM: problem.json_value()}
    if uri:
        data["uri"] = uri
    return MCPError(code, f"{problem.message} {problem.hint}".strip(), data)


def _no_such_resource(uri: str) -> MCPError:
    return MCPError(
        INVALID_PARAMS, "Resource not found. resources/list and resources/templates/list have the valid ones.", {"uri": uri}
    )


def refuse_cursor(params: PaginatedRequestParams | None) -> None:
    """Lists fit one page, so no cursor was ever given out."""
    if params is not None and params.cursor is not None:
        raise MCPError(INVALID_PARAMS, "Unknown cursor: this list has one page. Ask again without a cursor.")
