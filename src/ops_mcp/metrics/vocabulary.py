"""The words of conditions: what each means in PromQL, in which unit it is compared, and what it is called in an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.metrics.names import SERVICE, Unit, unit_of


class Measure(StrEnum):
    """In what a word is compared."""

    share = "share"
    seconds = "time"
    bytes = "size"
    per_second = "rate"
    number = "number"


class About(StrEnum):
    """What a word tells of, which decides by which labels two words can be joined."""

    service = "service"
    host = "host"

    @property
    def labels(self) -> tuple[str, ...]:
        return SERVICE if self is About.service else ("host",)


class Place(NamedTuple):
    """Where and over how long to look: matchers as PromQL writes them, without braces, and a window such as `5m`."""

    matchers: str
    window: str

    def select(self, metric: str, *more: str) -> str:
        inside = ",".join(part for part in (self.matchers, *more) if part)
        return f"{metric}{{{inside}}}" if inside else metric

    def over(self, metric: str, *more: str) -> str:
        return f"{self.select(metric, *more)}[{self.window}]"


@dataclass(frozen=True, slots=True)
class Word:
    """One word. Which functions apply to it is said by the metric it has as a gauge, a histogram or a counter."""

    name: str
    measure: Measure
    about: About
    means: str
    expression: Callable[[Place], str]
    gauge: str = ""
    histogram: str = ""
    counter: str = ""


BY_SERVICE = "by (service, environment)"


def _error_rate(place: Place) -> str:
    """Zero where there are requests and no errors; nothing where there are no requests."""
    failed = f"sum {BY_SERVICE} (rate({place.over('service_requests_total', _FAILED)}))"
    every = f"sum {BY_SERVICE} (rate({place.over('service_requests_total')}))"
    return f"({failed} or 0 * {every}) / {every}"


def _average_latency(place: Place) -> str:
    seconds = f"sum {BY_SERVICE} (rate({place.over('service_request_duration_seconds_sum')}))"
    requests = f"sum {BY_SERVICE} (rate({place.over('service_request_duration_seconds_count')}))"
    return f"{seconds} / {requests}"


def _gauge(name: str, measure: Measure, about: About, metric: str, means: str) -> Word:
    return Word(name, measure, about, means, lambda place: place.select(metric), gauge=metric)


_FAILED = 'status=~"5.."'

_ALL: tuple[Word, ...] = (
    Word("error_rate", Measure.share, About.service, "the share of requests answered with 5xx", _error_rate),
    Word(
        "latency",
        Measure.seconds,
        About.service,
        "how long requests take on average",
        _average_latency,
        histogram="service_request_duration_seconds",
    ),
    Word(
        "throughput",
        Measure.per_second,
        About.service,
        "requests answered per second",
        lambda place: f"sum {BY_SERVICE} (rate({place.over('service_requests_total')}))",
    ),
    Word(
        "availability",
        Measure.share,
        About.service,
        "the share of probes that succeed",
        lambda place: f"avg {BY_SERVICE} (avg_over_time({place.over('probe_success')}))",
    ),
    _gauge("up", Measure.number, About.service, "probe_success", "whether the newest probe succeeded, 1 or 0"),
    _gauge("probe_latency", Measure.seconds, About.service, "probe_duration_seconds", "how long the newest probe took"),
    Word(
        "certificate",
        Measure.seconds,
        About.service,
        "how long the certificate is still valid",
        lambda place: f"{place.select('probe_certificate_expiry_timestamp_seconds')} - time()",
    ),
    _gauge("cpu", Measure.share, About.service, "process_cpu_ratio", "the service's share of its host's processors"),
    _gauge("memory", Measure.bytes, About.service, "process_resident_memory_bytes", "the memory that the service uses"),
    _gauge("open_files", Measure.number, About.service, "process_open_files", "file descriptors that the service has open"),
    _gauge("threads", Measure.number, About.service, "process_threads", "threads of the service"),
    Word(
        "restarts",
        Measure.number,
        About.service,
        "how often the service's process was started anew",
        lambda place: f"changes({place.over('process_start_time_seconds')})",
    ),
    Word(
        "uptime",
        Measure.seconds,
        About.service,
        "how long the service's process has been running",
        lambda place: f"time() - {place.select('process_start_time_seconds')}",
    ),
    _gauge("host_cpu", Measure.share, About.host, "host_cpu_ratio", "the share of the host's processors in use"),
    _gauge("host_load", Measure.number, About.host, "host_load1", "processes that run or wait on the host"),
    _gauge("host_memory", Measure.share, About.host, "host_memory_used_ratio", "the share of the host's memory in use"),
    _gauge("host_swap", Measure.share, About.host, "host_swap_used_ratio", "the share of the host's swap in use"),
    _gauge("host_disk", Measure.share, About.host, "host_disk_used_ratio", "the share of the host's disk in use"),
)

WORDS: dict[str, Word] = {word.name: word for word in _ALL}

_MEASURES = {
    Unit.ratio: Measure.share,
    Unit.seconds: Measure.seconds,
    Unit.bytes: Measure.bytes,
    Unit.timestamp: Measure.seconds,
    Unit.number: Measure.number,
}


def recorded_word(name: str) -> Word:
    """A recorded metric as a word; its unit, and whether it counts, are told by its name's ending."""
    means = f"the recorded metric {name}"
    kind = {"counter": name} if name.endswith("_total") else {"gauge": name}
    return Word(name, _MEASURES[unit_of(name)], About.service, means, lambda place: place.select(name), **kind)
