"""Where one service in one environment lives on disk: releases, data, and a directory per deployment."""

import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentId, Release
from ops_mcp.errors import InvalidArguments
from ops_mcp.providers.local.processes import Identity
from ops_mcp.values import Value

_ID = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")


@dataclass(frozen=True, slots=True)
class Home:
    """The directories of one service in one environment. `runs` holds what isolated code sees; `state` what it must not see."""

    state: Path
    runs: Path

    @property
    def releases(self) -> Path:
        return self.runs / "releases"

    @property
    def data(self) -> Path:
        return self.runs / "data"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    def desk(self, deployment: DeploymentId) -> "Desk":
        """The directory of one deployment. Ids become file names, so odd ones are refused."""
        if not _ID.match(deployment):
            raise InvalidArguments("That is not a deployment id.", hint="Use an id from `deployments`.")
        return Desk(self.state / "deployments" / deployment)

    def desks(self) -> list["Desk"]:
        """Every deployment that left something here, oldest first."""
        folder = self.state / "deployments"
        found = [Desk(path) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        return sorted(found, key=lambda desk: desk.path.stat().st_mtime)


def home_of(binding: Binding, *, state: Path, runs: Path) -> Home:
    """The home of the binding's service below the two roots."""
    return Home(state / binding.service / binding.environment, runs / binding.service / binding.environment)


class Started(Value):
    """What a keeper has recorded of its service; written by keeper.py."""

    deployment: str
    nonce: str
    boot: str
    keeper: "Numbers"
    service: "Numbers | None" = None
    state: str
    started_at: float
    exit_code: int | None = None
    signal: int | None = None
    stopped: bool = False
    ended_at: float | None = None

    @property
    def keeper_identity(self) -> Identity:
        return Identity(self.keeper.pid, self.keeper.start, self.boot)

    @property
    def service_identity(self) -> Identity | None:
        return Identity(self.service.pid, self.service.start, self.boot) if self.service else None


class Numbers(Value):
    pid: int
    start: int


Started.model_rebuild()


@dataclass(frozen=True, slots=True)
class Desk:
    """One deployment's files: what it runs, what was last asked of a keeper, what the keeper saw, and its logs."""

    path: Path

    @property
    def deployment(self) -> DeploymentId:
        return DeploymentId(self.path.name)

    @property
    def mark(self) -> str:
        """What its processes carry in their environment: tells it from every other one on this host, and says nothing else."""
        return hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:24]

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def note_release(self, release: Release) -> None:
        """Remember what this deployment runs; environment values and references only, never a secret's value."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.path / "release.json", release.model_dump_json())

    def release(self) -> Release | None:
        try:
            return Release.model_validate_json((self.path / "release.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def want(self, nonce: str) -> None:
        """Only a keeper that carries this nonce may start from now on."""
        write_whole(self.path / "wanted", nonce)

    def wanted(self) -> str | None:
        try:
            return (self.path / "wanted").read_text(encoding="ascii")
        except OSError:
            return None

    def want_nothing(self) -> None:
        (self.path / "wanted").unlink(missing_ok=True)

    def started(self) -> Started | None:
        try:
            return Started.model_validate_json((self.path / "process.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def started_is_stale(self) -> bool:
        """Whether the record is an ended or vanished keeper's, so that one that runs now has yet to write its own."""
        started = self.started()
        return started is None or not started.keeper_identity.lives

    def is_kept(self) -> bool:
        """Whether a keeper holds this deployment now. Only for holders of the home's lock: it takes the keeper's for a moment."""
        try:
            descriptor = os.open(self.path / "running.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def preparing(self) -> Path:
        return self.path / "preparing.lock"


def write_whole(path: Path, text: str) -> None:
    """Replace the file at once; a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(temporary, "w", encoding="utf-8", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def release_name(identity: str, build: str) -> str:
    """Content identity and build digest as a file name."""
    plain = identity.removeprefix("sha256:")
    known = re.fullmatch(r"[0-9a-f]{40,64}", plain) is not None
    return f"{plain if known else hashlib.sha256(identity.encode()).hexdigest()}-{build}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
