"""A measured claim, the table for a person and the file for a machine."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One claim. `baseline` and `ratio` are None where nothing is compared; `met` is None where nothing is promised."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None


def at_most(name: str, value: float, unit: str, bar: float, *, baseline: float | None = None) -> Result:
    """A value, or its ratio to the baseline where there is one, that must not exceed `bar`."""
    measured = value / baseline if baseline else value
    ratio = round(measured, 3) if baseline else None
    return Result(name, _short(value), unit, _short(baseline), ratio, f"<= {bar:g}{' x' if baseline else ''}", measured <= bar)


def at_least(name: str, value: float, unit: str, bar: float, *, baseline: float | None = None) -> Result:
    """A value, or its ratio to the baseline where there is one, that must reach `bar`."""
    measured = value / baseline if baseline else value
    ratio = round(measured, 3) if baseline else None
    return Result(name, _short(value), unit, _short(baseline), ratio, f">= {bar:g}{' x' if baseline else ''}", measured >= bar)


def table(results: Sequence[Result]) -> str:
    head = ("claim", "value", "unit", "baseline", "ratio", "bar", "met")
    rows = [
        (r.name, _shown(r.value), r.unit, _shown(r.baseline), _shown(r.ratio), r.bar, {True: "yes", False: "NO", None: ""}[r.met])
        for r in results
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def save(results: Sequence[Result], file: Path) -> None:
    """Write the results; claims that this run did not measure keep their last measured value."""
    kept: dict[str, dict[str, object]] = {}
    if file.exists():
        kept = {entry["name"]: entry for entry in json.loads(file.read_text(encoding="utf-8"))}
    kept |= {r.name: asdict(r) for r in results}
    file.write_text(json.dumps(list(kept.values()), indent=2) + "\n", encoding="utf-8")


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}" if number >= 1000 else f"{number:g}"
