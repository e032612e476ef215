"""What operations work with: the ports, the clock and the patience that whoever starts them passes in."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from ops_mcp.deploying.health import Look
from ops_mcp.domain.releases import Deployment, Observed, Operation, Placement, ProbeResult, Release
from ops_mcp.errors import NotConfigured
from ops_mcp.observing import Notice
from ops_mcp.ports import Clock, Provider, Sleep
from ops_mcp.store.database import Database, Transaction


class Looked(NamedTuple):
    """The newest look at a place: of which deployment it was."""

    placement: Placement
    look: Look


Redact: TypeAlias = Callable[[str], str]
Probe: TypeAlias = Callable[[Placement, Provider, Observed], Awaitable[ProbeResult]]
"""Ask a release once whether it is healthy. Never raises for what the release does; bounded by the probe's own timeout."""


class Enqueue(Protocol):
    def __call__(self, tx: Transaction, notice: Notice, /, *, at: datetime) -> object:
        """Have a message delivered, once this transaction is committed."""
        ...


class Settle(Protocol):
    def __call__(self, tx: Transaction, operation: Operation, deployment: Deployment, *, at: datetime) -> None:
        """Settle budget, score and the idempotency result of an operation whose final state is written in this transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take, in seconds. `attempts` is for temporary failures of idempotent provider calls.

    `limited_seconds` is how long a place may put off in all, by saying when it takes requests again, what must be done there.
    """

    release_seconds: float = 3600.0
    limited_seconds: float = 3600.0
    undo_seconds: float = 300.0
    look_seconds: float = 10.0
    place_seconds: float = 900.0
    tick_seconds: float = 1.0
    verify_every_seconds: float = 2.0
    attempts: int = 4
    first_pause_seconds: float = 0.5


class Reins:
    """How a worker is told to let go at the next step boundary: by a signal, or by a newer version."""

    def __init__(self) -> None:
        self.pulled = False

    def pull(self) -> None:
        self.pulled = True


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything an operation may use. `fence` is that of the lease under which it runs."""

    database: Database
    providers: Mapping[str, Provider]
    probe: Probe
    settle: Settle
    clock: Clock
    sleep: Sleep
    fence: int
    reins: Reins
    patience: Patience = Patience()
    redact: Redact = str
    restarting: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Places where supervision restarts a service right now; a release there waits for it."""
    looks: dict[tuple[str, str], Looked] = field(default_factory=dict[tuple[str, str], Looked])
    """The newest look at each place, for the watch over everybody's health."""

    def provider(self, release: Release) -> Provider:
        """The provider a release is bound to. Raises `NotConfigured` naming those there are."""
        found = self.providers.get(release.binding.provider)
        if found is None:
            raise NotConfigured(
                f"There is no provider {release.binding.provider!r} here.",
                hint=f"Providers here: {', '.join(sorted(self.providers)) or 'none'}.",
            )
        return found
