"""What an engine answers, read once into frozen values. Unknown fields and values are no errors; what is missing reads as empty.

Since API 1.52 addresses stand only below `NetworkSettings.Networks`, and legacy event fields are gone: neither is read here.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ops_mcp.providers.docker.troubles import not_understood
from ops_mcp.values import Json

M = TypeVar("M", bound="Told")


def _moment(given: Any) -> Any:
    """The engine writes nanoseconds, and the year 1 for never."""
    if not isinstance(given, str) or given.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except ValueError:
        return None


def _nothing_for_null(kind: type) -> BeforeValidator:
    return BeforeValidator(lambda given: kind() if given is None else given)


Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Words = Annotated[dict[str, str], _nothing_for_null(dict)]
Names = Annotated[tuple[str, ...], _nothing_for_null(tuple)]


class Told(BaseModel):
    """An object of the engine's: more fields than these are fine."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class HealthLog(Told):
    exit_code: int = Field(default=0, alias="ExitCode")
    output: str = Field(default="", alias="Output")


class EngineHealth(Told):
    """What the image's own check says: none, starting, healthy or unhealthy. It stays as it was when a container ends."""

    status: str = Field(default="", alias="Status")
    failing_streak: int = Field(default=0, alias="FailingStreak")
    log: Annotated[tuple[HealthLog, ...], _nothing_for_null(tuple)] = Field(default=(), alias="Log")


class State(Told):
    status: str = Field(default="", alias="Status")
    exit_code: int = Field(default=0, alias="ExitCode")
    out_of_memory: bool = Field(default=False, alias="OOMKilled")
    error: str = Field(default="", alias="Error")
    started_at: Moment = Field(default=None, alias="StartedAt")
    finished_at: Moment = Field(default=None, alias="FinishedAt")
    health: EngineHealth | None = Field(default=None, alias="Health")


class HealthConfig(Told):
    test: Names = Field(default=(), alias="Test")


class ContainerConfig(Told):
    labels: Words = Field(default={}, alias="Labels")
    tty: bool = Field(default=False, alias="Tty")
    check: HealthConfig | None = Field(default=None, alias="Healthcheck")


class Published(Told):
    host_ip: str = Field(default="", alias="HostIp")
    host_port: str = Field(default="", alias="HostPort")


class Networking(Told):
    ports: Annotated[dict[str, tuple[Published, ...] | None], _nothing_for_null(dict)] = Field(default={}, alias="Ports")
    networks: Annotated[dict[str, Any], _nothing_for_null(dict)] = Field(default={}, alias="Networks")


class Container(Told):
    """One container, inspected."""

    id: str = Field(alias="Id")
    name: str = Field(default="", alias="Name")
    image: str = Field(default="", alias="Image")
    created: Moment = Field(default=None, alias="Created")
    restart_count: int = Field(default=0, alias="RestartCount")
    state: State = Field(default=State(), alias="State")
    config: ContainerConfig = Field(default=ContainerConfig(), alias="Config")
    networking: Networking = Field(default=Networking(), alias="NetworkSettings")

    @property
    def was_started(self) -> bool:
        return self.state.started_at is not None

    @property
    def runs(self) -> bool:
        return self.state.status in ("running", "paused", "restarting")

    @property
    def has_check(self) -> bool:
        """Whether the engine checks its health itself."""
        return self.state.health is not None and self.state.health.status not in ("", "none")


class Listed(Told):
    """One container as a list shows it."""

    id: str = Field(alias="Id")
    labels: Words = Field(default={}, alias="Labels")
    state: str = Field(default="", alias="State")
    created: int = Field(default=0, alias="Created")
    image_id: str = Field(default="", alias="ImageID")


class Image(Told):
    id: str = Field(alias="Id")
    tags: Names = Field(default=(), alias="RepoTags")
    digests: Names = Field(default=(), alias="RepoDigests")


class Execution(Told):
    running: bool = Field(default=False, alias="Running")
    exit_code: int | None = Field(default=None, alias="ExitCode")


class Created(Told):
    id: str = Field(alias="Id")


class Descriptor(Told):
    digest: str = ""


class Distribution(Told):
    descriptor: Descriptor = Field(default=Descriptor(), alias="Descriptor")


class CpuUsage(Told):
    total: int = Field(default=0, alias="total_usage")


class CpuStats(Told):
    usage: CpuUsage = Field(default=CpuUsage(), alias="cpu_usage")
    system: int = Field(default=0, alias="system_cpu_usage")
    online: int = Field(default=0, alias="online_cpus")


class MemoryStats(Told):
    usage: int = 0
    limit: int = 0
    stats: Annotated[dict[str, int], _nothing_for_null(dict)] = {}


class PidsStats(Told):
    current: int = 0


class Stats(Told):
    """One measurement of one container. Counters are nanoseconds; what a stopped one has is zero."""

    cpu: CpuStats = Field(default=CpuStats(), alias="cpu_stats")
    memory: MemoryStats = Field(default=MemoryStats(), alias="memory_stats")
    pids: PidsStats = Field(default=PidsStats(), alias="pids_stats")


def read(model: type[M], body: Json, *, doing: str) -> M:
    """The object. Raises a `ProviderError` where it is of another form."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise not_understood(doing) from error


def read_all(model: type[M], body: Json, *, doing: str) -> tuple[M, ...]:
    """The same for a list; null is none."""
    if body is None:
        return ()
    if not isinstance(body, list):
        raise not_understood(doing)
    return tuple(read(model, item, doing=doing) for item in body)
