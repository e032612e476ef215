"""Everything one call needs, as one value that `startup` opens; and what a caller may see of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar

from ops_mcp.config import Config
from ops_mcp.domain.calls import CallId
from ops_mcp.domain.identity import Caller, Client, Credential
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.timings import Timings
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Sights
from ops_mcp.ports import Accounts, Approvals, Clock, Deployments, Journal, NewId, Progress, Provider, Trail
from ops_mcp.store.ledger import Ledger, Rules
from ops_mcp.tool import AnyTool
from ops_mcp.tracing import OFF, Trace, Tracer
from ops_mcp.values import JsonObject

T = TypeVar("T")

_MOST_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class World:
    """The configuration and the places it opens, as they stand now."""

    config: Config
    providers: Mapping[str, Provider]
    _found: dict[object, object] = field(default_factory=dict[object, object], init=False, repr=False, compare=False)

    def recall(self, key: object, kind: type[T]) -> T | None:
        """What was remembered for this key since the configuration was read: agents ask the same over and over."""
        found = self._found.get(key)
        return found if isinstance(found, kind) else None

    def remember(self, key: object, found: object) -> None:
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()
        self._found[key] = found


@dataclass(frozen=True, slots=True)
class App:
    """Everything a call needs, opened by `startup`. `world` is the configuration as it stands now, re-read on change."""

    tools: Mapping[str, AnyTool]
    world: Callable[[], World]
    rules: Callable[[], Rules]
    ledger: Ledger
    deployments: Deployments
    approvals: Approvals
    trail: Trail
    accounts: Accounts
    journal: Journal
    sights: Sights
    redactor: Callable[[], Redactor]
    clock: Clock
    new_id: NewId
    wake_worker: Callable[[], None]
    timings: Timings = field(default_factory=Timings)
    tracer: Tracer | None = None


async def no_progress(done: float, total: float | None, message: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it came in, with the id that its records carry and what was read for it when it began."""

    app: App
    credential: Credential
    client: Client
    name: str
    arguments: JsonObject
    progress: Progress
    id: CallId
    world: World
    rules: Rules
    redactor: Redactor
    trace: Trace = OFF


def visible(rules: Rules, world: World, caller: Caller, at: datetime, *, tool: str = "services") -> tuple[EnvironmentName, ...]:
    """The environments that this caller may read, and may read with this tool: an operator may forbid it in some."""
    policy = rules.policy
    key = ("visible", tool, policy.digest, caller, at.replace(second=0, microsecond=0) if policy.sees_time else None)
    seen = world.recall(key, _Seen)
    if seen is None:
        places = world.config.environments.items()
        by = dict.fromkeys(("services", tool))
        seen = _Seen(tuple(name for name, place in places if all(policy.lets_see(caller, place, at=at, tool=t) for t in by)))
        world.remember(key, seen)
    return seen.names


class _Seen(NamedTuple):
    names: tuple[EnvironmentName, ...]
