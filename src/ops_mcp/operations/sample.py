"""Samples of the host, of each service's process and of the pages that services expose; and what old samples come to.

A series that was there in a round and is not in the next gets the marker of its end, as Prometheus gives it, so that nobody
takes its last value for its present one. After a restart of the worker that is told by the samples' age alone.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import anyio
from anyio import to_thread

from ops_mcp.domain.observations import Sample
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import Deployment
from ops_mcp.errors import OpsError, ProviderError
from ops_mcp.metrics.exposition import Bounds, Family, Page, parsed
from ops_mcp.metrics.labels import NAME, Labels, labels_of, value_of
from ops_mcp.metrics.names import metric_of
from ops_mcp.metrics.series import STALE
from ops_mcp.observing import Observation
from ops_mcp.operations.chores import Chore, paced
from ops_mcp.operations.host_samples import HostSamples
from ops_mcp.operations.parts import Parts, Redact
from ops_mcp.ports import Metrics
from ops_mcp.sources import scrape
from ops_mcp.store.deployments import all_serving
from ops_mcp.store.metrics.store import MetricStore

log = logging.getLogger(__name__)

MEASURE_SECONDS = 10.0
TIDY_EVERY = timedelta(minutes=10)
_AT_ONCE = 16
_LONG_PAGE = 32_768
_FROM_SERVICES = "service_"
"""Metrics of ours whose names begin so are what services tell of themselves; every other is measured by us alone."""

_MEASURED: Mapping[str, Callable[[float], tuple[str, float]]] = {
    "cpu_percent": lambda value: ("process_cpu_ratio", value / 100 / (os.cpu_count() or 1)),
    "memory_bytes": lambda value: ("process_resident_memory_bytes", value),
    "open_files": lambda value: ("process_open_files", value),
    "threads": lambda value: ("process_threads", value),
    "pids": lambda value: ("process_threads", value),  # what an engine counts so are threads
    "started_at": lambda value: ("process_start_time_seconds", value),
}
"""What places measure, as the metric that is recorded."""


class Scraped(Protocol):
    """A page that an operator named."""

    name: str
    table: scrape.Table

    @property
    def instance(self) -> str: ...

    async def fetched(self) -> bytes: ...


def sampling(parts: Parts, store: MetricStore, pages: Callable[[], Sequence[Scraped]]) -> tuple[Chore, ...]:
    """The rounds of one worker, each at its own pace, to be called every second."""
    every = timedelta(seconds=store.terms.every_seconds)
    host, services = HostRounds(parts, store, HostSamples()), _Services(parts, store)
    return (
        paced(host.round, every, parts.clock),
        paced(services.round, every, parts.clock),
        Scraping(parts, store, pages).run,
        paced(store.tidy, TIDY_EVERY, parts.clock),
    )


@dataclass(slots=True)
class Ending:
    """What was there in the round before, to mark what is no more; and what kept it from being read, to say that once."""

    there: frozenset[Labels] = frozenset()
    trouble: str = ""

    def with_markers(self, samples: Sequence[Observation], at_ms: int) -> list[Observation]:
        """These samples, and a marker for each series of the round before that has none."""
        now = frozenset(sample.labels for sample in samples)
        gone, self.there = self.there - now, now
        return [*samples, *(Observation(labels, at_ms, STALE) for labels in sorted(gone))]

    async def kept(
        self, store: MetricStore, samples: Sequence[Observation], at_ms: int, also: Sequence[Observation] = ()
    ) -> None:
        """Store these samples with their markers, and others without. Ends that could not be stored are marked the next time."""
        before = self.there
        try:
            await store.keep([*also, *self.with_markers(samples, at_ms)])
        except BaseException:
            self.there |= before
            raise


class HostRounds:
    """The host, as far as it answers."""

    def __init__(self, parts: Parts, store: MetricStore, samples: HostSamples) -> None:
        self._parts, self._store = parts, store
        self._samples, self._ending = samples, Ending()
        self._hangs = False

    async def round(self) -> None:
        at = milliseconds(self._parts.clock())
        samples: Sequence[Observation] | None = None
        if not self._hangs:  # a disk that hangs takes one thread, and not another with each round
            with anyio.move_on_after(MEASURE_SECONDS):
                samples = await to_thread.run_sync(self._taken, at, abandon_on_cancel=True)
        if samples is None:
            log.warning("this host cannot be measured: a disk of it, or another device, does not answer")
        else:
            await self._ending.kept(self._store, samples, at)

    def _taken(self, at_ms: int) -> Sequence[Observation]:
        self._hangs = True
        try:
            return self._samples.taken(at_ms)
        finally:
            self._hangs = False


class _Services:
    """The processes of whatever serves at a place that measures them."""

    def __init__(self, parts: Parts, store: MetricStore) -> None:
        self._parts, self._store = parts, store
        self._ending = Ending()
        self._troubles: dict[str, str] = {}
        self._said: dict[str, str] = {}

    async def round(self) -> None:
        found: list[Observation] = []
        self._said, self._troubles = self._troubles, {}
        room = anyio.Semaphore(_AT_ONCE)

        async def one(deployment: Deployment) -> None:
            async with room:
                found.extend(await self._measured(deployment))

        async with anyio.create_task_group() as group:
            for deployment in await all_serving(self._parts.database):
                group.start_soon(one, deployment)
        await self._ending.kept(self._store, found, milliseconds(self._parts.clock()))

    async def _measured(self, deployment: Deployment) -> list[Observation]:
        """Nothing where the place cannot tell: what is not known has no value."""
        try:
            provider = self._parts.provider(deployment.release)
            if not isinstance(provider, Metrics):
                return []
            with anyio.fail_after(MEASURE_SECONDS):
                samples = await provider.measure(deployment.placement)
        except (OpsError, TimeoutError) as error:
            trouble = self._troubles[deployment.id] = str(error) or f"no answer in {MEASURE_SECONDS:g} s"
            if self._said.get(deployment.id) != trouble:  # once, and not every round
                log.info("%s in %s cannot be measured: %s", deployment.service, deployment.environment, trouble)
            return []
        except Exception:  # one mistake of ours must not end the measuring of everything else
            log.exception("%s in %s cannot be measured", deployment.service, deployment.environment)
            return []
        return of_process(deployment, samples)


def of_process(deployment: Deployment, samples: Sequence[Sample]) -> list[Observation]:
    """What a place measured of a deployment, as samples of ours; what we have no metric for is left out."""
    target = {"service": deployment.service, "environment": deployment.environment}
    found: list[Observation] = []
    for sample in samples:
        if (as_metric := _MEASURED.get(sample.name)) is not None:
            name, value = as_metric(sample.value)
            found.append(Observation(labels_of(target, name=name), milliseconds(sample.at), value))
    return found


@dataclass(slots=True)
class _Target:
    """One page between two fetches."""

    page: Scraped
    due: datetime | None = None
    busy: bool = False
    ending: Ending = field(default_factory=Ending)

    @property
    def every(self) -> timedelta:
        return timedelta(seconds=self.page.table.interval_seconds)

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be fetched now. A moment further off than any wait means that the clock was set back."""
        return self.due is None or now >= self.due or self.due - now > self.every


class Scraping:
    """Fetches every page when it is due; one that is slow holds up no other."""

    def __init__(self, parts: Parts, store: MetricStore, pages: Callable[[], Sequence[Scraped]]) -> None:
        self._parts, self._store = parts, store
        self._pages = pages

    async def run(self) -> None:
        """Until this worker is told to let go."""
        targets = [_Target(page) for page in self._pages()]
        async with anyio.create_task_group() as group:
            while not self._parts.reins.pulled:
                for target in targets:
                    now = self._parts.clock()
                    if not target.busy and target.is_due(now):
                        target.busy = True
                        target.due = now + target.every
                        group.start_soon(self._scrape, target)
                await self._parts.sleep(0.5)
            group.cancel_scope.cancel()

    async def _scrape(self, target: _Target) -> None:
        try:
            await scraped(target.page, target.ending, self._store, self._parts.clock, self._parts.redact)
        except OpsError as error:
            log.warning("samples of %s are not kept: %s", target.page.name, error.message)
        except Exception:  # one mistake of ours must not end the fetching of every other page
            log.exception("samples of %s are not kept", target.page.name)
        finally:
            target.busy = False


async def scraped(page: Scraped, ending: Ending, store: MetricStore, clock: Callable[[], datetime], redact: Redact) -> None:
    """Fetch one page and keep what it says, with how the fetching went."""
    table, began, at = page.table, anyio.current_time(), milliseconds(clock())
    target = {"service": table.service, "environment": table.environment, "instance": page.instance, "agent": ""}
    read, left_out = Page(()), 0
    up, trouble = 1.0, ""
    try:
        read = await _read(await page.fetched(), target, Bounds(page=table.most_bytes, series=table.most_series), redact)
    except OpsError as error:
        up, trouble = 0.0, error.message
    if trouble != ending.trouble:
        log.info("%s", trouble or f"{page.name} is fetched again")
        ending.trouble = trouble
    samples = [one for one in read.samples if not _is_ours(one.labels)]
    left_out = read.left_out + len(read.samples) - len(samples)
    own = {
        "up": up,
        "scrape_duration_seconds": anyio.current_time() - began,
        "scrape_samples_scraped": float(len(samples)),
        "scrape_samples_left_out": float(left_out),
    }
    # Those with a time of their own are not marked when they end, as in Prometheus: they say themselves how old they are.
    timed = [Observation(one.labels, one.at_ms, one.value) for one in samples if one.at_ms is not None]
    untimed = [Observation(one.labels, at, one.value) for one in samples if one.at_ms is None]
    told = [Observation(labels_of(target, name=name), at, value) for name, value in own.items()]
    await ending.kept(store, untimed, at, also=[*told, *timed])
    if read.families:
        await store.describe(EnvironmentName(table.environment), _described(read.families))


async def _read(body: bytes, target: Mapping[str, str], bounds: Bounds, redact: Redact) -> Page:
    """Without secrets: the whole page is looked through for them before it is read."""

    def read() -> Page:
        text = body.decode(errors="replace")
        clean = redact(text)
        return parsed(body if clean == text else clean.encode(), target=target, bounds=bounds)

    if len(body) > bounds.page:
        raise ProviderError(f"The page is longer than {bounds.page:,} bytes.")
    return await to_thread.run_sync(read, abandon_on_cancel=True) if len(body) > _LONG_PAGE else read()


def _is_ours(labels: Labels) -> bool:
    """Whether it has the name of what we measure or tell ourselves: nobody's page may speak for us."""
    name = value_of(labels, NAME)
    metric = metric_of(labels)
    return name == "up" or name.startswith("scrape_") or (metric is not None and not metric.name.startswith(_FROM_SERVICES))


def _described(families: Iterable[Family]) -> list[Family]:
    return [one for one in families if metric_of(labels_of({}, name=one.name)) is None]


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
