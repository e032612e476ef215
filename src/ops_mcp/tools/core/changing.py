"""The changes of the core toolset. Each plans here, is judged and committed by `call`, and is followed to its end."""

from pydantic import Field

from ops_mcp.answers import ChangeResult, deployment_view, follow, found_deployment, next_step, planned
from ops_mcp.deploying.plans import Asked, Place, cancel_plan, deploy_plan, restart_plan, rollback_plan
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.identity import System
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Plan
from ops_mcp.errors import NotConfigured, NotFound, Unsupported
from ops_mcp.ports import Ops, Provider, Restarts, look
from ops_mcp.tool import Committed, EnvironmentArg, ServiceArg, Target, WriteArgs, change
from ops_mcp.tools.core.arguments import CORE, DeploymentIdArg
from ops_mcp.values import JsonObject


class PlaceArgs(WriteArgs):
    service: ServiceArg
    environment: EnvironmentArg
    expected_current: str | None = Field(default=None, max_length=80, description="Refuse unless current")

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class DeployArgs(PlaceArgs):
    ref: str | None = Field(default=None, max_length=200, description="Branch, tag or commit; default branch if absent")


async def watch(committed: Committed, ops: Ops) -> ChangeResult:
    """Follow a committed deployment until it is verified or has ended, within the call's deadline."""
    if committed.deployment is None:
        raise NotFound("The first call with this key began no deployment.", hint="Use a new key.")
    found = await follow(committed.deployment, ops, ops.deadline_seconds)
    return ChangeResult(deployment=deployment_view(found, final=is_final(found.state)), note=next_step(found))


@change(
    toolset=CORE, title="Deploy", reply_tokens=1500, result=ChangeResult, finish=watch, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def deploy(args: DeployArgs, ops: Ops) -> Plan:
    """Deploy a service's ref: build, replace, verify, then watch; a release that fails is rolled back by itself.

    Returns once verified or ended, or after 45 s; follow with `deployment`. Not for going back: use `rollback`.
    """
    binding, provider = _bound(args.service, args.environment, ops)
    content = await provider.resolve(binding, args.ref)
    return deploy_plan(
        _asked(args, ops, args.expected_current), content=content, binding=binding, place=await _place(binding, ops)
    )


class RollbackArgs(PlaceArgs):
    to: DeploymentIdArg | None = None

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service, to=self.to)


@change(
    toolset=CORE, title="Roll back", reply_tokens=1500, result=ChangeResult, finish=watch, planned=planned,
    alters_runtime=True, recovers=True,
)  # fmt: skip
async def rollback(args: RollbackArgs, ops: Ops) -> Plan:
    """Put back the last healthy release, or the one of deployment `to`, with its configuration, and verify it.

    Does not undo data changes. While a deployment runs, it is cancelled and undone first.
    """
    binding, _ = _bound(args.service, args.environment, ops)
    to = await found_deployment(args.to, ops) if args.to else None
    return rollback_plan(_asked(args, ops, args.expected_current), binding=binding, place=await _place(binding, ops), to=to)


class CancelArgs(WriteArgs):
    id: DeploymentIdArg

    def target(self) -> Target:
        return Target(deployment=self.id)


async def cancelled(committed: Committed, ops: Ops) -> ChangeResult:
    """Follow a cancelled deployment to its end."""
    if committed.deployment is None:
        raise NotFound("The first call with this key cancelled nothing.", hint="Use a new key.")
    found = await follow(committed.deployment, ops, ops.deadline_seconds, until_final=True)
    return ChangeResult(deployment=deployment_view(found, final=is_final(found.state)), note=next_step(found))


@change(
    toolset=CORE, title="Cancel a deployment", reply_tokens=1500, result=ChangeResult, finish=cancelled, planned=planned,
    alters_runtime=False,
)  # fmt: skip
async def deployment_cancel(args: CancelArgs, ops: Ops) -> Plan:
    """Cancel a running deployment and undo what it did. Not for one that has ended: use `rollback`."""
    return cancel_plan(_asked(args, ops, None), deployment=await found_deployment(args.id, ops))


class RestartArgs(PlaceArgs):
    pass


@change(
    toolset=CORE, title="Restart", reply_tokens=1500, result=ChangeResult, finish=watch, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def restart(args: RestartArgs, ops: Ops) -> Plan:
    """Stop and start the release that serves now, unchanged, and verify it. Takes the service down for a moment."""
    binding, provider = _bound(args.service, args.environment, ops)
    if not isinstance(provider, Restarts):
        raise Unsupported(f"{binding.provider} cannot restart.", hint="Use `deploy` with the same ref.")
    return restart_plan(_asked(args, ops, args.expected_current), place=await _place(binding, ops), binding=binding)


def _bound(service: str, environment: str, ops: Ops) -> tuple[Binding, Provider]:
    """The binding and its provider. Raises `NotFound` naming the services this caller may see there."""
    binding = ops.config.binding(service, environment)
    if binding is None:
        known = ", ".join(sorted(b.service for b in ops.config.bindings if b.environment == environment)) or "none"
        raise NotFound(
            f"No service {service!r} in {environment}.",
            hint=f"Services there: {known}. An operator adds one by `ops-mcp service add`.",
        )
    provider = ops.providers.get(binding.provider)
    if provider is None:
        known = ", ".join(sorted(ops.providers)) or "none"
        raise NotConfigured(f"{service} in {environment} names the provider {binding.provider!r}.", hint=f"Providers: {known}.")
    return binding, provider


def _asked(args: WriteArgs, ops: Ops, expected: str | None) -> Asked:
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    arguments: JsonObject = args.model_dump(mode="json", exclude={"dry_run", "idempotency_key", "reason"}, exclude_none=True)
    return Asked(ops.call.tool, caller, arguments, expected, ops.call.ceiling)


async def _place(binding: Binding, ops: Ops) -> Place:
    return await look(ops.deployments, binding.service, binding.environment)
