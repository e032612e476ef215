"""What calls point at: the arguments for it, and looking it up for a plan."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from ops_mcp.deploying.plans import Asked, Place
from ops_mcp.domain.identity import System
from ops_mcp.domain.places import Binding
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound
from ops_mcp.ports import Ops, Provider, look
from ops_mcp.tool import EnvironmentArg, ServiceArg, Target, WriteArgs
from ops_mcp.values import Json, JsonObject

DeploymentIdArg = Annotated[str, Field(pattern=r"^dep_[0-9A-Za-z]{8,40}$", description="Deployment id")]


class PlaceArgs(WriteArgs):
    """A change of one service in one environment."""

    service: ServiceArg
    environment: EnvironmentArg

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class CurrentArgs(PlaceArgs):
    """A change of what serves there, which the caller may pin."""

    expected_current: str | None = Field(default=None, max_length=80, description="Refuse unless current")


def bound(service: str, environment: str, ops: Ops) -> tuple[Binding, Provider]:
    """The binding and its provider. Raises `NotFound` naming the services this caller may see there."""
    binding = ops.config.binding(service, environment)
    if binding is None:
        known = ", ".join(sorted(b.service for b in ops.config.bindings if b.environment == environment)) or "none"
        raise NotFound(
            f"No service {service!r} in {environment}.",
            hint=f"Services there: {known}. An operator adds one by `ops-mcp service add`.",
        )
    return binding, provider_of(binding, ops)


def provider_of(binding: Binding, ops: Ops) -> Provider:
    """Raises `NotConfigured` where the binding names a provider that there is not."""
    provider = ops.providers.get(binding.provider)
    if provider is None:
        known = ", ".join(sorted(ops.providers)) or "none"
        raise NotConfigured(
            f"{binding.service} in {binding.environment} names the provider {binding.provider!r}.", hint=f"Providers: {known}."
        )
    return provider


@contextmanager
def about(field: str, hint: str = "") -> Generator[None]:
    """What goes wrong in here is about this argument, and says so."""
    try:
        yield
    except InvalidArguments as error:
        if error.details.get("fields") and error.hint:
            raise
        fields: list[Json] = [field]
        raise InvalidArguments(
            f"{field}: {error.message}", hint=error.hint or hint, details={**error.details, "fields": fields}
        ) from error


def asked_by(args: WriteArgs, ops: Ops, expected: str | None = None) -> Asked:
    """The call as its plan names it."""
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    arguments: JsonObject = args.model_dump(mode="json", exclude={"dry_run", "idempotency_key", "reason"}, exclude_none=True)
    return Asked(ops.call.tool, caller, arguments, expected, ops.call.ceiling)


async def place_of(binding: Binding, ops: Ops) -> Place:
    """What is recorded where the binding says."""
    return await look(ops.deployments, binding.service, binding.environment)
