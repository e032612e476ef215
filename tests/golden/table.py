"""Reads `calls.txt`, the reviewed table of who may call what, where. Knows nothing of the code under test."""

from pathlib import Path
from typing import NamedTuple

ANSWERS = {
    "done": "done",
    "ask": "needs_approval",
    "no": "not_permitted",
    "absent": "not_found",
    "who": "unauthenticated",
    "none": "unknown_tool",
}
"""The words of the cells, and what they mean in a reply."""


class Cell(NamedTuple):
    """One expectation. `caller` is `ceiling-score` in the part `agents`, and a column's name elsewhere."""

    part: str
    kind: str
    place: str
    caller: str
    answer: str
    why: str


def cells(part: str) -> list[Cell]:
    """Every cell of one part, row by row. Raises `ValueError` for a row without its reason or with a word nobody knows."""
    return [cell for cell in _all() if cell.part == part]


def _all() -> list[Cell]:
    found: list[Cell] = []
    part, columns = "", list[str]()
    for line in (Path(__file__).parent / "calls.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            part = line.strip("[] ")
        elif line.startswith("#kind"):
            columns = line.split()[1:]
        elif line.strip() and not line.startswith("#"):
            found += _row(part, columns, line)
    return found


def _row(part: str, columns: list[str], line: str) -> list[Cell]:
    values, _, why = line.partition("#")
    kind, place, *rest = values.split()
    if not why.strip():
        raise ValueError(f"no reason: {line}")
    ceiling = f"{rest.pop(0)}-" if part == "agents" else ""
    names = columns[2:] if part == "agents" else columns[1:]
    if len(names) != len(rest):
        raise ValueError(f"{len(names)} columns, {len(rest)} values: {line}")
    return [
        Cell(part, kind, place, f"{ceiling}{name}", ANSWERS[word], why.strip()) for name, word in zip(names, rest, strict=True)
    ]
