"""Writes docs/reference from the code (tools, configuration, terminal, errors) and docs/rows.md. `--check` only compares."""

import json
import sys
import types
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import rows
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ops_mcp import errors, tools
from ops_mcp.cli.app import terminal
from ops_mcp.cli.paint import EXIT_CODES
from ops_mcp.config import EnvironmentSettings, Settings
from ops_mcp.domain.places import Binding
from ops_mcp.providers.local.options import Options
from ops_mcp.tool import SCHEMAS, AnyTool, made_schemas

PAGES = Path(__file__).parent / "reference"
SCHEMAS_FILE = Path(tools.__file__).with_name(Path(SCHEMAS).name)
GENERATED = "<!-- Written by docs/generate.py from the code. Change the code, then run `make docs`. -->\n"


def main() -> int:
    fresh = {PAGES / name: GENERATED + "\n" + page() for name, page in pages().items()} | {SCHEMAS_FILE: schemas()} | rows.pages()
    stale = [file for file, text in fresh.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for file in stale:
            print(f"{file.name} is not what the code says: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    PAGES.mkdir(exist_ok=True)
    for file in stale:
        file.write_text(fresh[file], encoding="utf-8")
        print(f"wrote {file.name}")
    return 0


def pages() -> dict[str, Callable[[], str]]:
    return {"tools.md": tools_page, "config.md": config_page, "cli.md": cli_page, "errors.md": errors_page}


def schemas() -> str:
    """What tools/list publishes of every tool, so that no server has to make it at its start."""
    made = {name: schema for tool in tools.load(tools.TOOLSETS).values() for name, schema in made_schemas(tool).items()}
    return json.dumps(made, indent=1, sort_keys=False, ensure_ascii=False) + "\n"


def tools_page() -> str:
    loaded = tools.load(tools.TOOLSETS)
    intro = (
        "# Tools\n\nEvery tool, as a client sees it. *read* changes nothing; *change* can be undone; *destroy* cannot. "
        "Every change also takes `dry_run`, `idempotency_key` and `reason`.\n"
    )
    return intro + "".join(_tool(tool) for tool in loaded.values())


def _tool(tool: AnyTool) -> str:
    return (
        f"\n## {tool.name}\n\n{tool.title}. Effect: {tool.effect}. Toolset: {tool.toolset}.\n\n{tool.description}\n\n"
        f"{_table('argument', tool.args)}\nResult:\n\n{_table('field', tool.result)}"
    )


def config_page() -> str:
    """The file and the bindings, section by section in the order they are declared."""
    intro = (
        "# Configuration\n\n`config.toml` lies in the configuration directory (`OPS_MCP_CONFIG`, else "
        "`$XDG_CONFIG_HOME/ops-mcp`, else `~/.config/ops-mcp`). State lies in `OPS_MCP_STATE`, else "
        "`$XDG_STATE_HOME/ops-mcp`, else `~/.local/state/ops-mcp`. "
        "Unknown settings are refused. A `.env` in the working directory is never read.\n"
    )
    parts = [
        intro,
        _section("config.toml", Settings),
        _section("[environments.NAME]", EnvironmentSettings),
        *(_section(f"[{name}]", model, shown=shown) for name, model, shown in _sections(Settings)),
        "\n# Services\n\n`services/NAME.toml` holds one table per environment; `ops-mcp service add` writes it.\n",
        _section("[ENVIRONMENT]", Binding, without=("service", "environment")),
        *(_section(f"[ENVIRONMENT.{name}]", model, shown=shown) for name, model, shown in _sections(Binding)),
        _section("[ENVIRONMENT.options] of the provider `local`", Options),
    ]
    return "".join(parts)


def _sections(
    model: type[BaseModel], prefix: str = "", values: BaseModel | None = None
) -> Iterator[tuple[str, type[BaseModel], BaseModel | None]]:
    """Nested models of a model's fields: the dotted name under which each is written, and the values it has there by default."""
    for name, field in model.model_fields.items():
        default = getattr(values, name) if values is not None else field.default
        for inner in _models(field.annotation):
            shown = default if isinstance(default, inner) else None
            suffix = f' with kind = "{inner.model_fields["kind"].default}"' if "kind" in inner.model_fields else ""
            yield f"{prefix}{name}{suffix}", inner, shown
            yield from _sections(inner, f"{prefix}{name}.", shown)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, types.UnionType}:
        return [found for argument in get_args(annotation) for found in _models(argument)]
    return []


def _section(title: str, model: type[BaseModel], *, without: tuple[str, ...] = (), shown: BaseModel | None = None) -> str:
    said = " ".join((model.__doc__ or "").split())
    return f"\n## {title}\n\n{said}\n\n{_table('setting', model, without=without, shown=shown)}"


def _table(head: str, model: type[BaseModel], *, without: tuple[str, ...] = (), shown: BaseModel | None = None) -> str:
    fields = {name: field for name, field in model.model_fields.items() if name not in without}
    if not fields:
        return "None.\n"
    rows = [f"| {head} | type | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = _literal(getattr(shown, name)) if shown is not None else _default(field)
        cells = (f"`{name}`", f"`{_type(field.annotation)}`", default, field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _type(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "null"
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(get_args(annotation)[0])
    if origin is Literal:
        return " | ".join(repr(value) for value in get_args(annotation))
    if origin in {Union, types.UnionType}:
        return " | ".join(dict.fromkeys(_type(argument) for argument in get_args(annotation)))
    if origin is not None:
        inner = ", ".join(_type(argument) for argument in get_args(annotation) if argument is not Ellipsis)
        return f"{_name(origin)}[{inner}]" if inner else _name(origin)
    return _name(annotation)


def _name(annotation: Any) -> str:
    supertype = getattr(annotation, "__supertype__", None)
    if supertype is not None:
        return _name(supertype)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " | ".join(repr(member.value) for member in annotation)
    words = {"tuple": "list", "dict": "table", "str": "text", "int": "integer", "float": "number", "bool": "true | false"}
    name = str(getattr(annotation, "__name__", annotation))
    return words.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default is PydanticUndefined else _literal(field.default)


def _literal(value: object) -> str:
    """A default as one writes it in TOML."""
    if value is None or isinstance(value, BaseModel):
        return ""
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain)}`"


def cli_page() -> str:
    intro = (
        "# The terminal\n\n`ops-mcp` without a command is the MCP server over stdio. Every command takes `--help`.\n\n"
        + _exit_codes()
    )
    return intro + "".join(_command(path, command) for path, command in _walk(terminal, ("ops-mcp",)))


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _walk(inner, (*path, name))


def _command(path: tuple[str, ...], command: click.Command) -> str:
    context: click.Context | None = None
    for word in path:
        context = click.Context(command, info_name=word, parent=context, terminal_width=100, max_content_width=100)
    assert context is not None
    return f"\n{'#' * min(len(path) + 1, 4)} {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"


def _exit_codes() -> str:
    """Which errors end a command with which code; the other codes are in the terminal's own help, which comes next."""
    kinds: dict[int, list[str]] = {}
    for code, number in EXIT_CODES.items():
        kinds.setdefault(number, []).append(f"`{code}`")
    rows = [f"| {number} | {', '.join(codes)} |" for number, codes in sorted(kinds.items())]
    return "| exit code | errors that end with it |\n|---|---|\n" + "\n".join(rows) + "\n"


def errors_page() -> str:
    kinds = {kind.code: kind for kind in errors.OpsError.__subclasses__()}
    rows = [
        f"| `{code}` | {'yes' if kind.retryable else 'sometimes' if kind is errors.ProviderError else 'no'} "
        f"| {' '.join((kind.__doc__ or '').split())} |"
        for code in errors.Code
        for kind in [kinds[code]]
    ]
    return (
        "# Errors\n\nEvery refusal and every failure has one shape: `code`, `message`, `hint`, `retryable`, "
        "`retry_after_seconds`, `details`. It is the text of the tool's error result, "
        "and the same object lies in the result's `_meta`.\n\n"
        "| code | may the same call succeed later? | when |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
