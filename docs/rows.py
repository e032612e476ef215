"""Which test proves which row of the requirements: reads `docs/rows.txt`, writes `docs/rows.md` and `left-out.md`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".txt")
PAGE = Path(__file__).with_suffix(".md")
LEFT_OUT = Path(__file__).parent / "decisions" / "left-out.md"

_ROW = re.compile(r"([A-Z]\d?-\d+) \| (.+)")
_PROOF = re.compile(r"  (tests/[\w/]+\.py)::(test_\w+)(?: \| (.+))?")
_REASON = re.compile(r"  - \| (.+)")

_WRITTEN = "<!-- Written by docs/generate.py from docs/rows.txt. Change that file, then run `make docs`. -->\n\n"
_HEAD = """\
# Row by row

Every row of the requirements that telling people and supervising agents has to meet, with the test that fails when it is not met.
Where a row has no test, a sentence says why. S0 is the triage of alerts, S1 deploying and watching, S2 the supervision of agents,
S3 the infrastructure.
"""
_LEFT_OUT = """\
# What was asked for and is left out

Rows of the requirements for which there is no test, and why. What is proven is in [rows](../rows.md).

| row | asked for | why not |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that exists, and what of the row it holds."""

    file: str
    test: str
    holds: str


@dataclass(frozen=True, slots=True)
class Row:
    """What was asked for, what proves it, and what is said where nothing does."""

    id: str
    asked: str
    proofs: tuple[Proof, ...]
    reasons: tuple[str, ...]


def pages() -> dict[Path, str]:
    """Both pages by file. Raises `ValueError` naming the line that cannot be read."""
    return {PAGE: _WRITTEN + _rows_page(), LEFT_OUT: _WRITTEN + _left_out_page()}


def _rows_page() -> str:
    return _HEAD + "".join(
        _section(seed, list(rows)) for seed, rows in groupby(read().values(), key=lambda row: row.id.split("-")[0])
    )


def _left_out_page() -> str:
    left_out = [row for row in read().values() if not row.proofs]
    return _LEFT_OUT + "".join(f"| {row.id} | {_cell(row.asked)} | {' '.join(map(_cell, row.reasons))} |\n" for row in left_out)


def read() -> Mapping[str, Row]:
    """The rows by id, in the order of the file."""
    found: dict[str, Row] = {}
    for number, line in enumerate(SOURCE.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if (started := _ROW.fullmatch(line)) and started[1] not in found:
            found[started[1]] = Row(started[1], started[2], (), ())
        elif found and (proof := _PROOF.fullmatch(line)):
            _extend(found, Proof(proof[1], proof[2], proof[3] or ""))
        elif found and (reason := _REASON.fullmatch(line)):
            _extend(found, reason[1])
        else:
            raise ValueError(f"{SOURCE.name}:{number} is no row, no test and no reason: {line[:80]}")
    return found


def _extend(found: dict[str, Row], said: Proof | str) -> None:
    row = found[next(reversed(found))]
    if isinstance(said, Proof):
        found[row.id] = Row(row.id, row.asked, (*row.proofs, said), row.reasons)
    else:
        found[row.id] = Row(row.id, row.asked, row.proofs, (*row.reasons, said))


def _section(seed: str, rows: list[Row]) -> str:
    lines = [f"\n## {seed}\n", "| row | asked for | proven by |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.id} | {_cell(row.asked)} | {'<br>'.join(_said(row))} |" for row in rows)]) + "\n"


def _said(row: Row) -> Iterator[str]:
    for proof in row.proofs:
        holds = f": {_cell(proof.holds)}" if proof.holds else ""
        yield f"[`{proof.test}`](../{proof.file}){holds}"
    yield from (_cell(reason) for reason in row.reasons)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
