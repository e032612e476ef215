"""A world for the local provider: a state directory, real repositories, real ports, and an end to everything that was started."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import anyio

from ops_mcp.config import Isolation
from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Release
from ops_mcp.providers.local import processes
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.isolation import MARK
from ops_mcp.providers.local.observing import tree_of
from ops_mcp.providers.local.place import Local, in_silence
from ops_mcp.values import Json, Secret

SERVICE = """
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
WORD = {word!r}
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(WORD.encode())
print("serving", WORD, flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """One installation in a temporary directory. `code` of a service goes into app.py of its repository."""

    root: Path
    runs: Path
    mode: str
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    beside: bool = False
    numbers: Iterator[int] = field(default_factory=count)
    port: int = 0
    local: Local = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.local = self.installation()

    def installation(self) -> Local:
        (self.root / "config").mkdir(exist_ok=True)
        (self.root / "state").mkdir(mode=0o700, exist_ok=True)
        return Local(
            state_dir=self.root / "state",
            config_dir=self.root / "config",
            isolation=Isolation.model_validate({"mode": self.mode}),
            secret=lambda reference: Secret(self.secrets[reference]),
            clock=lambda: NOW,
            new_nonce=lambda: f"nonce-{os.getpid()}-{next(self.numbers)}",
            beside=lambda: self.beside,
            runs_dir=self.runs if self.mode == "uid" else None,
        )

    def repository(self, files: Mapping[str, str] | None = None, *, name: str = "repository") -> Path:
        """A real git repository with one commit on main."""
        path = self.root / name
        path.mkdir()
        git(path, "init", "-q", "-b", "main")
        commit(path, files or {"app.py": SERVICE.format(word="one")}, "the first")
        return path

    def binding(
        self,
        source: Path | str,
        *,
        env: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        service: str = "web",
        **options: Json,
    ) -> Binding:
        given: dict[str, Json] = {
            "source": str(source),
            "run": ["{python}", "app.py"],
            "port": self.port,
            "grace_seconds": 2,
            **options,
        }
        return Binding(
            service=ServiceName(service),
            environment=EnvironmentName("sandbox"),
            provider="local",
            options=given,
            env=env or {},
            secrets=secrets or {},
        )

    async def release(self, binding: Binding, ref: str | None = None) -> Release:
        return Release(content=await self.local.resolve(binding, ref), binding=binding)

    async def placement(self, binding: Binding, deployment: str, *, ref: str | None = None) -> Placement:
        """The deployment as a plan for what the source holds now would make it."""
        return placed(await self.release(binding, ref), deployment)

    async def deploy(self, binding: Binding, deployment: str, *, replaces: str | None = None, ref: str | None = None) -> Observed:
        placement = await self.placement(binding, deployment, ref=ref)
        ends = at(binding, replaces) if replaces else None
        return await self.local.deploy(placement, replaces=ends, tell=in_silence)

    async def up(self, binding: Binding, deployment: str, *, ref: str | None = None, replaces: str | None = None) -> Observed:
        """Deploy and wait until the release answers."""
        await self.deploy(binding, deployment, replaces=replaces, ref=ref)
        return await self.seen(binding, deployment, lambda observed: observed.answers is True)

    async def seen(
        self, binding: Binding, deployment: str, wanted: Callable[[Observed], bool], *, seconds: float = 15
    ) -> Observed:
        """What is observed once it is as wanted; fails with the last observation otherwise."""
        observed = await self.local.status(at(binding, deployment))
        ends_at = time.monotonic() + seconds
        while not wanted(observed) and time.monotonic() < ends_at:
            await anyio.sleep(0.02)
            observed = await self.local.status(at(binding, deployment))
        assert wanted(observed), (observed, await self.texts(binding, deployment))
        return observed

    async def texts(self, binding: Binding, deployment: str) -> list[str]:
        """The newest lines, oldest first."""
        found = await self.local.logs(at(binding, deployment), LogQuery())
        return [line.text for line in reversed(found.items)]

    def tree(self, deployment: str) -> list[int]:
        """Keeper, service and whatever they started."""
        started = next(Desk(path).started() for path in self.root.glob(f"state/local/*/*/deployments/{deployment}"))
        assert started is not None
        return started.keeper_identity.tree()

    def logs(self, deployment: str) -> Path:
        """Where the deployment's log files are."""
        return self.root / "state/local/web/sandbox/deployments" / deployment / "logs"

    def living(self) -> list[int]:
        """Keepers of this world that live."""
        pids: list[int] = []
        for record in self.root.glob("state/local/*/*/deployments/*/process.json"):
            started = Desk(record.parent).started()
            if started is not None and started.keeper_identity.lives:
                pids.append(started.keeper_identity.pid)
        return pids

    def processes_of(self, marker: str) -> list[int]:
        """Living processes whose argument list holds `marker`."""
        return [pid for pid in _pids() if marker.encode() in _read(pid, "cmdline")]

    def end(self) -> None:
        """Kill whatever this world started, by its own records."""
        for record in self.root.glob("state/local/*/*/deployments/*/process.json"):
            desk = Desk(record.parent)
            started = desk.started()
            desk.want_nothing()
            if started is not None:
                processes.send(tree_of(started), signal.SIGKILL)
            processes.send(processes.marked(MARK, desk.mark), signal.SIGKILL)


def placed(release: Release, deployment: str) -> Placement:
    return Placement(deployment=DeploymentId(deployment), release=release, asked_at=NOW)


def at(binding: Binding, deployment: str) -> Placement:
    """A deployment of which only its place matters: what it runs is looked up there."""
    return placed(Release(content=Content(identity="0" * 40), binding=binding), deployment)


@contextmanager
def world(root: Path, mode: str) -> Iterator[World]:
    runs = Path(tempfile.mkdtemp(prefix="ops-mcp-runs-"))
    runs.chmod(0o711)
    made = World(root=root, runs=runs, mode=mode)
    try:
        yield made
    finally:
        made.end()
        subprocess.run(["rm", "-rf", "--", str(runs)], check=False)


def git(path: Path, *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(path)}
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=path, env=env, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


def commit(path: Path, files: Mapping[str, str], subject: str) -> str:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", subject)
    return git(path, "rev-parse", "HEAD")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def alive(pids: Iterable[int]) -> list[int]:
    """Those that live; what nobody reaped yet is dead."""
    return [pid for pid in pids if (stat := _read(pid, "stat")) and stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
