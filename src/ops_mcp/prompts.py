"""MCP prompts: one Markdown file each, with a TOML head. Static text with the caller's words put in, nothing operational."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.types import (
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)
from mcp_types import INVALID_PARAMS
from pydantic import Field, ValidationError

from ops_mcp.errors import NotConfigured
from ops_mcp.resources import refuse_cursor
from ops_mcp.values import Value

_ARGUMENT_LENGTH = 500
_UNPRINTABLE = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SLOT = re.compile(r"\{\{(\w+)\}\}")


class Argument(Value):
    """One argument of a prompt, as its head declares it; `default` stands in for an optional one that is not given."""

    description: str
    required: bool = True
    default: str = ""


class Head(Value):
    """The TOML head between two `+++` lines."""

    title: str
    description: str
    arguments: dict[str, Argument] = Field(default={})


class Sheet(Value):
    """One prompt: its head, and the text with `{{argument}}` slots."""

    name: str
    head: Head
    text: str


async def list_prompts(_ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None) -> ListPromptsResult:
    refuse_cursor(params)
    return ListPromptsResult(prompts=[_listed(sheet) for sheet in shipped().values()])


async def get_prompt(_ctx: ServerRequestContext[Any, Any], params: GetPromptRequestParams) -> GetPromptResult:
    sheet = shipped().get(params.name)
    if sheet is None:
        raise MCPError(INVALID_PARAMS, f"No such prompt. Valid names: {', '.join(shipped())}.")
    text = filled(sheet, params.arguments or {})
    return GetPromptResult(
        description=sheet.head.description, messages=[PromptMessage(role="user", content=TextContent(text=text))]
    )


@cache
def shipped() -> Mapping[str, Sheet]:
    """The prompts of this installation by name, read once, in the order of their names."""
    return load(_folder())


def load(folder: Path) -> Mapping[str, Sheet]:
    """Every prompt in `folder`. Raises `NotConfigured` naming the file whose head or slots are wrong."""
    return {file.stem: _read(file) for file in sorted(folder.glob("*.md"))}


def filled(sheet: Sheet, given: Mapping[str, str]) -> str:
    """The text with its slots filled. Raises -32602 naming the argument that is missing, unknown or too long."""
    declared = sheet.head.arguments
    _refuse("does not take", (name for name in given if name not in declared), sheet)
    _refuse("needs", (name for name, argument in declared.items() if argument.required and not given.get(name)), sheet)
    _refuse(f"takes at most {_ARGUMENT_LENGTH} characters for", (n for n in given if len(given[n]) > _ARGUMENT_LENGTH), sheet)
    values = {name: _UNPRINTABLE.sub(" ", given.get(name) or argument.default) for name, argument in declared.items()}
    return _SLOT.sub(lambda slot: values[slot[1]], sheet.text)


def _refuse(complaint: str, names: Iterable[str], sheet: Sheet) -> None:
    if wrong := sorted(names):
        known = ", ".join(sheet.head.arguments) or "none"
        raise MCPError(
            INVALID_PARAMS, f"Prompt {sheet.name} {complaint} {', '.join(n[:64] for n in wrong)}. Its arguments: {known}."
        )


def _listed(sheet: Sheet) -> Prompt:
    arguments = [
        PromptArgument(name=name, description=a.description, required=a.required) for name, a in sheet.head.arguments.items()
    ]
    return Prompt(name=sheet.name, title=sheet.head.title, description=sheet.head.description, arguments=arguments)


def _folder() -> Path:
    """`_prompts` inside an installed wheel, `prompts/` beside `src/` in a checkout."""
    here = Path(__file__).parent
    packed = here / "_prompts"
    return packed if packed.is_dir() else here.parent.parent / "prompts"


def _read(file: Path) -> Sheet:
    try:
        _, head, text = file.read_text(encoding="utf-8").split("+++\n", 2)
        sheet = Sheet(name=file.stem, head=Head.model_validate(tomllib.loads(head)), text=text.strip() + "\n")
    except (ValueError, OSError, ValidationError) as error:
        raise NotConfigured(f"{file.name} is no prompt: {error}.", hint="See prompts/safe-deploy.md for the form.") from error
    if undeclared := set(_SLOT.findall(sheet.text)) ^ set(sheet.head.arguments):
        raise NotConfigured(f"{file.name}: slots and arguments differ: {', '.join(sorted(undeclared))}.")
    return sheet
