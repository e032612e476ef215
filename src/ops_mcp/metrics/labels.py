"""Label sets: sorted pairs, which hash, compare and order as Prometheus orders them."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name, no value empty. The metric's name is the label `__name__`."""

NAME = "__name__"
NO_LABELS: Labels = ()

_LONGEST_TOLD = 200
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def labels_of(pairs: Mapping[str, str] | Iterable[tuple[str, str]], *, name: str = "") -> Labels:
    """The label set of these pairs. An empty value is the same as no label."""
    given = dict(pairs)
    if name:
        given[NAME] = name
    return tuple(sorted((key, value) for key, value in given.items() if value))


def value_of(labels: Labels, name: str) -> str:
    """The value of one label, empty where there is none."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def without_name(labels: Labels) -> Labels:
    """The labels that are left when a value is no longer the metric that it was computed from."""
    if not labels:
        return labels
    if labels[0][0] == NAME:  # where it nearly always is: only names in capitals sort before it
        return labels[1:]
    return tuple(pair for pair in labels if pair[0] != NAME)


def keeping(labels: Labels, names: frozenset[str]) -> Labels:
    return tuple(pair for pair in labels if pair[0] in names)


def dropping(labels: Labels, names: frozenset[str]) -> Labels:
    return tuple(pair for pair in labels if pair[0] not in names)


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """`labels` with one label set, or left out where `value` is empty."""
    others = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*others, (name, value)])) if value else tuple(others)


def is_metric_name(text: str) -> bool:
    return _METRIC_NAME.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    return _LABEL_NAME.fullmatch(text) is not None


def quoted(value: str) -> str:
    """A label value as PromQL and the exposition format both write it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def written(labels: Labels) -> str:
    """As people and PromQL write it: `name{label="value"}`."""
    name = value_of(labels, NAME)
    inside = ", ".join(f"{key}={quoted(value)}" for key, value in labels if key != NAME)
    return f"{name}{{{inside}}}" if inside or not name else name


def told(labels: Labels) -> str:
    """The same for a message: values come from strangers, so it is without control characters and short."""
    text = "".join(char if char.isprintable() else " " for char in written(labels))
    return text if len(text) <= _LONGEST_TOLD else text[: _LONGEST_TOLD - 1] + "…"
