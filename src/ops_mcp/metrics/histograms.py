"""Quantiles from the counters of classic histograms: series that differ in `le`, the upper bound of their bucket."""

import re
from dataclasses import dataclass

from ops_mcp.metrics.labels import Labels, dropping, value_of, without_name
from ops_mcp.metrics.nodes import Pairs, Run, ScalarNode, VectorNode, distinct
from ops_mcp.metrics.numbers import INF, NAN, divided

_FINITE = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"([+-]?)inf(?:inity)?", re.ASCII | re.IGNORECASE)
_BUCKET = "le"

Buckets = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class HistogramQuantile(VectorNode):
    """`histogram_quantile(0.95, v)`. Elements without a readable `le` are left out."""

    share: ScalarNode
    of: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        share = self.share.number(run, at)
        pairs = self.of.vector(run, at)
        run.charge(2 * len(pairs))
        histograms: dict[Labels, Buckets] = {}
        for labels, count in pairs:
            bound = _bound(value_of(labels, _BUCKET))
            if bound is not None:
                histograms.setdefault(dropping(labels, frozenset({_BUCKET})), []).append((bound, count))
        return distinct([(without_name(labels), bucket_quantile(share, buckets)) for labels, buckets in histograms.items()])


def bucket_quantile(share: float, buckets: Buckets) -> float:
    """The value below which `share` of the observations lie, by the upper bounds and cumulative counts of at least one bucket.

    Within a bucket it is interpolated linearly, in the lowest from zero. In the highest it is the bound of the one before, and
    in a lowest bucket that ends at or below zero that end. NaN without a bucket up to infinity or without observations.
    """
    if share != share:  # noqa: PLR0124
        return NAN
    if not 0 <= share <= 1:
        return -INF if share < 0 else INF
    if max(bound for bound, _ in buckets) != INF:
        return NAN
    bounds, counts = _cumulative(buckets)
    if len(bounds) < 2 or counts[-1] == 0:
        return NAN
    rank = share * counts[-1]
    found = _first_reaching(rank, counts)
    if found == len(bounds) - 1:
        return bounds[-2]
    if found == 0:
        return bounds[0] if bounds[0] <= 0 else bounds[0] * divided(rank, counts[0])
    below, start = counts[found - 1], bounds[found - 1]
    return start + (bounds[found] - start) * divided(rank - below, counts[found] - below)


def _bound(text: str) -> float | None:
    if _FINITE.fullmatch(text):
        bound = float(text)
        return bound if abs(bound) != INF else None  # digits beyond what a float holds
    infinite = _INFINITE.fullmatch(text)
    return None if infinite is None else -INF if infinite[1] == "-" else INF


def _cumulative(buckets: Buckets) -> tuple[list[float], list[float]]:
    """Bounds and counts in order: buckets of the same bound are one, and no count is below the one before."""
    merged: dict[float, float] = {}
    for bound, count in sorted(buckets, key=lambda bucket: bucket[0]):
        merged[bound] = merged[bound] + count if bound in merged else count
    counts = list(merged.values())
    highest = counts[0]
    for index, count in enumerate(counts):
        if count > highest:
            highest = count
        elif count < highest:
            counts[index] = highest
    return list(merged), counts


def _first_reaching(rank: float, counts: list[float]) -> int:
    """The first bucket but the last whose count reaches `rank`, else the last; by halving, which matters where counts are NaN."""
    low, high = 0, len(counts) - 1
    while low < high:
        middle = (low + high) // 2
        if counts[middle] >= rank:
            high = middle
        else:
            low = middle + 1
    return low
