"""What changed between two stretches of time: templates that are new, gone, or more frequent than before."""

from collections.abc import Mapping
from typing import NamedTuple

from ops_mcp.logs.chance import surprise_of_share
from ops_mcp.logs.shapes import TemplateId

GREW_BY, GREW_SURELY, MISSED = 2.0, 3.0, 3.0
"""Grown: at least twice the rate, by chance once in a thousand. Gone: at least three lines would have been expected."""


class Window(NamedTuple):
    """Lines of each template in one stretch of time. Both windows of a comparison name templates as one miner knows them."""

    counts: Mapping[TemplateId, int]
    seconds: float


class Change(NamedTuple):
    """One template in two windows. `ratio` is that of its rates; None where it was not there before."""

    id: TemplateId
    before: int
    after: int
    ratio: float | None


class Comparison(NamedTuple):
    """The most telling first: by lines after, lines before, and ratio."""

    new: tuple[Change, ...]
    gone: tuple[Change, ...]
    grown: tuple[Change, ...]


def compare(before: Window, after: Window) -> Comparison:
    """Windows may differ in length; counts are compared as rates. Few lines prove little: see `GREW_SURELY` and `MISSED`."""
    longer = after.seconds / before.seconds
    changes = [
        Change(id, was, now, now / (was * longer) if was else None)
        for id in dict.fromkeys((*before.counts, *after.counts))
        if (was := before.counts.get(id, 0)) + (now := after.counts.get(id, 0))
    ]
    return Comparison(
        new=tuple(sorted((c for c in changes if not c.before), key=lambda c: -c.after)),
        gone=tuple(sorted((c for c in changes if not c.after and c.before * longer >= MISSED), key=lambda c: -c.before)),
        grown=tuple(sorted((c for c in changes if _has_grown(c, longer)), key=lambda c: -(c.ratio or 0))),
    )


def _has_grown(change: Change, longer: float) -> bool:
    """Given the lines of both windows, those of the second are binomial if nothing changed (Przyborowski and Wilenski, 1940)."""
    if change.ratio is None or change.ratio < GREW_BY:
        return False
    share = longer / (1 + longer)
    return surprise_of_share(change.after, change.before + change.after, share) >= GREW_SURELY
