"""Where things run: environments, services, and the binding of one to the other."""

from enum import StrEnum
from typing import Annotated, Literal, NewType, TypeAlias

from pydantic import Field

from ops_mcp.domain.identity import Risk, Tier
from ops_mcp.values import JsonObject, Value, digest

EnvironmentName = NewType("EnvironmentName", str)
ServiceName = NewType("ServiceName", str)

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""Names of environments, services, agents and operators: they become file names, labels and policy entities."""


class ApprovalRule(StrEnum):
    """When a change that alters a runtime asks a person, within the caller's level."""

    never = "never"
    always = "always"


class Environment(Value):
    """`private` hides reads from agents whose ceiling is below the tier; `approval` is the rule within the level."""

    name: EnvironmentName = Field(pattern=NAME_PATTERN)
    tier: Tier
    approval: ApprovalRule
    private: bool
    four_eyes: bool = False


class HttpProbe(Value):
    """Healthy when a GET of `path` answers with a status in `status` within `timeout_seconds`."""

    kind: Literal["http"] = "http"
    path: str = Field(default="/health", pattern=r"^/[\x21-\x7e]*$")
    status: tuple[int, ...] = (200,)
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)


class TcpProbe(Value):
    """Healthy when the port accepts a connection."""

    kind: Literal["tcp"] = "tcp"
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)


class CommandProbe(Value):
    """Healthy when `argv`, run as the service runs, exits with 0."""

    kind: Literal["command"] = "command"
    argv: tuple[str, ...] = Field(min_length=1)
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)


Probe: TypeAlias = Annotated[HttpProbe | TcpProbe | CommandProbe, Field(discriminator="kind")]


class Health(Value):
    """How a release proves itself. Times are in seconds."""

    probe: Probe = HttpProbe()
    verify_seconds: float = Field(default=60.0, gt=0, le=600)
    watch_seconds: float = Field(default=300.0, ge=0, le=3600)
    interval_seconds: float = Field(default=5.0, gt=0, le=60)
    successes: int = Field(default=2, ge=1, le=10)
    failures: int = Field(default=2, ge=1, le=10)


class Binding(Value):
    """One service in one environment. `options` belong to the provider, which parses them; `secrets` maps names to references."""

    service: ServiceName = Field(pattern=NAME_PATTERN)
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    provider: str
    risk: Risk = Risk.full
    options: JsonObject = {}
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    health: Health = Health()

    @property
    def digest(self) -> str:
        """The configuration digest that plans and approvals are bound to."""
        return digest(self.json_value())
