"""The worker's process: what starts it, detached from every client, and what it is made of. Does not speak MCP."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import BinaryIO

import anyio
import psutil

from ops_mcp import __version__
from ops_mcp.app import App
from ops_mcp.call import call
from ops_mcp.config import Config, load, read_inventory
from ops_mcp.domain.calls import ApprovalId
from ops_mcp.domain.identity import AgentName, Client, OnBehalf
from ops_mcp.domain.outcomes import Refused
from ops_mcp.errors import Code, InProgress, OpsError, Unavailable
from ops_mcp.operations.chores import housekeeping
from ops_mcp.operations.loop import Desk, Rhythm, work
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.operations.probing import prober
from ops_mcp.rounds import busy, rounds
from ops_mcp.startup import Opened, now, open_app, this_process
from ops_mcp.store import anchors, leases, settlement
from ops_mcp.store.leases import Claim, Ground, Lease
from ops_mcp.store.people import StoredApproval, approvals_to_run
from ops_mcp.store.schema import SCHEMA_VERSION

log = logging.getLogger(__name__)

_LOG, _LOG_BYTES = "worker.log", 5 * 2**20
_KEPT_OF_THE_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")
_DETACH = (
    "import os; hasattr(os, 'fork') and os.fork() and os._exit(0); from ops_mcp.worker import main; raise SystemExit(main())"
)
"""The first child forks before it imports anything and ends, so that a client that kills its process tree misses the worker."""


def waker(config: Config) -> Callable[[], None]:
    """What a server calls when there is work: starts a detached worker unless one is alive. Quick, and never raises."""
    if config.settings.worker == "external":
        return _nothing
    if config.address is not None:  # asking the database may take seconds, which a server's event loop does not have
        return lambda: threading.Thread(target=_start_worker, args=(config,), name="waker", daemon=True).start()
    return lambda: _start_worker(config)


def _start_worker(config: Config) -> None:
    log.debug("worker started: %s", ensure_worker(config, environ=os.environ))


def ensure_worker(config: Config, *, environ: Mapping[str, str]) -> bool:
    """Start a detached worker unless a live one of this version or a newer one holds the lease; whether one was started."""
    held = _at_work(config)
    if held is not None and not leases.is_newer(__version__, than=held.claim.version):
        return False
    try:
        _start_detached(config, environ)
    except OSError as error:
        log.error("no worker could be started: %s", error)  # noqa: TRY400  # the reason is the error itself
        return False
    return True


async def keep_worker(config: Config, *, every_seconds: float = 5.0) -> None:
    """Start a worker whenever there is work and none is alive: after a kill, a crash, or a restart of the host.

    The ledger's growth is work where it is anchored, since calls that begin no operation make it grow as well; so is an
    inventory with something to probe.
    """
    wake = waker(config)
    while True:
        if await _work_waits(config) or _is_watching(config):
            wake()
        # A worker that was just started needs a moment until it holds the lease.
        await anyio.sleep(every_seconds)


async def _work_waits(config: Config) -> bool:
    """A file is looked at in microseconds; a server may take its time."""
    place, terms = config.database, config.settings.ledger

    def look() -> bool:
        return leases.work_waits(place) or anchors.waits(place, terms.anchors, every=terms.anchor_every)

    return await anyio.to_thread.run_sync(look) if config.address else look()


def _is_watching(config: Config) -> bool:
    try:
        return any(thing.probes for thing in read_inventory(config.config_dir))
    except OpsError:  # the servers say what is wrong with it
        return False


def refuse_other_worker(config: Config) -> None:
    """Raises `Conflict` when a live worker serves this database with another configuration or state directory."""
    held = _at_work(config)
    if held is not None:
        leases.refuse_other_ground(held.claim, claim_of(config))


def _at_work(config: Config) -> Lease | None:
    held = leases.peek(config.database)
    return held if held is not None and held.is_live(now()) and not is_gone(held.claim) else None


async def work_inside(opened: Opened) -> None:
    """Work inside a server's process (`worker = "inline"`) for as long as it runs."""
    redact_log(lambda text: opened.app.redactor().text(text))
    while True:
        try:
            await work(desk_of(opened, Rhythm(exits_when_idle=False)), Reins())
        except InProgress as error:
            log.debug("%s", error.message)  # it stands by, and looks again: who holds the lease may die
        except Unavailable as error:
            log.warning("the worker rests: %s", error.message)
        await anyio.sleep(1)


def main() -> int:
    """The detached worker's entry: everything it needs is in its environment and the configuration that this names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line for every probe of every service
    try:
        config = load(os.environ)
        anyio.run(_work_until_told, config)
    except InProgress as error:
        log.info("%s", error.message)
    except OpsError as error:
        log.error("%s %s", error.message, error.hint)  # noqa: TRY400  # an expected refusal needs no traceback
        return 7
    return 0


def redact_log(redact: Callable[[str], str]) -> None:
    """From here on no secret is logged: the text of an exception that nobody foresaw may quote one, its traceback too."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Redacted(handler.formatter or logging.Formatter(), redact))
    sys.excepthook = lambda kind, error, trace: log.critical("ended by a mistake", exc_info=(kind, error, trace))


class _Redacted(logging.Formatter):
    def __init__(self, inner: logging.Formatter, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


async def _work_until_told(config: Config) -> None:
    """Raises what keeps this worker from working as it is, not inside the group that listens for signals."""
    reins = Reins()
    refusal: OpsError | None = None
    async with open_app(config, wake_worker=_nothing) as opened:
        redact_log(lambda text: opened.app.redactor().text(text))
        async with anyio.create_task_group() as group:
            group.start_soon(_pull_on_signals, reins)
            group.start_soon(_keep_log_short, config.state_dir / _LOG)
            try:
                await work(desk_of(opened, Rhythm(exits_when_idle=config.settings.worker != "external")), reins)
            except OpsError as error:
                refusal = error
            group.cancel_scope.cancel()
    if refusal is not None:
        raise refusal


async def _pull_on_signals(reins: Reins) -> None:
    with anyio.open_signal_receiver(SIGTERM, SIGINT) as signals:
        async for _ in signals:
            reins.pull()


def desk_of(opened: Opened, rhythm: Rhythm) -> Desk:
    """The loop's desk over an opened app."""
    app = opened.app
    called: set[ApprovalId] = set()
    return Desk(
        database=opened.database,
        claim=claim_of(opened.config),
        parts=partial(_parts, opened),
        clock=app.clock,
        sleep=anyio.sleep,
        is_gone=is_gone,
        chores=(
            partial(_reconcile, opened),
            partial(run_granted, opened, called),
            *housekeeping(opened.database, opened.config.settings.ledger, app.clock),
        ),
        rounds=partial(rounds, opened),
        busy=busy,
        delay=lambda operation: opened.guard.dispatch_delay(operation.deployment, app.clock()),
        rhythm=rhythm,
    )


def claim_of(config: Config) -> Claim:
    """This process as a worker of this installation."""
    host, pid, started = this_process().rsplit("/", 2)
    return Claim(
        holder=f"worker/{host}/{pid}/{started}",
        version=__version__,
        schema_version=SCHEMA_VERSION,
        ground=_ground(config),
        host=host,
        namespace=_namespace(),
        pid=int(pid),
        pid_started=float(started),
    )


def _ground(config: Config) -> Ground:
    """Servers of one PostgreSQL are on several hosts, where directories say nothing."""
    if config.address is not None:
        return Ground(config_dir="", state_dir="", database=config.address.name)
    return Ground(
        config_dir=str(config.config_dir.resolve()),
        state_dir=str(config.state_dir.resolve()),
        database=str(config.database_path.resolve()),
    )


def is_gone(claim: Claim) -> bool:
    """Whether the claim's process ran on this host and does not live any more; False where that cannot be known."""
    here = claim.host == socket.gethostname() and claim.namespace == _namespace()
    return here and claim.pid > 0 and not _lives(claim.pid, claim.pid_started)


def _namespace() -> str:
    """Containers may share a host name and a state directory; a process id means something only within its namespace."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _parts(opened: Opened, fence: int, reins: Reins) -> Parts:
    app = opened.app
    return Parts(
        database=opened.database,
        providers=app.world().providers,
        probe=prober(app.clock),
        settle=partial(settlement.settle_operation, meters=opened.config.settings.meters),
        clock=app.clock,
        sleep=anyio.sleep,
        fence=fence,
        reins=reins,
        redact=lambda text: app.redactor().text(text),
    )


async def _reconcile(opened: Opened) -> None:
    """Settle as unknown what a server admitted and did not live to settle."""
    at = opened.app.clock()
    lost = await opened.database.write(lambda tx: settlement.reconcile(tx, alive=_holder_lives, at=at), vital=True)
    if lost:
        log.warning("%d calls were interrupted; they are recorded as unknown", lost)


async def run_granted(opened: Opened, called: set[ApprovalId]) -> None:
    """Make the calls whose approval an operator granted with --run, each once, as the agent whose plan it is."""
    waiting = [a for a in await approvals_to_run(opened.database, opened.app.clock()) if a.approval.id not in called]
    async with anyio.create_task_group() as group:
        for stored in waiting:
            called.add(stored.approval.id)
            group.start_soon(_call_for, opened.app, stored, called)


async def _call_for(app: App, stored: StoredApproval, called: set[ApprovalId]) -> None:
    """What could not even be recorded did not happen, and is tried again."""
    approval, plan = stored.approval, stored.plan
    arguments = dict(plan.arguments)
    if approval.idempotency_key is not None:
        arguments["idempotency_key"] = approval.idempotency_key
    credential = OnBehalf(operation=f"approval {approval.id}", agent=AgentName(approval.agent))
    outcome = await call(app, credential, Client(name="worker", transport="worker"), plan.tool, arguments)
    if isinstance(outcome, Refused) and outcome.problem.code is Code.unavailable:
        called.discard(approval.id)
    log.info("ran %s for %s: %s", plan.tool, approval.id, type(outcome).__name__)


def _start_detached(config: Config, environ: Mapping[str, str]) -> None:
    """Its own session, output into its own log, and an environment rebuilt from the configuration: no agent's token."""
    own = {name: environ[name] for name in _KEPT_OF_THE_ENVIRONMENT if name in environ}
    own |= {"OPS_MCP_CONFIG": str(config.config_dir.resolve()), "OPS_MCP_STATE": str(config.state_dir.resolve())}
    if config.settings.database_url:
        own["OPS_MCP_DATABASE_URL"] = config.settings.database_url.get_secret_value()
    config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _log_file(config.state_dir / _LOG) as out:
        # -P: the directory it starts in must not be a place to import from.
        first = subprocess.Popen(
            [sys.executable, "-P", "-c", _DETACH],
            env=own,
            cwd=config.state_dir,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    # It ends as soon as it has forked; somebody must collect it, and a server's event loop has no time to wait.
    threading.Thread(target=first.wait, daemon=True).start()


def _log_file(path: Path) -> BinaryIO:
    """Open for appending, readable by its owner alone; one that has grown large becomes the old one."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


async def _keep_log_short(path: Path) -> None:
    while True:
        turn_log(path)
        await anyio.sleep(60)


def turn_log(path: Path) -> None:
    """Begin another log where this process writes into this one and it has grown large."""
    try:
        if path.exists() and os.path.samestat(os.fstat(2), path.stat()) and path.stat().st_size > _LOG_BYTES:
            with _log_file(path) as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
    except OSError as error:
        log.warning("the log cannot be begun anew: %s", error)


def _holder_lives(holder: str) -> bool:
    """Whether the process that a reservation names lives; what runs on another host is taken to."""
    host, pid, started = holder.rsplit("/", 2)
    return host != socket.gethostname() or _lives(int(pid), float(started))


def _lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _nothing() -> None:
    """Nobody needs to be woken: this is the worker, or somebody else starts it."""
