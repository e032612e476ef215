"""The changes of the core toolset. Each plans here, is judged and committed by `call`, and is followed to its end."""

from pydantic import Field

from ops_mcp.answers import ChangeResult, ended, found_deployment, planned, watched
from ops_mcp.deploying.plans import cancel_plan, deploy_plan, restart_plan, rollback_plan
from ops_mcp.domain.releases import Plan
from ops_mcp.errors import Unsupported
from ops_mcp.ports import Ops, Restarts
from ops_mcp.targets import CurrentArgs, DeploymentIdArg, asked_by, bound, place_of
from ops_mcp.tool import Target, WriteArgs, change
from ops_mcp.tools.core.arguments import CORE


class DeployArgs(CurrentArgs):
    ref: str | None = Field(default=None, max_length=200, description="Branch, tag or commit; default branch if absent")


@change(
    toolset=CORE, title="Deploy", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def deploy(args: DeployArgs, ops: Ops) -> Plan:
    """Deploy a service's ref: build, replace, verify, then watch; a release that fails is rolled back by itself.

    Returns once verified or ended, or after 45 s; follow with `deployment`. Not for going back: use `rollback`.
    """
    binding, provider = bound(args.service, args.environment, ops)
    content = await provider.resolve(binding, args.ref)
    return deploy_plan(
        asked_by(args, ops, args.expected_current), content=content, binding=binding, place=await place_of(binding, ops)
    )


class RollbackArgs(CurrentArgs):
    to: DeploymentIdArg | None = None

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service, to=self.to)


@change(
    toolset=CORE, title="Roll back", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True, recovers=True,
)  # fmt: skip
async def rollback(args: RollbackArgs, ops: Ops) -> Plan:
    """Put back the last healthy release, or the one of deployment `to`, with its configuration, and verify it.

    Does not undo data changes. While a deployment runs, it is cancelled and undone first.
    """
    binding, _ = bound(args.service, args.environment, ops)
    to = await found_deployment(args.to, ops) if args.to else None
    return rollback_plan(asked_by(args, ops, args.expected_current), binding=binding, place=await place_of(binding, ops), to=to)


class CancelArgs(WriteArgs):
    id: DeploymentIdArg

    def target(self) -> Target:
        return Target(deployment=self.id)


@change(
    toolset=CORE, title="Cancel a deployment", reply_tokens=1500, result=ChangeResult, finish=ended, planned=planned,
    alters_runtime=False,
)  # fmt: skip
async def deployment_cancel(args: CancelArgs, ops: Ops) -> Plan:
    """Cancel a running deployment and undo what it did. Not for one that has ended: use `rollback`."""
    return cancel_plan(asked_by(args, ops), deployment=await found_deployment(args.id, ops))


class RestartArgs(CurrentArgs):
    pass


@change(
    toolset=CORE, title="Restart", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def restart(args: RestartArgs, ops: Ops) -> Plan:
    """Stop and start the release that serves now, unchanged, and verify it. Takes the service down for a moment."""
    binding, provider = bound(args.service, args.environment, ops)
    if not isinstance(provider, Restarts):
        raise Unsupported(f"{binding.provider} cannot restart.", hint="Use `deploy` with the same ref.")
    return restart_plan(asked_by(args, ops, args.expected_current), place=await place_of(binding, ops), binding=binding)
