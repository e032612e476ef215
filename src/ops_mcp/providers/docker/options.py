"""What an operator writes about a service that runs in containers, parsed from the binding; says nothing about how it is run."""

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured, Unsupported
from ops_mcp.providers._source import GitSource, Subdirectory, parse_repository
from ops_mcp.providers.docker.declared import Attached, Declared, Mounted, Port
from ops_mcp.providers.docker.settings import Settings, first_of
from ops_mcp.values import Value, digest

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(rf"^(?:(?:[A-Za-z0-9.-]+\.[A-Za-z0-9-]+|[A-Za-z0-9.-]+:[0-9]{{1,5}}|localhost)(?::[0-9]{{1,5}})?/)?"
                   rf"{_COMPONENT}(?:/{_COMPONENT})*$")  # fmt: skip
_VARIABLE = re.compile(r"^[^=\0\s]+$")
_OF_THE_HOST = ("host", "default")
_SAID_BY_COMPOSE = ("image", "command", "network", "port", "host_port", "memory_bytes", "cpus", "context", "dockerfile")
_OF_A_BUILD = ("dockerfile", "context", "build_seconds")


def _as_mounted(given: object) -> object:
    if not isinstance(given, str):
        return given
    source, _, rest = given.partition(":")
    target, _, mode = rest.partition(":")
    if mode not in ("", "ro", "rw"):
        raise ValueError("must be /path:/path, or with :ro or :rw at the end")
    return {"source": source, "target": target, "writable": mode == "rw"}


class Options(Value):
    """Options of a binding whose provider is `docker`.

    What runs is either `image` (a repository without tag; the ref of a deploy is its tag or digest), or `source` (a git URL or
    the path of a repository) with a `dockerfile` in its directory `context`, or `compose_service` of `compose_file`. `port` is
    the container's; `host_port` fixes where it is published, and only one container can have it.
    """

    image: str | None = Field(default=None, max_length=255)
    source: str | None = Field(default=None, min_length=1, max_length=2048)
    dockerfile: Subdirectory = "Dockerfile"
    context: Subdirectory = ""
    build_seconds: float = Field(default=900.0, gt=0, le=3600)
    compose_file: str | None = Field(default=None, max_length=4096)
    compose_service: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,128}$")
    allowed_refs: tuple[str, ...] | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    host_port: int | None = Field(default=None, ge=1, le=65535)
    host_ip: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f.:]{2,45}$")
    network: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
    command: tuple[str, ...] = ()
    replicas: int = Field(default=1, ge=1, le=50)
    memory_bytes: int | None = Field(default=None, ge=6 << 20)
    cpus: float | None = Field(default=None, gt=0, le=1024)
    stop_seconds: int = Field(default=10, ge=0, le=60)
    keep_containers: int = Field(default=5, ge=1, le=50)
    mounts: tuple[Annotated[Mounted, BeforeValidator(_as_mounted)], ...] = ()
    user: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$")
    read_only: bool = False

    @field_validator("image")
    @classmethod
    def _is_a_repository(cls, value: str | None) -> str | None:
        if value is not None and not IMAGE.fullmatch(value):
            raise ValueError("must be a repository such as ghcr.io/team/web, without tag and digest")
        return value

    @field_validator("network")
    @classmethod
    def _is_not_the_hosts(cls, value: str | None) -> str | None:
        if value in _OF_THE_HOST:
            raise ValueError("must be a network of the engine's, not the host's own")
        return value

    @field_validator("command")
    @classmethod
    def _can_be_run(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in argument for argument in value) or (value and not value[0]):
            raise ValueError("must be arguments without NUL, the first one not empty")
        return value

    @field_validator("compose_file")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None and not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path")
        return value

    @field_validator("mounts")
    @classmethod
    def _are_paths(cls, value: tuple[Mounted, ...]) -> tuple[Mounted, ...]:
        for mount in value:
            target = PurePosixPath(mount.target)
            if not target.is_absolute() or ".." in target.parts or mount.target == "/":
                raise ValueError("must lead to an absolute path inside, other than /")
        return value

    @model_validator(mode="after")
    def _says_one_thing_that_runs(self) -> "Options":
        composed = self.compose_file is not None
        if composed != (self.compose_service is not None):
            raise ValueError("compose_file and compose_service belong together")
        if composed and (both := [name for name in _SAID_BY_COMPOSE if name in self.model_fields_set]):
            raise ValueError(f"{both[0]} is said by the compose file")
        if not composed and (self.image is None) == (self.source is None):
            raise ValueError("give either image, or source, or compose_file with compose_service")
        if self.source is not None and any(not ref.startswith(("refs/heads/", "refs/tags/")) for ref in self.allowed_refs or ()):
            raise ValueError("allowed_refs of a source must be patterns below refs/heads/ or refs/tags/")
        if self.source is None and (unused := [name for name in _OF_A_BUILD if name in self.model_fields_set]):
            raise ValueError(f"{unused[0]} is for source")
        return self

    @model_validator(mode="after")
    def _publishes_what_it_has(self) -> "Options":
        if self.port is None and (self.host_port is not None or self.host_ip is not None) and self.compose_file is None:
            raise ValueError("host_port and host_ip publish port, which is not set")
        if self.port is not None and self.network == "none":
            raise ValueError("a container on the network none has no port")
        return self

    @property
    def repository(self) -> GitSource | None:
        """The repository that is built from. Raises `NotConfigured` for one that cannot be used."""
        return parse_repository(self.source, option="source") if self.source is not None else None

    @property
    def declared(self) -> Declared:
        """What the options say themselves; for a compose file, that is only what it does not say."""
        own = self.network not in (None, "none", "bridge")
        return Declared(
            command=self.command,
            ports=(Port(container=self.port, host=self.host_port, host_ip=self.host_ip),) if self.port is not None else (),
            networks=(Attached(name=self.network),) if self.network is not None and own else (),
            isolated=self.network == "none",
            memory_bytes=self.memory_bytes,
            cpus=self.cpus,
            user=self.user,
            read_only=self.read_only,
            mounts=self.mounts,
            replicas=self.replicas,
            stop_seconds=self.stop_seconds,
            keep_containers=self.keep_containers,
        )


def parse(binding: Binding) -> Options:
    """The binding's options. Raises `NotConfigured` naming the field, never its value."""
    for name in (*binding.env, *binding.secrets):
        if not _VARIABLE.fullmatch(name):
            raise NotConfigured(f"{_where(binding)}: env or secrets holds a name that no variable has.", hint="Rename it.")
    if any("\0" in value for value in binding.env.values()):
        raise NotConfigured(f"{_where(binding)}: a value in env holds a NUL.", hint="Remove it.")
    try:
        return Options.model_validate(binding.options)
    except ValidationError as error:
        field, why = first_of(error)
        raise NotConfigured(
            f"{_where(binding)}: options{'.' if field else ''}{field}: {why}.",
            hint="Valid options of the docker provider: " + ", ".join(Options.model_fields) + ". See docs/providers/docker.md.",
        ) from error


def refuse_other_mounts(binding: Binding, declared: Declared, settings: Settings) -> None:
    """Only paths that the operator listed, each written exactly as there: what lies below one could be a link made inside."""
    allowed = {mount.path: mount.writable for mount in settings.mounts}
    for mount in declared.mounts:
        if mount.source not in allowed:
            raise NotConfigured(
                f"{_where(binding)}: options.mounts names a path of the host that is not listed.",
                hint=f"An operator lists it in [providers.docker] mounts. Listed: {', '.join(allowed) or 'none'}.",
            )
        if mount.writable and not allowed[mount.source]:
            raise NotConfigured(
                f"{_where(binding)}: options.mounts wants {mount.source} writable, and it is listed read-only.",
                hint="Mount it with :ro, or have it listed with :rw in [providers.docker] mounts.",
            )


def refuse_replicas_on_one_port(declared: Declared, replicas: int) -> None:
    """Replicas share a port of the host only through a network alias: there the first one is published."""
    if replicas > 1 and declared.holds_a_port and not declared.networks:
        raise Unsupported(
            "Only one container can have the host port that the binding fixes, so there cannot be more replicas.",
            hint="Leave host_port out, or name a network on which the replicas share the service's name.",
        )


def build_digest(options: Options, *, context: str, dockerfile: str) -> str:
    """Names everything but the commit that decides what a built image holds, in 12 hexadecimal digits."""
    made_by = digest({"source": options.source, "context": context, "dockerfile": dockerfile})
    return made_by.removeprefix("sha256:")[:12]


def _where(binding: Binding) -> str:
    return f"{binding.service} in {binding.environment}"
