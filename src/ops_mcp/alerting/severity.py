"""How bad an alert is: one scale, and the other scales' words for its four steps."""

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator


class Severity(StrEnum):
    """Worst first."""

    critical = "critical"
    high = "high"
    medium = "medium"
    low = "low"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


ALIASES = {
    **{severity.value: severity for severity in Severity},
    **{f"sev{number}": severity for number, severity in enumerate(Severity, start=1)},
    **{f"p{number}": severity for number, severity in enumerate(Severity)},
    # Levels of the load guard.
    "emergency": Severity.critical,
    "warn": Severity.medium,
    "info": Severity.low,
    # What rule files of others say most often.
    "page": Severity.critical,
    "error": Severity.high,
    "warning": Severity.medium,
    "ticket": Severity.medium,
    "none": Severity.low,
}


def severity_of(word: str) -> Severity | None:
    """The step that a word of any of the scales stands for, in any case; None for a word of none of them."""
    return ALIASES.get(word.strip().lower())


def _read(given: object) -> object:
    if not isinstance(given, str):
        return given
    found = severity_of(given)
    if found is None:
        raise ValueError("must be critical, high, medium or low (or SEV1 to SEV4, P0 to P3)")
    return found


AnySeverity: TypeAlias = Annotated[Severity, BeforeValidator(_read)]
"""A field that takes every alias."""
