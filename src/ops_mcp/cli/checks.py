"""What `ops-mcp doctor` looks at, one function each. Every finding says what to do; nothing is changed."""

import shutil
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import psutil

from ops_mcp import providers
from ops_mcp.config import Config
from ops_mcp.domain.places import Binding
from ops_mcp.errors import OpsError
from ops_mcp.ports import Reaches
from ops_mcp.providers.local import isolation
from ops_mcp.secrets import Secrets, others_may_read
from ops_mcp.startup import now
from ops_mcp.store import keys
from ops_mcp.store.leases import Lease, work_waits
from ops_mcp.store.schema import SCHEMA_VERSION
from ops_mcp.values import Value

_REACH_SECONDS = 15.0
_LITTLE_SPACE = 512 * 2**20
_VOLATILE = ("tmpfs", "ramfs", "overlay")


class Finding(Value):
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    what: str
    state: Literal["ok", "warn", "fail"]
    says: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks look at. `token` is the agent's token in the environment, if any; `schema` None: no database."""

    config: Config
    token: str | None
    schema: int | None
    trouble: str
    lease: Lease | None
    lease_is_live: bool
    operators: int


Check: TypeAlias = Callable[[Patient], Iterable[Finding]]


async def examine(patient: Patient) -> tuple[Finding, ...]:
    """All findings, in a fixed order."""
    isolated = await _isolation(patient.config)
    reached = await _places(patient.config)
    return (*isolated, *(finding for check in _CHECKS for finding in check(patient)), *reached)


async def _places(config: Config) -> list[Finding]:
    """Whether each credential opens the place that its binding names; all are asked at once."""
    places = providers.load(config, secret=Secrets(config.config_dir).read, clock=now)
    found: dict[int, Finding] = {}

    async def ask(number: int, binding: Binding) -> None:
        if binding.provider in places and isinstance(provider := places[binding.provider], Reaches):
            found[number] = await _reached(provider, binding)

    try:
        async with anyio.create_task_group() as group:
            for number, binding in enumerate(config.bindings):
                group.start_soon(ask, number, binding)
    finally:
        await providers.close(places)
    return [found[number] for number in sorted(found)]


async def _reached(provider: Reaches, binding: Binding) -> Finding:
    what = f"{binding.service} in {binding.environment}"
    try:
        with anyio.fail_after(_REACH_SECONDS):
            return Finding(what=what, state="ok", says=f"{binding.provider}: {await provider.reach(binding)}.")
    except OpsError as error:
        return Finding(what=what, state="fail", says=error.message, fix=error.hint)
    except TimeoutError:
        fix = "See whether this host can reach it, and its status page."
        return Finding(what=what, state="fail", says=f"{binding.provider} did not answer in {_REACH_SECONDS:g} s.", fix=fix)


async def _isolation(config: Config) -> list[Finding]:
    try:
        with anyio.fail_after(15):
            found = await isolation.choose(config.settings.isolation)
    except (OpsError, TimeoutError) as error:
        fix = error.hint if isinstance(error, OpsError) else "Look at isolation.mode in config.toml."
        return [Finding(what="isolation", state="fail", says=str(error), fix=fix)]
    if found.mode is not isolation.Mode.none:
        return [Finding(what="isolation", state="ok", says=f"Code that agents choose runs under {found.mode}.")]
    fix = "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)."
    return [Finding(what="isolation", state="warn", says=f"Code that agents choose runs unconfined: {found.why_not}.", fix=fix)]


def _git(_patient: Patient) -> Iterable[Finding]:
    git = shutil.which("git")
    if git is None:
        yield Finding(what="git", state="fail", says="git is not on PATH.", fix="Install git; services are fetched with it.")
    else:
        yield Finding(what="git", state="ok", says=git)


def _configuration(patient: Patient) -> Iterable[Finding]:
    config = patient.config
    file = config.config_dir / "config.toml"
    says = f"{file}" if file.exists() else f"{config.config_dir} has no config.toml; the defaults are in force."
    yield Finding(what="configuration", state="ok", says=says)
    for warning in config.warnings:
        yield Finding(
            what="configuration", state="warn", says=warning, fix="Remove it from this environment, or leave it: it is ignored."
        )
    for directory in (config.config_dir, config.state_dir):
        if directory.exists() and others_may_read(directory):
            yield Finding(
                what="configuration", state="fail", says=f"{directory} is open to others.", fix=f"chmod 700 {directory}"
            )


def _key_files(patient: Patient) -> Iterable[Finding]:
    config = patient.config
    files = sorted((config.config_dir / "operators").glob("*.key"))
    ledger = keys.ledger_key_path(config.state_dir)
    bad = [file for file in (*files, ledger) if file.exists() and others_may_read(file)]
    for file in bad:
        yield Finding(
            what="keys",
            state="fail",
            says=f"{file} is readable by others.",
            fix=f"chmod 600 {file}; replace the key if it was read.",
        )
    if patient.schema is not None and not ledger.exists():
        yield Finding(
            what="keys",
            state="fail",
            says=f"The ledger's key {ledger} is missing.",
            fix="Restore it from a backup; without it nothing is written.",
        )
    elif not bad:
        yield Finding(what="keys", state="ok", says=f"{len(files)} operator keys here; all private.")


def _operators(patient: Patient) -> Iterable[Finding]:
    if patient.operators:
        yield Finding(what="operators", state="ok", says=f"{patient.operators} can approve, freeze and kill.")
    else:
        state = "warn" if patient.schema is None else "fail"
        yield Finding(what="operators", state=state, says="There is no operator, so nobody can approve.", fix="ops-mcp init")


def _database(patient: Patient) -> Iterable[Finding]:
    if patient.trouble:
        yield Finding(
            what="database", state="fail", says=patient.trouble, fix="Nothing that changes anything runs until this is mended."
        )
    elif patient.schema is None:
        yield Finding(what="database", state="warn", says="There is no database yet.", fix="ops-mcp init")
    elif patient.schema != SCHEMA_VERSION:
        older = patient.schema < SCHEMA_VERSION
        fix = "ops-mcp db migrate" if older else "Upgrade this ops-mcp; a newer one has taken over."
        yield Finding(
            what="database", state="fail", says=f"Schema {patient.schema}; this ops-mcp writes {SCHEMA_VERSION}.", fix=fix
        )
    else:
        yield Finding(what="database", state="ok", says=f"{_place(patient.config)}, schema {patient.schema}.")


def _place(config: Config) -> str:
    return config.address.shown if config.address else str(config.database_path)


def _space(patient: Patient) -> Iterable[Finding]:
    state, floor = _nearest(patient.config.state_dir), patient.config.settings.ledger.free_space_floor_bytes
    free = shutil.disk_usage(state).free
    says = f"{free // 2**20} MiB are free for the state directory."
    if free < floor:
        yield Finding(
            what="space", state="fail", says=says, fix="Free space, or move old records out: ops-mcp audit retain DIRECTORY"
        )
    elif free < _LITTLE_SPACE:
        yield Finding(what="space", state="warn", says=says, fix=f"Below {floor // 2**20} MiB only what must be written is.")
    else:
        yield Finding(what="space", state="ok", says=says)


def _volatile(patient: Patient) -> Iterable[Finding]:
    """A ledger on memory is gone with the machine."""
    kind = file_system(_nearest(patient.config.state_dir), [(p.mountpoint, p.fstype) for p in psutil.disk_partitions(all=True)])
    if kind in _VOLATILE:
        says = f"The state directory lies on {kind}, which a restart may empty."
        yield Finding(what="state", state="warn", says=says, fix="Set OPS_MCP_STATE to a directory on a disk.")


def _secrets(patient: Patient) -> Iterable[Finding]:
    config = patient.config
    stored = Secrets(config.config_dir).summaries()
    for secret in stored:
        if secret.trouble:
            yield Finding(
                what="secrets", state="fail", says=f"{secret.name}: {secret.trouble}.", fix=f"ops-mcp secret set {secret.name}"
            )
    known = {secret.name for secret in stored}
    for binding in config.bindings:
        for reference in sorted(set(binding.secrets.values()) - known):
            says = f"{binding.service} in {binding.environment} needs the secret {reference!r}, which is not set."
            yield Finding(what="secrets", state="fail", says=says, fix=f"ops-mcp secret set {reference}")


def _token(patient: Patient) -> Iterable[Finding]:
    if patient.token is None:
        return
    if not patient.token or patient.token.startswith("${"):
        says = "OPS_MCP_TOKEN holds a placeholder that nobody filled in, so every call is refused."
        yield Finding(
            what="token",
            state="fail",
            says=says,
            fix="Set it to the token of `ops-mcp agent add`, or leave it out to be anonymous.",
        )
    else:
        says = "OPS_MCP_TOKEN is set here: operator verbs are refused in this environment."
        yield Finding(what="token", state="warn", says=says, fix="Give operator orders from a terminal without it.")


def _worker(patient: Patient) -> Iterable[Finding]:
    lease = patient.lease
    if lease is None or not patient.lease_is_live:
        ready = patient.config.settings.worker != "external"
        if patient.schema is not None and work_waits(patient.config.database):
            says = "No worker is at work: no service is supervised, no rule evaluated, nobody told, no line or sample collected."
            fix = "Open a client or `ops-mcp serve`: it starts one within seconds." if ready else "Start the one that you keep."
            yield Finding(what="worker", state="warn", says=says, fix=fix)
            return
        says = "No worker is at work; one starts with the next deployment." if ready else "No worker is at work."
        fix = "" if ready else 'worker = "external": start one yourself.'
        yield Finding(what="worker", state="ok" if ready else "warn", says=says, fix=fix)
        return
    claim = lease.claim
    yield Finding(
        what="worker", state="ok", says=f"Version {claim.version}, process {claim.pid} on {claim.host or socket.gethostname()}."
    )
    if claim.ground.state_dir != str(patient.config.state_dir.resolve()):
        says = f"The worker stands on another state directory: {claim.ground.state_dir}."
        yield Finding(what="worker", state="fail", says=says, fix="ops-mcp worker stop")


def _boundary(patient: Patient) -> Iterable[Finding]:
    """Where the boundary runs, and credentials for prod on the wrong side of it."""
    config = patient.config
    yield Finding(what="boundary", state="ok", says=config.boundary)
    precious = config.prod_credentials
    if precious and not config.settings.http.tls:
        says = f"Credentials for prod are configured here, beside the agent: {', '.join(precious)}."
        yield Finding(what="boundary", state="warn", says=says, fix="Move them to `ops-mcp serve` under another user or host.")


def file_system(path: Path, mounts: Iterable[tuple[str, str]]) -> str:
    """The kind of file system that `path` lies on, by the longest mount point above it."""
    above = [(point, kind) for point, kind in mounts if path == Path(point) or Path(point) in path.parents]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]


def _nearest(path: Path) -> Path:
    """`path`, or the first of its parents that exists."""
    return next((p.resolve() for p in (path, *path.parents) if p.exists()), Path("/"))


_CHECKS: tuple[Check, ...] = (
    _git, _configuration, _key_files, _operators, _database, _space, _volatile, _secrets, _token, _worker, _boundary,
)  # fmt: skip
