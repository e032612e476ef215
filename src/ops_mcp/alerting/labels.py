"""Label sets of alerts: sorted pairs, as results of queries have them, and the fingerprint that an alert goes by."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name, no value empty."""

METRIC = "__name__"
ALERTNAME = "alertname"
SEVERITY = "severity"
ENVIRONMENT = "environment"
SERVICE = "service"

OURS = frozenset({ALERTNAME, "alertstate", SEVERITY, ENVIRONMENT, SERVICE})
"""Names that a rule's own fields decide, never its labels."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}", re.ASCII)


def is_label_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def labels_of(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """The label set of these pairs. An empty value is the same as no label."""
    return tuple(sorted((name, value) for name, value in dict(pairs).items() if value))


def value_of(labels: Labels, name: str) -> str:
    """The value of one label, empty where there is none."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def overlaid(labels: Labels, own: Labels) -> Labels:
    """`labels` without the metric's name, with `own` laid over them; an empty one of `own` takes a label away."""
    merged = dict(labels)
    merged.pop(METRIC, None)
    merged.update(own)
    return tuple(sorted([pair for pair in merged.items() if pair[1]]))


def fingerprint(labels: Labels) -> str:
    """16 hexadecimal digits that stand for the label set and nothing else.

    Alertmanager's own is a 64-bit FNV sum, for which anybody who chooses label values can find another alert with the same one.
    """
    written = "".join(f"{len(name)}:{name}{len(value)}:{value}" for name, value in labels)
    return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()[:16]
