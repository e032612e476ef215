"""What an agent may record: samples of its own, under names and labels that nobody else speaks with."""

from collections.abc import Mapping
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import Labels, is_label_name, is_metric_name, labels_of
from ops_mcp.metrics.names import metric_of

LONGEST_NAME, LONGEST_LABEL, LONGEST_VALUE, MOST_LABELS = 100, 60, 120, 8
OURS = ("host_", "probe_", "process_", "service_", "scrape_", "ops_mcp_")
"""How the names begin of what is recorded by ops-mcp itself."""

RESERVED = frozenset({"agent", "environment", "service", "host", "instance", "job", "le", "mountpoint", "probe", "quantile"})
"""Labels that say where a sample comes from, or are part of a histogram."""

_ALSO_OURS = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})


class Source(NamedTuple):
    """Who records, and of what."""

    agent: str
    environment: str
    service: str = ""


def recorded_labels(name: str, labels: Mapping[str, str], source: Source) -> Labels:
    """The labels of an agent's series. Raises `InvalidArguments` for a name or a label that is not the agent's to use."""
    if not is_metric_name(name) or len(name) > LONGEST_NAME or ":" in name:
        raise _wrong("name", f"A name is of letters, digits and `_`, begins with no digit, and has at most {LONGEST_NAME}.")
    if name.startswith(OURS) or name in _ALSO_OURS or metric_of(labels_of({}, name=name)) is not None:
        raise _wrong(
            "name", f"Names that begin with {', '.join(OURS)} are recorded by ops-mcp itself, and `up` too: take another."
        )
    if len(labels) > MOST_LABELS:
        raise _wrong("labels", f"At most {MOST_LABELS} labels.")
    for label, value in labels.items():
        _check(label, value)
    return labels_of({**labels, **source._asdict()}, name=name)


def _check(label: str, value: str) -> None:
    if not is_label_name(label) or len(label) > LONGEST_LABEL or label.startswith("__"):
        raise _wrong("labels", f"A label's name is of letters, digits and `_`, at most {LONGEST_LABEL}, and begins with no `__`.")
    if label in RESERVED:
        raise _wrong("labels", f"These labels are set by ops-mcp: {', '.join(sorted(RESERVED))}.")
    if not value or len(value) > LONGEST_VALUE or not value.isprintable():
        raise _wrong("labels", f"A label's value has 1 to {LONGEST_VALUE} printable characters.")


def _wrong(field: str, hint: str) -> InvalidArguments:
    return InvalidArguments(f"{field} cannot be recorded so.", hint=hint, details={"fields": [field]})
