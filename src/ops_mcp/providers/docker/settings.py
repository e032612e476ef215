"""What an operator writes about engines: `[providers.docker]`, parsed. Where each engine is, and what may be used of it."""

from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from ops_mcp.errors import NotConfigured
from ops_mcp.values import JsonObject, Value

KIND = "docker"
DEFAULT_HOST = "unix:///var/run/docker.sock"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NEVER_MOUNTED = ("/", "/proc", "/sys", "/dev", "/run", "/var/run")


class Endpoint(Value):
    """One engine. TLS files are paths on this host; `ca` None trusts the system's authorities."""

    host: str = DEFAULT_HOST
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @field_validator("host")
    @classmethod
    def _is_socket_or_tcp(cls, value: str) -> str:
        parts = urlsplit(value)
        socket = parts.scheme == "unix" and not parts.netloc and PurePosixPath(parts.path).is_absolute()
        tcp = parts.scheme == "tcp" and bool(parts.hostname) and _port(value) is not None and parts.path in ("", "/")
        if not (socket or (tcp and parts.username is None)) or any(ord(c) <= 32 for c in value):
            raise ValueError("must be unix:///path or tcp://host:port")
        return value

    @model_validator(mode="after")
    def _is_not_in_the_clear(self) -> "Endpoint":
        given = (self.cert is not None, self.key is not None)
        if given[0] != given[1]:
            raise ValueError("cert and key belong together")
        if not self.is_socket and self.address not in _LOOPBACK and not given[0]:
            raise ValueError("an engine on another host is asked over TLS only: name cert and key")
        return self

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("unix:")

    @property
    def uses_tls(self) -> bool:
        return not self.is_socket and (self.cert is not None or self.ca is not None)

    @property
    def socket_path(self) -> str:
        return urlsplit(self.host).path

    @property
    def address(self) -> str:
        """Where the ports that this engine publishes are reached."""
        return "127.0.0.1" if self.is_socket else (urlsplit(self.host).hostname or "")

    @property
    def is_here(self) -> bool:
        return self.address in _LOOPBACK


class Registry(Value):
    """How the engine logs in to one registry. `password` is the name of a secret."""

    username: str = Field(min_length=1, max_length=200)
    password: str = Field(min_length=1, max_length=63)


class AllowedMount(Value):
    """One path of the engine's host that bindings may mount, exactly as it is written."""

    path: str
    writable: bool = False


def _as_endpoint(given: object) -> object:
    return {"host": given} if isinstance(given, str) else given


def _as_mount(given: object) -> object:
    if not isinstance(given, str):
        return given
    path, _, mode = given.partition(":")
    if mode not in ("", "ro", "rw"):
        raise ValueError("must be /path, /path:ro or /path:rw")
    return {"path": path, "writable": mode == "rw"}


class Settings(Value):
    """`[providers.docker]`. `hosts` gives single environments an engine of their own, as a URL or a table like the top's."""

    host: str = DEFAULT_HOST
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    hosts: dict[str, Annotated[Endpoint, BeforeValidator(_as_endpoint)]] = {}
    registry_credentials: dict[str, Registry] = {}
    mounts: tuple[Annotated[AllowedMount, BeforeValidator(_as_mount)], ...] = ()
    pids_limit: int = Field(default=4096, ge=16, le=1_000_000)

    @field_validator("mounts")
    @classmethod
    def _are_plain_paths(cls, value: tuple[AllowedMount, ...]) -> tuple[AllowedMount, ...]:
        for mount in value:
            path = PurePosixPath(mount.path)
            if not path.is_absolute() or ".." in path.parts or str(path) != mount.path:
                raise ValueError("must be absolute paths without .. and without a trailing slash")
            if mount.path in _NEVER_MOUNTED or path.name.endswith(".sock"):
                raise ValueError("must not give the host away: no root, no /dev, /proc, /run, /sys, no socket")
        return value

    @model_validator(mode="after")
    def _default_is_reachable(self) -> "Settings":
        Endpoint(host=self.host, ca=self.ca, cert=self.cert, key=self.key)
        return self

    def endpoint(self, environment: str) -> Endpoint:
        """The engine of this environment."""
        return self.hosts.get(environment) or Endpoint(host=self.host, ca=self.ca, cert=self.cert, key=self.key)


def parse_settings(table: JsonObject) -> Settings:
    """The provider's table. Raises `NotConfigured` naming the field, never its value."""
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        field, why = first_of(error)
        raise NotConfigured(
            f"[providers.{KIND}] {field}: {why}.",
            hint="Valid: " + ", ".join(Settings.model_fields) + ". See docs/providers/docker.md.",
        ) from error


def first_of(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong, and why; without its value."""
    found = error.errors(include_input=False, include_url=False)[0]
    return ".".join(str(part) for part in found["loc"]), found["msg"].removeprefix("Value error, ")


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None
