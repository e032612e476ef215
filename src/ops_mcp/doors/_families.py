"""Figures as families of series, for the page that Prometheus reads. Pure."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ops_mcp.domain.timings import BOUNDS, Histogram
from ops_mcp.metrics.exposition import Exposed, Page, page_text
from ops_mcp.metrics.exposition import Family as About
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.names import Kind


class Family(NamedTuple):
    """What is said of a metric, and its series. Without any, nothing is written of it."""

    about: About
    series: tuple[Exposed, ...]


def page(families: Iterable[Family]) -> str:
    """The text format 0.0.4."""
    told = [family for family in families if family.series]
    return page_text(Page(tuple(s for family in told for s in family.series), tuple(family.about for family in told)))


def family(name: str, kind: Kind, about: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """A counter or a gauge with its values by labels."""
    return Family(About(name, kind, about), tuple(Exposed(labels_of(labels, name=name), value) for labels, value in values))


def histogram(name: str, about: str, counted: Iterable[tuple[Mapping[str, str], Histogram]]) -> Family:
    """Cumulated by bound, as Prometheus wants it. One that has counted nothing is left out."""
    series: list[Exposed] = []
    for labels, one in counted:
        total = 0
        for bound, count in zip((*BOUNDS, math.inf), one.counts, strict=True):
            total += count
            series.append(Exposed(labels_of({**labels, "le": _bound(bound)}, name=f"{name}_bucket"), total))
        series.append(Exposed(labels_of(labels, name=f"{name}_sum"), one.seconds))
        series.append(Exposed(labels_of(labels, name=f"{name}_count"), total))
    return Family(About(name, Kind.histogram, about), tuple(series))


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else f"{bound:g}"
