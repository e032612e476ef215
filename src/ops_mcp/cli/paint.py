"""How a reply looks: JSON for machines, tables for people, plain text where nobody watches. Decides nothing else.

Text from strangers reaches a terminal here, so control characters are made visible and nothing is read as markup.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ops_mcp.errors import Code, Problem
from ops_mcp.values import Json, JsonObject

STYLES = {
    "ok": "green", "warn": "yellow", "fail": "bold red",
    "granted": "green", "consumed": "green", "healthy": "green", "pending": "yellow", "watching": "cyan", "verifying": "cyan",
    "denied": "red", "expired": "dim", "killed": "bold red", "revoked": "dim", "frozen": "bold cyan", "failing": "bold red",
}  # fmt: skip


class Table(NamedTuple):
    """Rows under headings; `empty` is said instead where there are none."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    empty: str = "Nothing."
    title: str = ""


Part: TypeAlias = str | Table


class Reply(NamedTuple):
    """What a command answers: `data` is exactly what `--json` prints, `parts` is what a person reads."""

    data: JsonObject
    parts: tuple[Part, ...] = ()
    exit_code: int = 0


EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_NOT_FOUND, EXIT_UNVERIFIED, EXIT_UNAVAILABLE, EXIT_NOT_CONFIGURED = range(8)
EXIT_UNANCHORED = 8

EXIT_CODES: dict[Code, int] = {
    Code.invalid_arguments: EXIT_USAGE,
    Code.unauthenticated: EXIT_REFUSED, Code.not_permitted: EXIT_REFUSED, Code.over_budget: EXIT_REFUSED,
    Code.rate_limited: EXIT_REFUSED, Code.needs_approval: EXIT_REFUSED, Code.frozen: EXIT_REFUSED,
    Code.guard_blocked: EXIT_REFUSED,
    Code.not_found: EXIT_NOT_FOUND, Code.unknown_tool: EXIT_NOT_FOUND,
    Code.timeout: EXIT_UNAVAILABLE, Code.unavailable: EXIT_UNAVAILABLE,
    Code.not_configured: EXIT_NOT_CONFIGURED, Code.unsupported: EXIT_NOT_CONFIGURED,
    Code.conflict: EXIT_FAILED, Code.in_progress: EXIT_FAILED, Code.provider_error: EXIT_FAILED,
}  # fmt: skip
"""The exit code of each kind of error; 130 is an interrupt. Documented in docs/reference/cli.md."""


def show(reply: Reply, *, as_json: bool) -> None:
    """Print a reply to standard output."""
    if as_json:
        print(json.dumps(reply.data, indent=2, ensure_ascii=False))
        return
    for part in reply.parts:
        if isinstance(part, str):
            print(visible(part, keep="\n"))
        elif not part.rows:
            print(part.empty)
        elif _is_watched():
            _paint(part)
        else:
            _type(part)


def complain(problem: Problem, *, as_json: bool) -> None:
    """Print an error to standard error, in the one error shape."""
    if as_json:
        print(json.dumps({"error": problem.json_value()}, indent=2, ensure_ascii=False), file=sys.stderr)
        return
    print(visible(f"{problem.code}: {problem.message}"), file=sys.stderr)
    if problem.hint:
        print(visible(problem.hint), file=sys.stderr)


def note(text: str) -> None:
    """Say something beside the reply, on standard error."""
    print(visible(text), file=sys.stderr)


def visible(text: str, *, keep: str = "") -> str:
    """`text` with control, format and surrogate characters written out, so that no stranger's text can steer a terminal."""
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else _written_out(c) for c in text)


def cell(value: Json) -> str:
    """One JSON value as the text of a table's cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return str(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)


def _written_out(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _is_watched() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def _type(table: Table) -> None:
    """Aligned columns, no ornaments: for pipes and logs."""
    rows = [list(table.headings), *([visible(value) for value in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.headings))]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def _paint(table: Table) -> None:
    # rich is heavy and only a person at a terminal needs it
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    painted = RichTable(box=box.SIMPLE_HEAD, title=table.title or None, title_justify="left", header_style="bold")
    for heading in table.headings:
        painted.add_column(heading, overflow="fold")
    for row in table.rows:
        painted.add_row(*(Text(visible(value), style=STYLES.get(value, "")) for value in row))
    Console().print(painted)
