"""Opens everything in order and hands out one `App`. Knows every room and decides nothing."""

import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread

from ops_mcp import __version__, providers, tools
from ops_mcp.app import App, World
from ops_mcp.books.alerts import Alerts
from ops_mcp.books.health import Health
from ops_mcp.books.load import Loads
from ops_mcp.books.logs import Logs
from ops_mcp.books.metrics import Metrics
from ops_mcp.books.notices import Notices
from ops_mcp.books.tasks import Tasks
from ops_mcp.config import Config, Settings, read_bindings, read_inventory
from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.timings import Timings
from ops_mcp.errors import OpsError
from ops_mcp.governance.approvals import Terms as ApprovalTerms
from ops_mcp.governance.policy import Action
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Sights
from ops_mcp.ports import Clock, NewId, Provider
from ops_mcp.reading import LOOK_SECONDS, LastGood, Watch, closed_policy, read_policy
from ops_mcp.secrets import Secrets, make_private_directory
from ops_mcp.sources.load import HostLoad
from ops_mcp.store import keys
from ops_mcp.store.accounts import StoredAccounts
from ops_mcp.store.ahead import Sync, by_the_kernel
from ops_mcp.store.approvals import StoredApprovals
from ops_mcp.store.callers import Callers
from ops_mcp.store.counters import Allowance
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.database import Terms as DatabaseTerms
from ops_mcp.store.deployments import StoredDeployments
from ops_mcp.store.guard import HostGuard, ReadHost
from ops_mcp.store.ledger import Ledger, Rules
from ops_mcp.store.logs.store import LogStore
from ops_mcp.store.metrics.store import MetricStore
from ops_mcp.store.trail import StoredTrail
from ops_mcp.tracing import Tracer, open_tracer

log = logging.getLogger(__name__)

_KEY_BYTES = 32
_CLOSE_SECONDS = 1.0
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]


@dataclass(frozen=True, slots=True)
class Opened:
    """The app, and what the worker and the terminal need besides."""

    app: App
    config: Config
    database: Database
    logs: LogStore
    metrics: MetricStore
    guard: HostGuard


def now() -> datetime:
    """The clock of every process but a test's."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """48 bits of milliseconds and 80 random bits, so that ids sort by time and cannot be guessed."""
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(_random.take(10), "big")
    return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


class _Random:
    """The system's randomness, fetched 400 ids at a time: each system call may wait for another thread. Never forked."""

    def __init__(self) -> None:
        self._bytes = b""

    def take(self, count: int) -> bytes:
        if len(self._bytes) < count:
            self._bytes = secrets.token_bytes(4000)
        taken, self._bytes = self._bytes[:count], self._bytes[count:]
        return taken


_random = _Random()


def this_process() -> str:
    """Names this process in reservations: host, pid, and the moment it started, because pids are reused."""
    import psutil  # 20 ms, and a server's first answer does not need it to be loaded earlier

    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


@asynccontextmanager
async def open_app(
    config: Config,
    *,
    wake_worker: Callable[[], None],
    clock: Clock = now,
    new_id: NewId = new_id,
    look_seconds: float = LOOK_SECONDS,
    world: Callable[[], World] | None = None,
    read_host: ReadHost | None = None,
    sync: Callable[[], Sync | None] = by_the_kernel,
) -> AsyncGenerator[Opened]:
    """Open the database, the policy and the places. Raises `NotConfigured` for settings that cannot be used.

    `world` stands in for the bindings that the files hold and the places that they open, `read_host` for this host's load,
    `sync` for what the kernel offers to make the ledger durable.

    A database that cannot be used does not stop it: writes are refused with the reason, and `whoami` says so.
    """
    _prepare(config.state_dir)
    async with _database(config, new_id, sync) as database, _traced(config) as tracer:
        watch = Watch(_Teller(database, clock), look_seconds)
        places = providers.load(config, secret=Secrets(config.config_dir).read, clock=clock)
        logs = LogStore(config.logs_path, config.settings.logs, clock)
        metrics = MetricStore(config.metrics_path, config.settings.metrics, clock)
        around = world or _world(config, watch, places)
        guard = _guard(config, database, read_host or HostLoad(config.state_dir, clock).read)
        redactor = _redactor(config, watch)
        sights = _sights(database, logs, metrics, around, redactor, clock)
        try:
            app = _app(config, database, watch, around, sights, guard, redactor, wake_worker, clock, new_id)
            yield Opened(replace(app, tracer=tracer, timings=Timings(app.tools)), config, database, logs, metrics, guard)
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await providers.close(places)
                await logs.aclose()
                await metrics.aclose()


def _database(config: Config, new_id: NewId, sync: Callable[[], Sync | None]) -> AbstractAsyncContextManager[Database]:
    ledger, key = config.settings.ledger, keys.ledger_key_path(config.state_dir)
    signer = keys.signer_at(config.database, key, new_ledger_id=lambda: new_id("led"))
    terms = DatabaseTerms(ledger.lock_seconds, ledger.free_space_floor_bytes)
    return Database.open(config.database, signer=signer, terms=terms, sync=sync)


@asynccontextmanager
async def _traced(config: Config) -> AsyncGenerator[Tracer | None]:
    """What calls are traced with, where a collector is named. Some time is given to send what is left."""
    endpoint = config.settings.tracing.endpoint
    tracer = open_tracer(endpoint, version=__version__) if endpoint else None
    try:
        yield tracer
    finally:
        if tracer is not None:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await anyio.to_thread.run_sync(tracer.close, abandon_on_cancel=True)


def _prepare(state_dir: Path) -> None:
    """A disk that cannot be written now is not a reason to give no answer: each write says what is wrong."""
    try:
        make_private_directory(state_dir)
    except OSError as error:
        log.warning("%s cannot be prepared: %s", state_dir, error.strerror)


def _app(
    config: Config,
    database: Database,
    watch: Watch,
    world: Callable[[], World],
    sights: Sights,
    guard: HostGuard,
    redactor: Callable[[], Redactor],
    wake_worker: Callable[[], None],
    clock: Clock,
    new_id: NewId,
) -> App:
    registry = tools.load(config.settings.toolsets)
    actions = tuple(Action(tool.name, tool.effect, tool.toolset) for tool in registry.values())
    allowance = Allowance(config.settings.budgets, config.settings.rates)
    policy = LastGood(
        config.config_dir / "policies",
        ".cedar",
        lambda: read_policy(config.config_dir / "policies", actions),
        watch=watch,
        otherwise=closed_policy,
    )
    approval_terms = _approval_terms(config.settings)
    deployments = StoredDeployments(database)
    return App(
        tools=registry,
        world=world,
        rules=lambda: Rules(policy(), allowance, approval_terms),
        ledger=Ledger(database, Callers(reputation=config.settings.reputation), this_process(), guard),
        deployments=deployments,
        approvals=StoredApprovals(database),
        trail=StoredTrail(database),
        accounts=StoredAccounts(database, lambda: allowance),
        journal=deployments,
        sights=sights,
        redactor=redactor,
        clock=clock,
        new_id=new_id,
        wake_worker=wake_worker,
    )


def _guard(config: Config, database: Database, read_host: ReadHost) -> HostGuard:
    settings = config.settings
    return HostGuard(
        database, socket.gethostname(), read_host, enabled=settings.guard.enabled, elsewhere=settings.worker == "external"
    )


def _sights(
    database: Database,
    logs: LogStore,
    metrics: MetricStore,
    world: Callable[[], World],
    redactor: Callable[[], Redactor],
    clock: Clock,
) -> Sights:
    """What can be looked at; nothing is opened before somebody looks."""

    def configured() -> Config:
        return world().config

    return Sights(
        logs=Logs(logs, configured, lambda: redactor().text),
        metrics=Metrics(metrics, configured),
        health=Health(database, configured, clock),
        load=Loads(database, configured, lambda: world().providers, socket.gethostname(), clock),
        alerts=Alerts(database, clock),
        tasks=Tasks(database),
        notices=Notices(database),
    )


def _world(config: Config, watch: Watch, places: Mapping[str, Provider]) -> Callable[[], World]:
    where = config.config_dir
    services = LastGood(where / "services", ".toml", lambda: read_bindings(where), watch=watch)
    inventory = LastGood(where / "inventory", ".toml", lambda: read_inventory(where), watch=watch)
    world: World | None = None

    def present() -> World:
        nonlocal world
        bindings, declared = services(), inventory()
        if world is None or world.config.bindings is not bindings or world.config.declared is not declared:
            world = World(config.model_copy(update={"bindings": bindings, "declared": declared}), places)
        return world

    return present


def _redactor(config: Config, watch: Watch) -> Callable[[], Redactor]:
    vault, key = Secrets(config.config_dir), _redaction_key(config.state_dir)

    def read() -> Redactor:
        known = {name: vault.read(name) for name in vault.names()}
        if config.token is not None:
            known["OPS_MCP_TOKEN"] = config.token
        return Redactor(known, key)

    return LastGood(config.config_dir / "secrets", "", read, watch=watch)


def _redaction_key(state_dir: Path) -> bytes:
    """One key an installation, so that equal secrets leave equal marks. Losing it only loses that."""
    file = state_dir / "keys" / "redaction.key"
    try:
        if len(kept := file.read_bytes()) == _KEY_BYTES:
            return kept
    except OSError:  # absent, or not to be read: another one does
        pass
    made = secrets.token_bytes(_KEY_BYTES)
    try:
        make_private_directory(file.parent)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(made)
    except OSError as error:
        log.warning("%s cannot be kept: %s", file, error.strerror)
    return made


def _approval_terms(settings: Settings) -> ApprovalTerms:
    terms = settings.approvals
    return ApprovalTerms(
        timedelta(minutes=terms.answer_minutes),
        timedelta(minutes=terms.use_minutes),
        terms.open_per_agent,
        settings.slack.approvals,
    )


class _Teller:
    """Records that an edit could not be used, and says it in the log."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, problem: OpsError) -> None:
        log.warning("not used, and what was in force stays so: %s", problem.message)
        record = Record(kind="policy.refused", at=self._clock(), code=problem.code.value, reason=problem.message)
        self._database.write_later(lambda tx: _append(tx, record))


def _append(tx: Transaction, record: Record) -> None:
    tx.record(record)
