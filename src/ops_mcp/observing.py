"""The Protocols of what is seen and told: logs, metrics, health, load, alerts, and the ways to tell a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from ops_mcp.domain.inventory import HealthState
from ops_mcp.domain.notices import Button, NoticeBook
from ops_mcp.domain.observations import Severity
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Placement
from ops_mcp.task_book import TaskBook
from ops_mcp.values import JsonObject, Value

if TYPE_CHECKING:  # a server that only deploys must start fast: these rooms are loaded by what uses them
    from ops_mcp.alerting.lives import Life, LifeEvent, Standing
    from ops_mcp.alerting.muting import Silence
    from ops_mcp.governance.load import Load
    from ops_mcp.governance.pacing import ChannelTerms
    from ops_mcp.logs.anomalies import History
    from ops_mcp.logs.records import LogRecord
    from ops_mcp.logs.templates import Template
    from ops_mcp.metrics.labels import Labels
    from ops_mcp.metrics.names import Kind
    from ops_mcp.metrics.query import Query, Selection
    from ops_mcp.metrics.series import Answer, Matrix, Series


EMBEDDED = "embedded"
"""The name of our own store among the sources of logs and metrics."""


class LogSearch(Value):
    """Which records are wanted: of `since <= time < until`, that hold `text` in any case, match `pattern`, are at least as bad as
    `severity`, and whose `fields` are these. `service` None is every service of the environment."""

    environment: EnvironmentName
    service: ServiceName | None = None
    deployment: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    pattern: str | None = None
    severity: Severity | None = None
    fields: dict[str, str] = {}
    oldest_first: bool = False
    limit: int = Field(default=50, ge=1, le=10_000)
    cursor: str | None = None


class LogsMatched(NamedTuple):
    """`matched` counts all that match, the shown ones among them; it is a lower bound where `counted` is False, because the
    search came to its own limits of time or size first. `next_cursor` goes on in the same order."""

    records: tuple[LogRecord, ...]
    matched: int
    counted: bool
    next_cursor: str | None = None


class LogSource(Protocol):
    """A place that keeps log records. May raise `OpsError`s only; cancelling a search stops it."""

    name: str

    async def search(self, wanted: LogSearch) -> LogsMatched: ...


class TemplateCount(NamedTuple):
    """Lines of one template at one severity in a stretch of time."""

    template: Template
    severity: Severity
    lines: int
    first: datetime
    last: datetime


class LogBook(Protocol):
    """All logs that this installation can see, one embedded store and whatever sources the operator named."""

    async def search(self, wanted: LogSearch, *, source: str | None = None) -> LogsMatched:
        """Search one source by its name; without one, the operator's for that environment, else the embedded store."""
        ...

    async def templates(
        self, environment: EnvironmentName, service: ServiceName | None, since: datetime, until: datetime
    ) -> Sequence[TemplateCount]:
        """Templates of a stretch of time with their counts, the most frequent first."""
        ...

    async def windows(
        self, environment: EnvironmentName, service: ServiceName | None, *windows: tuple[datetime, datetime]
    ) -> Sequence[Sequence[TemplateCount]]:
        """The same for some stretches of time, all named as one miner knows them, so that they can be compared."""
        ...

    async def history(self, environment: EnvironmentName, service: ServiceName, *, until: datetime) -> History:
        """Counts per bucket up to `until`, for anomalies."""
        ...

    def answering(self, wanted: LogSearch) -> str:
        """The name of the source that a search without one goes to."""
        ...


class TailedLine(NamedTuple):
    """One complete line as its place has it. `at` is when the place received it, where it says so."""

    text: str
    at: datetime | None = None
    origin: str = ""


class Tailed(NamedTuple):
    """Lines after a position, oldest first, and the position after them. `more` says that others wait already.

    `ended` says that this deployment will write no more.
    """

    lines: tuple[TailedLine, ...]
    position: str
    more: bool = False
    ended: bool = False


@runtime_checkable
class Tails(Protocol):
    """A provider whose logs can be collected."""

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        """Complete lines after `position` (empty: from the oldest that is kept). The same position always goes on with the same
        line, rotation included: storing lines and position in one transaction neither loses nor doubles one. A position whose
        lines are gone goes on with the oldest that are kept, and says so in a first line of ours."""
        ...


class Observation(NamedTuple):
    """One sample to keep: the series' labels with `__name__`, milliseconds since 1970, and the value."""

    labels: Labels
    at_ms: int
    value: float


class Listing(NamedTuple):
    """One metric that is there: `labels` maps each label's name to how many values it has, `newest_ms` is its newest sample."""

    name: str
    kind: Kind
    unit: str
    help: str
    series: int
    labels: Mapping[str, int]
    newest_ms: int


class Ranged(NamedTuple):
    """A range's answer; `note` says what was downsampled or left out, if anything was."""

    matrix: Matrix
    note: str = ""


class MetricSource(Protocol):
    """A place that answers PromQL. Sees only series of that environment, and those of hosts."""

    name: str

    async def instant(self, query: str, environment: EnvironmentName, at: datetime) -> Answer: ...

    async def ranged(
        self, query: str, environment: EnvironmentName, *, start: datetime, end: datetime, step_seconds: float
    ) -> Ranged: ...

    async def listed(self, environment: EnvironmentName, *, match: str = "", limit: int = 100) -> Sequence[Listing]: ...


class MetricBook(Protocol):
    """All metrics that this installation can see: the embedded store, and an outside Prometheus where the operator named one."""

    def source(self, environment: EnvironmentName) -> MetricSource:
        """What answers for this environment."""
        ...

    def compiled(self, query: str) -> Query:
        """The query for the embedded store, remembered. Raises `InvalidArguments` naming what is not supported."""
        ...

    async def keep(self, samples: Sequence[Observation]) -> int:
        """Store samples in the embedded store; durable when this returns. How many were left out: older than what is kept, or of
        series beyond the bound. A second sample of one series and moment replaces the first."""
        ...

    async def held(self, environment: EnvironmentName, wanted: Sequence[Selection]) -> Sequence[Series]:
        """The embedded store's series that any of these selections reads, with at least the samples that it reads."""
        ...


class ProbeState(Value):
    """One probe of a service: how it stands, since when, and what it last found, in our own words."""

    name: str
    kind: str
    state: HealthState
    since: datetime | None = None
    checked_at: datetime | None = None
    latency_ms: float | None = None
    evidence: str = ""
    failures: int = 0
    flapping: bool = False


class ServiceHealth(Value):
    """One thing of the inventory in one environment. `explained_by` names the dependency whose trouble explains this one's.

    `expected` is the state that the operator wants, `availability` the share of good probes in the last 24 hours.
    """

    service: ServiceName
    environment: EnvironmentName
    state: HealthState
    expected: Literal["running", "stopped"] = "running"
    since: datetime | None = None
    flapping: bool = False
    evidence: str = ""
    depends_on: tuple[str, ...] = ()
    explained_by: str = ""
    last_change: str = ""
    availability: float | None = None
    probes: tuple[ProbeState, ...] = ()


class HealthBook(Protocol):
    """The inventory and its state, as last stored."""

    async def of(self, environments: Sequence[EnvironmentName], service: ServiceName | None = None) -> Sequence[ServiceHealth]:
        """Every service of these environments, the worst first."""
        ...

    async def standstill(self) -> str:
        """Why nothing is probed, evaluated or collected although something should be; empty while a worker is at work."""
        ...


class LoadBook(Protocol):
    """The load guard's levels."""

    async def of(self, environment: EnvironmentName | None, service: ServiceName | None) -> Load:
        """The level of the host where this service runs; `not_applicable` for a hosted place. Without a service, this host's."""
        ...


class AlertsWanted(NamedTuple):
    """Which alerts of these environments: the open ones, the most severe first, or those that ended, the newest first.

    `severity` None is all; else those at least as bad as that rank, 0 being the worst.
    """

    environments: tuple[EnvironmentName, ...]
    service: ServiceName | None = None
    severity: int | None = None
    ended: bool = False
    limit: int = 50


class AlertsFound(NamedTuple):
    """`matched` counts all that match, the shown ones among them."""

    alerts: Sequence[Life]
    matched: int


class RulesWanted(NamedTuple):
    """Which alert rules."""

    environments: tuple[EnvironmentName, ...]
    service: str | None = None
    name: str | None = None
    limit: int = 50


class RulesFound(NamedTuple):
    """`matched` counts all that are wanted, the shown ones among them."""

    rules: Sequence[Standing]
    matched: int


class AlertBook(Protocol):
    """Alert rules with where they stand, and alerts, as last stored."""

    async def rules(self, wanted: RulesWanted) -> RulesFound:
        """Rules of these environments, those that fire first."""
        ...

    async def alerts(self, wanted: AlertsWanted) -> AlertsFound: ...

    async def alert(self, id: str) -> Life | None: ...

    async def history(self, id: str, *, limit: int = 50) -> Sequence[LifeEvent]:
        """The newest events of one alert, oldest first."""
        ...

    async def silences(self, environments: Sequence[EnvironmentName]) -> Sequence[Silence]:
        """Those that are not over."""
        ...

    async def silence(self, id: str) -> Silence | None: ...


class Notice(Value):
    """A message to people, as a channel is to send it. `thread` keeps messages about one thing together, in order.

    `text` is ours; what comes from strangers is in `untrusted`, and a channel quotes it so that it can mention nobody and link
    nowhere. `body` is the machine-readable whole, for webhooks. `emoji` and `color` (`#rrggbb`) override the look of severity.
    `buttons` are shown where a channel has any. `replaces` is the outside's name of the message that this one is to stand in for,
    where the channel can change messages. `parent`, filled in at the delivery, is the outside's name of the first message of the
    thread. `mentions` are the outside's ids of people whom the operator wants called.
    """

    id: str
    channel: str
    thread: str
    severity: str
    title: str
    text: str
    untrusted: str = ""
    body: JsonObject = {}
    at: datetime
    emoji: str = ""
    color: str = ""
    buttons: tuple[Button, ...] = ()
    replaces: str = ""
    parent: str = ""
    mentions: tuple[str, ...] = ()


class Channel(Protocol):
    """A way to tell a person. Named by the operator; agents never give addresses."""

    kind: str

    async def send(self, notice: Notice) -> str:
        """Deliver it; the outside's own name for it, or empty. Raises `OpsError`: `retryable` where sending again cannot deliver
        it twice or the outside tells them apart by the notice's id, else what happened is unknown."""
        ...


@runtime_checkable
class Ready(Protocol):
    """A channel that can be looked at without telling anybody."""

    async def ready(self) -> str:
        """What it leads to, in a few words for `doctor`. Raises `OpsError`s for what would keep a notice from leaving."""
        ...


@runtime_checkable
class Reconciles(Protocol):
    """A channel whose other end can be asked whether a notice has arrived."""

    async def find(self, notice: Notice) -> str | None:
        """The outside's own name for this notice, None where it certainly has not arrived. Raises `OpsError` where that cannot
        be known."""
        ...


class Way(NamedTuple):
    """A channel and how to treat it: whether its other end tells repeats by the notice's id, how many are sent to it at once,
    how many seconds lie between two, and what the operator says of it."""

    channel: Channel
    knows_repeats: bool = False
    at_once: int = 4
    gap_seconds: float = 0.0
    terms: ChannelTerms | None = None


class Sights(NamedTuple):
    """Everything that can be looked at besides our own records."""

    logs: LogBook
    metrics: MetricBook
    health: HealthBook
    load: LoadBook
    alerts: AlertBook
    tasks: TaskBook
    notices: NoticeBook
