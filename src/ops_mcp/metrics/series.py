"""Samples over time, the marker of a series that ended, and what a query answers."""

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ops_mcp.metrics.labels import Labels

_STALE_BITS = struct.pack("<Q", 0x7FF0_0000_0000_0002)

STALE: float = struct.unpack("<d", _STALE_BITS)[0]
"""The marker that Prometheus writes when a series is no longer there: a NaN told from others by its bits alone.

It survives copying, `array` and `struct`, and no arithmetic; whoever stores samples must keep the bits (SQLite keeps no NaN).
"""


class Series(NamedTuple):
    """One series: moments in milliseconds since 1970, strictly rising, and as many values."""

    labels: Labels
    times: Sequence[int]
    values: Sequence[float]


class Sample(NamedTuple):
    labels: Labels
    value: float


class Vector(NamedTuple):
    """The value of each series at one moment."""

    at_ms: int
    samples: tuple[Sample, ...]


class Scalar(NamedTuple):
    """One number without labels."""

    at_ms: int
    value: float


class Matrix(NamedTuple):
    """Series with their points, ordered by labels."""

    series: tuple[Series, ...]


Answer: TypeAlias = Vector | Scalar | Matrix


def is_stale(value: float) -> bool:
    """Whether it is the marker, and not merely not a number."""
    return value != value and struct.pack("<d", value) == _STALE_BITS  # noqa: PLR0124 (NaN alone is unequal to itself)


def without_stale(times: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    """The same samples without markers. The usual case, no NaN at all, is told by one sum."""
    total = sum(values)
    if total == total:  # noqa: PLR0124
        return times, values
    kept = [(at, value) for at, value in zip(times, values, strict=True) if not is_stale(value)]
    return [at for at, _ in kept], [value for _, value in kept]
