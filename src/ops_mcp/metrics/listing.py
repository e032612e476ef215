"""Which metrics there are, from the labels of their series."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.exposition import Family
from ops_mcp.metrics.labels import NAME, Labels, value_of
from ops_mcp.metrics.matchers import Matchers
from ops_mcp.metrics.names import Kind, Unit, metric_of, unit_of
from ops_mcp.metrics.query import Query
from ops_mcp.metrics.selectors import Selector

_PART = re.compile(r"[a-zA-Z0-9_:]{0,200}", re.ASCII)
_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


class Wanted(NamedTuple):
    """Metrics whose series match, and whose name has this part in it."""

    matchers: Matchers = ()
    part: str = ""


class Described(NamedTuple):
    """One metric: `labels` maps the name of each label to how many values it has, `newest_ms` is its newest sample."""

    name: str
    kind: Kind
    unit: Unit
    help: str
    series: int
    labels: Mapping[str, int]
    newest_ms: int


def wanted_by(match: str, compiled: Callable[[str], Query]) -> Wanted:
    """`match` is a part of a name, or a selector such as `{service="web"}`."""
    if _PART.fullmatch(match):
        return Wanted(part=match)
    root = compiled(match).root
    if not isinstance(root, Selector) or root.offset_ms:
        raise InvalidArguments(
            "`match` is neither a part of a name nor a selector.",
            hint='Valid: `requests`, `{service="web"}`, `up{service=~"a.*"}`.',
        )
    return Wanted(root.matchers)


def listed(series: Sequence[Labels], newest_ms: Sequence[int], families: Mapping[str, Family]) -> tuple[Described, ...]:
    """The metrics of these series, by name. What we record ourselves is described by us, whatever a page says of it."""
    of_names: dict[str, list[tuple[Labels, int]]] = {}
    for labels, newest in zip(series, newest_ms, strict=True):
        of_names.setdefault(value_of(labels, NAME), []).append((labels, newest))
    return tuple(_described(name, of_names[name], families) for name in sorted(of_names))


def _described(name: str, found: Sequence[tuple[Labels, int]], families: Mapping[str, Family]) -> Described:
    values: dict[str, set[str]] = {}
    for labels, _ in found:
        for label, value in labels:
            if label != NAME:
                values.setdefault(label, set()).add(value)
    ours = metric_of(found[0][0])
    family = next((families[base] for base in (name, *_bases(name)) if base in families), None)
    if ours is not None:
        kind, unit, text = ours.kind, ours.unit, ours.help
    elif family is not None:
        kind, unit, text = family.kind, unit_of(name), family.help
    else:
        kind, unit, text = Kind.counter if name.endswith("_total") else Kind.untyped, unit_of(name), ""
    counts = {label: len(values[label]) for label in sorted(values)}
    return Described(name, kind, unit, text, len(found), counts, max(newest for _, newest in found))


def _bases(name: str) -> Sequence[str]:
    return [name.removesuffix(end) for end in _OF_HISTOGRAMS if name.endswith(end)]
