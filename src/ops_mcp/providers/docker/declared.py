"""What a container is made to be, wherever that is declared: in a binding's options or in a compose file. Knows no engine."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from ops_mcp.values import Value


class Port(Value):
    """One port of the container, and where it is published. `host` None lets the engine choose a free one."""

    container: int = Field(ge=1, le=65535)
    host: int | None = Field(default=None, ge=1, le=65535)
    host_ip: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f.:]{2,45}$")
    protocol: Literal["tcp", "udp"] = "tcp"

    @property
    def key(self) -> str:
        """As the engine writes it."""
        return f"{self.container}/{self.protocol}"


class Mounted(Value):
    """A path of the engine's host inside the container."""

    source: str
    target: str
    writable: bool = False


class Check(Value):
    """A health check that the engine runs inside. Times are in nanoseconds; None leaves a value to the image."""

    test: tuple[str, ...]
    interval: int | None = None
    timeout: int | None = None
    retries: int | None = None
    start_period: int | None = None
    start_interval: int | None = None


class Attached(Value):
    """A network of the engine's that the container joins, and by which names it is found there besides its service's."""

    name: str
    aliases: tuple[str, ...] = ()


class Declared(Value):
    """Everything about a container but its image, its secrets and which deployment it is of."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    ports: tuple[Port, ...] = ()
    networks: tuple[Attached, ...] = ()
    isolated: bool = False
    memory_bytes: int | None = None
    cpus: float | None = None
    user: str | None = None
    read_only: bool = False
    mounts: tuple[Mounted, ...] = ()
    check: Check | None = None
    labels: dict[str, str] = {}
    replicas: int = 1
    stop_seconds: int = 10
    keep_containers: int = 5

    @property
    def port(self) -> Port | None:
        """The one that the service answers on."""
        return self.ports[0] if self.ports else None

    @property
    def holds_a_port(self) -> bool:
        """Whether no second container can be started beside it: a port of the host has one owner."""
        return any(port.host is not None for port in self.ports)

    def with_env(self, env: Mapping[str, str]) -> "Declared":
        """The same with more variables; those given win."""
        return self.evolve(env={**self.env, **env})
