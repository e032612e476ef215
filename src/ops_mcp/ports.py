"""The Protocols that the inside needs and the outside satisfies. A capability that a place lacks is absent, not pretended."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from ops_mcp.config import Config
from ops_mcp.deploying.plans import Place, current_of
from ops_mcp.domain.calls import Approval, Call, Verdict
from ops_mcp.domain.identity import Caller
from ops_mcp.domain.observations import LogLine, LogQuery, Sample, Variable
from ops_mcp.domain.places import Binding, CommandProbe, EnvironmentName, ServiceName
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentId,
    DeploymentState,
    Observed,
    Placement,
    ProbeResult,
    Provision,
    SetVariable,
    StepRecord,
    Usage,
)
from ops_mcp.errors import OpsError
from ops_mcp.observing import Sights
from ops_mcp.values import JsonObject, Secret, Value

Item = TypeVar("Item")

Clock = Callable[[], datetime]
"""The present moment, aware, in UTC."""

NewId = Callable[[str], str]
"""`new_id("dep")` → an unguessable, time-sortable id with that prefix."""

ReadSecret = Callable[[str], Secret]
"""The value behind a secret's reference. Raises `NotConfigured` naming the reference."""

Sleep = Callable[[float], Awaitable[None]]
"""Wait that many seconds; a test's clock lets them pass at once."""

Progress = Callable[[float, float | None, str], Awaitable[None]]
"""Report progress to the waiting client: done, total, message. Never raises; a no-op where nobody listens."""


class Tell(Protocol):
    async def __call__(self, doing: str, *, handle: str = "") -> None:
        """Say what is being done now, for the journal and for whoever waits; or, as soon as it is known, the place's own name
        (`handle`) for what it makes, which is stored at once. Raises `LeaseLost` when this worker must not go on."""
        ...


class Provider(Protocol):
    """A place where services run. Every method is idempotent for one deployment id and may raise `OpsError`s only."""

    kind: str

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        """Turn what the caller named into exact content. Reads only; runs nothing that the content brings."""
        ...

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        """Build if needed and start the release under this deployment's id, ending what `replaces` ran.

        Repeating it for the same id finishes what is unfinished and starts nothing twice. Returns once the release is up
        (its process started, the hosted build ready and live); health is judged by the caller.
        """
        ...

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        """Put the release of `restores` back under `placement`'s id (the same one when an undo restores it), from what was kept;
        never builds."""
        ...

    async def status(self, placement: Placement) -> Observed:
        """Look at what is really there for this deployment."""
        ...

    async def stop(self, placement: Placement) -> Observed:
        """End what this deployment runs: TERM, grace, KILL. Already gone is fine."""
        ...


@runtime_checkable
class Restarts(Protocol):
    async def restart(self, placement: Placement) -> Observed:
        """End and start the same release again under the same deployment id."""
        ...


@runtime_checkable
class Promotes(Protocol):
    async def promote(self, placement: Placement, *, origin: Placement, replaces: Placement | None, tell: Tell) -> Observed:
        """Put in place what `origin` runs in another environment of this same kind of place, without building it again where
        that is possible. Otherwise like `deploy`."""
        ...


@runtime_checkable
class Scales(Protocol):
    async def scale(self, placement: Placement, *, restores: Placement, tell: Tell) -> Observed:
        """Bring what `restores` runs to `placement.release.replicas`; it goes on under `placement`'s id."""
        ...


@runtime_checkable
class RunsCommands(Protocol):
    async def probe_command(self, placement: Placement, probe: CommandProbe) -> ProbeResult:
        """Run a command probe as isolated as the service itself."""
        ...


@runtime_checkable
class Logs(Protocol):
    async def logs(self, placement: Placement, query: LogQuery) -> "Page[LogLine]":
        """Lines of this deployment that match, newest first; a stranger's text, unredacted. A cursor goes on with older ones."""
        ...


@runtime_checkable
class Metrics(Protocol):
    async def measure(self, placement: Placement) -> Sequence[Sample]:
        """What the place measures of this deployment now."""
        ...


@runtime_checkable
class Variables(Protocol):
    async def variables(self, binding: Binding) -> Sequence[Variable]:
        """The service's variables as the place keeps them; a value that the place does not tell is None."""
        ...

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        """Set it, without releasing anything. Doing it again changes nothing."""
        ...


@runtime_checkable
class Provisions(Protocol):
    async def provision(self, binding: Binding, wanted: Provision, *, handle: str = "", tell: Tell) -> Observed:
        """Make it beside the bound service, in its project and environment; one of that name that exists already will do.

        `handle` is what `tell` was given by an earlier attempt of the same deployment: what it began is followed.
        """
        ...


@runtime_checkable
class Reaches(Protocol):
    async def reach(self, binding: Binding) -> str:
        """Ask the place whether this binding's credential opens what it names; a few words on what that is, for `doctor`."""
        ...


@runtime_checkable
class OnHosts(Protocol):
    def runs_here(self, binding: Binding) -> bool:
        """Whether this service runs on the worker's own host, whose load then concerns it. Looks at nothing outside."""
        ...


@runtime_checkable
class Closes(Protocol):
    async def aclose(self) -> None:
        """Let go of connections when the process ends."""
        ...


class Deployments(Protocol):
    """The stored history of deployments, read-only."""

    async def get(self, deployment: DeploymentId) -> Deployment | None: ...

    async def serving(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        """What runs now, as last recorded; None when nothing does."""
        ...

    async def last_healthy(
        self, service: ServiceName, environment: EnvironmentName, *, other_than: DeploymentId | None
    ) -> Deployment | None:
        """The newest deployment whose release was verified healthy with no later verdict against it, and whose release
        differs from that of `other_than`."""
        ...

    async def running(self, service: ServiceName, environment: EnvironmentName) -> Deployment | None:
        """The deployment that holds the place's lock: not final, and not yet past verify."""
        ...

    async def page(self, query: "DeploymentQuery") -> "Page[Deployment]": ...


class Journal(Protocol):
    """What was recorded of a deployment's steps, read-only."""

    async def steps(self, deployment: DeploymentId) -> Sequence[StepRecord]:
        """Oldest first."""
        ...


class DeploymentQuery(NamedTuple):
    """Newest first. `visible` is the closed set of environments the caller may read; `serving` asks only for what serves now."""

    visible: tuple[EnvironmentName, ...]
    service: ServiceName | None = None
    environment: EnvironmentName | None = None
    state: DeploymentState | None = None
    serving: bool = False
    since: datetime | None = None
    limit: int = 20
    cursor: str | None = None


class TrailQuery(Value):
    """Ledger records, newest first. `caller` None means everybody's (operators only)."""

    caller: str | None
    tool: str | None = None
    environment: EnvironmentName | None = None
    kind: str | None = None
    deployment: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20
    cursor: str | None = None


class TrailEntry(Value):
    """One stored ledger record with its number and hash."""

    number: int
    hash: str
    body: JsonObject


class Trail(Protocol):
    """The ledger, for reading."""

    async def search(self, query: TrailQuery) -> "Page[TrailEntry]": ...


class Approvals(Protocol):
    async def get(self, approval: str) -> Approval | None:
        """The approval as it stands now; one past its time reads as expired."""
        ...


class BudgetLeft(Value):
    """What is left of one limit in its present window. `scope` is `tier:line`, or `global`."""

    scope: str
    window: str
    currency: str
    limit: int
    left: int
    resets_at: datetime


class Account(Value):
    """One caller's governed state, as `whoami` shows it."""

    caller: Caller
    budgets: tuple[BudgetLeft, ...] = ()
    frozen: tuple[str, ...] = ()
    open_approvals: int = 0
    ledger_writable: bool = True
    trouble: str = ""


class Accounts(Protocol):
    async def of(self, caller: Caller, at: datetime) -> Account: ...


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A bounded answer. `next_cursor` is None when nothing is left."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Ops:
    """Everything a tool's handler may use. It can read; what it wants written it returns.

    `visible` lists the environments this caller may read. `fingerprint` names a value without giving it away: equal values have
    equal ones, and nobody without this installation's key can try values out. `redact` is for text that is cut: the reply is
    redacted as a whole anyway. `trouble` is empty unless the ledger cannot be
    written.
    """

    call: Call
    caller: Caller
    config: Config
    visible: Callable[[], tuple[EnvironmentName, ...]]
    verdict: Verdict | None
    providers: Mapping[str, Provider]
    deployments: Deployments
    approvals: Approvals
    trail: Trail
    accounts: Accounts
    journal: Journal
    sights: Sights
    fingerprint: Callable[[Secret], str]
    redact: Callable[[str], str]
    clock: Clock
    new_id: NewId
    progress: Progress
    deadline_seconds: float = 45.0
    trouble: str = ""


def runs_here(providers: Mapping[str, Provider], binding: Binding) -> bool:
    """Whether a service runs on the worker's own host. A place that cannot be opened runs nothing."""
    try:
        place = providers.get(binding.provider)
        return isinstance(place, OnHosts) and place.runs_here(binding)
    except OpsError:
        return False


async def look(deployments: Deployments, service: ServiceName, environment: EnvironmentName) -> Place:
    """What is recorded at a place, for plans."""
    serving = await deployments.serving(service, environment)
    running = await deployments.running(service, environment)
    current = current_of(running, serving)
    healthy = await deployments.last_healthy(service, environment, other_than=current.id if current else None)
    return Place(serving=serving, last_healthy=healthy, running=running)
