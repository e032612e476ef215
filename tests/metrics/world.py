"""Forty minutes of samples with everything that makes numbers differ: resets, gaps, ends, jitter, NaN, infinities, odd names."""

import math
import random
from collections.abc import Callable

from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.series import STALE, Series

START = 1_700_000_000_000  # not on a full minute, so that aligned steps and samples differ
END = START + 40 * 60_000
INTERVAL = 15_000

Value = Callable[[random.Random, int], float]


def world() -> list[Series]:
    """The same series every time."""
    rng = random.Random(20_231_114)
    return sorted(
        [
            *_counters(rng, "requests_total"),
            *_counters(rng, "errors_total"),
            *_gauges(rng),
            *_histograms(rng),
            *_odd_ones(rng),
        ]
    )


def _counters(rng: random.Random, name: str) -> list[Series]:
    found: list[Series] = []
    for service in ("api", "web", "jobs"):
        for instance in ("i1", "i2"):
            for status in ("200", "404", "500"):
                labels = {"service": service, "instance": instance, "status": status}
                times = _times(rng, jitter=service != "web")
                found.append(_ended(Series(labels_of(labels, name=name), times, _counted(rng, len(times))), rng))
    return found


def _counted(rng: random.Random, count: int) -> list[float]:
    """Rising, and starting again now and then; one in three starts at zero, so that extrapolation meets it."""
    value = float(rng.choice([0, 0, rng.randrange(10_000), rng.randrange(10**9)]))
    pace = rng.choice([0, 1, 20, 0.5])
    found: list[float] = []
    for _ in range(count):
        found.append(value)
        value = float(rng.randrange(3)) if rng.random() < 0.03 else value + pace * rng.randrange(5)
    return found


def _gauges(rng: random.Random) -> list[Series]:
    found: list[Series] = []
    for zone in ("north", "south"):
        for host in ("h1", "h2", "h3"):
            times = _times(rng)
            labels = labels_of({"zone": zone, "host": host}, name="temperature")
            found.append(_ended(Series(labels, times, [rng.uniform(-40, 120) for _ in times]), rng))
            labels = labels_of({"zone": zone, "host": host}, name="whole")
            found.append(Series(labels, times, [float(rng.randrange(-3, 9)) for _ in times]))
    for service in ("api", "web", "jobs"):
        times = _times(rng)
        found.append(Series(labels_of({"service": service}, name="limit"), times, [float(len(service) * 10)] * len(times)))
        version = labels_of({"service": service, "version": f"v{len(service)}", "instance": "info"}, name="build_info")
        found.append(Series(version, times, [1.0] * len(times)))
        found.append(Series(labels_of({"service": service}, name="up"), times, [float(rng.random() < 0.8) for _ in times]))
    return found


def _histograms(rng: random.Random) -> list[Series]:
    found: list[Series] = []
    bounds = {
        "api": ("0.1", "0.5", "1", "2.5", "+Inf"),
        "web": ("-1", "0", "1", "+Inf"),
        "jobs": ("0.1", "1"),  # without infinity
        "lone": ("+Inf",),
        "twice": ("1", "1.0", "+Inf"),  # the same bound in two writings
        "strange": ("wide", "0.5", "+Inf"),
        "uneven": ("0.1", "0.5", "1", "+Inf"),
    }
    for service, written in bounds.items():
        times = _times(rng)
        counts = [0.0] * len(written)
        rows: list[list[float]] = []
        for _ in times:
            for index in range(rng.randrange(len(written)), len(written)):
                counts[index] += rng.randrange(1, 4)
            rows.append([max(0.0, count - rng.randrange(3) * (service == "uneven")) for count in counts])
        for index, bound in enumerate(written):
            labels = labels_of({"service": service, "le": bound}, name="latency_seconds_bucket")
            found.append(Series(labels, times, [row[index] for row in rows]))
    return found


def _odd_ones(rng: random.Random) -> list[Series]:
    times = _times(rng)
    strange = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.5]
    found = [
        Series(labels_of({"kind": f"k{number}"}, name="strange"), times, [rng.choice(strange) for _ in times])
        for number in range(4)
    ]
    found.append(Series(labels_of({}, name="solo"), times, [rng.uniform(0, 10) for _ in times]))
    found.append(Series(labels_of({"A": "1", "Zone": "before the name"}, name="capitals"), times, [2.0] * len(times)))
    found.append(Series(labels_of({"q": 'a"b\\c\nd', "r": "größe"}, name="quoted"), times, [3.0] * len(times)))
    sparse = list(range(START, END, 4 * 60_000))
    found.append(Series(labels_of({"gap": "four"}, name="sparse"), sparse, [float(n) for n in range(len(sparse))]))
    rare = list(range(START, END, 11 * 60_000))
    found.append(Series(labels_of({"gap": "eleven"}, name="sparse"), rare, [float(n * n) for n in range(len(rare))]))
    found.append(Series(labels_of({"gap": "once"}, name="sparse"), [START + 600_000], [7.0]))
    return found


def _times(rng: random.Random, *, jitter: bool = False) -> list[int]:
    """Every interval, a little off it with jitter, with gaps of single samples and one longer one."""
    gap = rng.randrange(30, 100)
    found: list[int] = []
    for index, at in enumerate(range(START, END, INTERVAL)):
        if gap <= index < gap + rng.randrange(1, 25) or rng.random() < 0.03:
            continue
        found.append(at + (rng.randrange(-2_000, 2_000) if jitter and index else 0))
    return found


def _ended(series: Series, rng: random.Random) -> Series:
    """The same with the marker of an end at one or two places, after which samples go on."""
    values = list(series.values)
    for _ in range(rng.randrange(3)):
        values[rng.randrange(len(values))] = STALE
    return Series(series.labels, series.times, values)
