"""The metrics that ops-mcp itself records: names as Prometheus's conventions want them, units in the name, one help line each."""

from enum import StrEnum
from typing import NamedTuple

from ops_mcp.metrics.labels import NAME, Labels, value_of


class Kind(StrEnum):
    """What a metric's values are; `untyped` is what says nothing of itself."""

    counter = "counter"
    gauge = "gauge"
    histogram = "histogram"
    summary = "summary"
    untyped = "untyped"


class Unit(StrEnum):
    """In what a value is counted. A ratio is a share between 0 and 1."""

    ratio = "ratio"
    seconds = "seconds"
    bytes = "bytes"
    timestamp = "seconds since 1970"
    number = "number"


class Metric(NamedTuple):
    """`labels` are those that every series of the metric has."""

    name: str
    kind: Kind
    unit: Unit
    help: str
    labels: tuple[str, ...]


SERVICE = ("service", "environment")
_PROBE = (*SERVICE, "probe")
_HOST = ("host",)

RECORDED = (
    Metric("service_requests_total", Kind.counter, Unit.number, "Requests that the service answered.", (*SERVICE, "status")),
    Metric(
        "service_request_duration_seconds", Kind.histogram, Unit.seconds, "How long the service took for its requests.", SERVICE
    ),
    Metric("probe_success", Kind.gauge, Unit.number, "Whether the newest probe found what it expects: 1 or 0.", _PROBE),
    Metric("probe_duration_seconds", Kind.gauge, Unit.seconds, "How long the newest probe took.", _PROBE),
    Metric("probe_http_status_code", Kind.gauge, Unit.number, "The status that the newest probe was answered with.", _PROBE),
    Metric(
        "probe_certificate_expiry_timestamp_seconds",
        Kind.gauge,
        Unit.timestamp,
        "When the certificate that the newest probe was shown expires.",
        _PROBE,
    ),
    Metric(
        "process_cpu_ratio", Kind.gauge, Unit.ratio, "Processor time of the service, as a share of all of its host's.", SERVICE
    ),
    Metric("process_resident_memory_bytes", Kind.gauge, Unit.bytes, "Memory of the service that is in use.", SERVICE),
    Metric("process_open_files", Kind.gauge, Unit.number, "File descriptors that the service has open.", SERVICE),
    Metric("process_threads", Kind.gauge, Unit.number, "Threads of the service.", SERVICE),
    Metric("process_start_time_seconds", Kind.gauge, Unit.timestamp, "When the service's process was started.", SERVICE),
    Metric("host_cpu_ratio", Kind.gauge, Unit.ratio, "Processor time in use, as a share of all.", _HOST),
    Metric("host_load1", Kind.gauge, Unit.number, "Processes that ran or waited, averaged over a minute.", _HOST),
    Metric("host_memory_used_ratio", Kind.gauge, Unit.ratio, "Memory that is not available, as a share of all.", _HOST),
    Metric("host_memory_available_bytes", Kind.gauge, Unit.bytes, "Memory that could be given to processes.", _HOST),
    Metric("host_swap_used_ratio", Kind.gauge, Unit.ratio, "Swap in use, as a share of all.", _HOST),
    Metric("host_disk_used_ratio", Kind.gauge, Unit.ratio, "Disk space in use, as a share of all.", (*_HOST, "mountpoint")),
    Metric("host_disk_free_bytes", Kind.gauge, Unit.bytes, "Disk space that is free for writing.", (*_HOST, "mountpoint")),
    Metric("host_network_receive_bytes_total", Kind.counter, Unit.bytes, "Bytes received.", _HOST),
    Metric("host_network_transmit_bytes_total", Kind.counter, Unit.bytes, "Bytes sent.", _HOST),
)
"""Every metric that the host, the services' processes and the probes are recorded in."""

_BY_NAME = {metric.name: metric for metric in RECORDED}
_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def metric_of(labels: Labels) -> Metric | None:
    """The metric that a series of ours belongs to: a histogram's buckets, sum and count are the histogram's."""
    name = value_of(labels, NAME)
    if name in _BY_NAME:
        return _BY_NAME[name]
    for suffix in _OF_HISTOGRAMS:
        base = _BY_NAME.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if base is not None and base.kind is Kind.histogram:
            return base
    return None


def unit_of(name: str) -> Unit:
    """The unit that a metric's name tells by its ending, as the conventions want it."""
    base = name.removesuffix("_total")
    for ending, unit in (
        ("_timestamp_seconds", Unit.timestamp),
        ("_ratio", Unit.ratio),
        ("_seconds", Unit.seconds),
        ("_bytes", Unit.bytes),
    ):
        if base.endswith(ending):
            return unit
    return Unit.number
