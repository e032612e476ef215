"""What one binding comes to on this host: options, directories, confinement, and the commands built from them. Runs nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentId
from ops_mcp.ports import ReadSecret
from ops_mcp.providers.local.home import Home, release_name
from ops_mcp.providers.local.isolation import (
    MARK,
    Command,
    Confinement,
    Mode,
    Room,
    base_environment,
    confined,
    python_for,
    seen_as,
)
from ops_mcp.providers.local.options import Options, build_digest, expand

SAMPLE = Path(__file__).parents[2] / "sample"
_SAMPLE_RUN = ("{python}", "-I", "-S", "{release}/service.py")
_SHARED_RUNS = Path("/var/lib/ops-mcp")


class Shared(TypedDict):
    """What every room of one binding has in common."""

    subdirectory: str
    hidden: tuple[Path, ...]
    uid: int | None


@dataclass(frozen=True, slots=True)
class Ground:
    """One binding on this host. `uid` is who its code becomes; `hidden` is never shown to it."""

    binding: Binding
    options: Options
    home: Home
    confinement: Confinement
    uid: int | None
    hidden: tuple[Path, ...]

    def release_path(self, identity: str) -> Path:
        """Where the release of this content lives: named by it and by what else decides what is in it."""
        return self.home.releases / release_name(identity, build_digest(self.binding, self.options))

    def service_command(self, release: Path, deployment: DeploymentId, secret: ReadSecret) -> Command:
        return self.command(self.options.run or _SAMPLE_RUN, release, deployment, secret)

    def command(self, argv: tuple[str, ...], release: Path, deployment: DeploymentId, secret: ReadSecret) -> Command:
        """`argv` as the service itself would run: its release read-only, its data, its declared environment and secrets."""
        room = Room(release=release, data=self.home.data, **self._shared())
        secrets = {name: secret(reference).get_secret_value() for name, reference in self.binding.secrets.items()}
        ours = {"OPS_MCP_DEPLOYMENT": deployment, MARK: self.home.desk(deployment).mark}
        return self._confined(argv, room, {**secrets, **ours})

    def build_command(self, partial: Path, *, network: bool) -> Command:
        """The build: its release writable, no data of the running service and no secrets."""
        room = Room(release=partial, writable=True, network=network, **self._shared())
        return self._confined(self.options.build, room, {})

    def _shared(self) -> Shared:
        return {"subdirectory": self.options.subdirectory, "hidden": self.hidden, "uid": self.uid}

    def _confined(self, argv: tuple[str, ...], room: Room, env: Mapping[str, str]) -> Command:
        release, data = seen_as(self.confinement, room)
        port = self.options.port
        values = {"python": python_for(self.confinement.mode), "release": release, "data": data}
        values |= {"port": str(port)} if port is not None else {}
        declared = {**base_environment(data=data, port=port), **self.binding.env, **env}
        return confined(self.confinement, room, expand(argv, values), declared)


def runs_root(state_dir: Path, confinement: Confinement) -> Path:
    """Where releases and data live. Another uid cannot walk into a private state directory, so it gets a place of its own."""
    if confinement.mode is not Mode.uid:
        return state_dir / "local"
    return _SHARED_RUNS / hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
