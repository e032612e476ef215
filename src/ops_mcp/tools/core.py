"""The core toolset: who am I, what is there, deploy and its siblings, and the record of it all."""

from datetime import datetime
from typing import Annotated, Literal

import anyio
from pydantic import Field

from ops_mcp.answers import ChangeResult, DeploymentView, StepView, deployment_view, planned, step_view
from ops_mcp.deploying.plans import Asked, Place, cancel_plan, deploy_plan, restart_plan, rollback_plan
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.calls import ApprovalState
from ops_mcp.domain.identity import Agent, System
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import Deployment, DeploymentId, DeploymentState, Plan
from ops_mcp.errors import NotConfigured, NotFound, Unsupported
from ops_mcp.governance.approvals import is_late
from ops_mcp.governance.reputation import missing_for_next, standing
from ops_mcp.ports import DeploymentQuery, Ops, Provider, Restarts, TrailQuery
from ops_mcp.tool import Args, Committed, EnvironmentArg, Result, ServiceArg, Target, WriteArgs, change, read
from ops_mcp.values import JsonObject

CORE = "core"
POLL_SECONDS = 0.1
DeploymentIdArg = Annotated[str, Field(pattern=r"^dep_[0-9A-Za-z]{8,40}$", description="Deployment id")]
CursorArg = Annotated[str | None, Field(max_length=400, description="next_cursor of the last page")]
WaitArg = Annotated[float, Field(ge=0, le=45, description="Wait this long for the end")]


class NoArgs(Args):
    """No arguments."""


class BudgetView(Result):
    scope: str
    window: str
    currency: str
    limit: int
    left: int
    resets_at: datetime


class Whoami(Result):
    """`boundary` says what this installation protects against and what not."""

    caller: str
    owner: str | None = None
    ceiling: str | None = None
    level: str | None = None
    score: int | None = None
    points_to_next_level: int | None = None
    environments: list[str]
    frozen: list[str] = []
    open_approvals: int = 0
    budgets: list[BudgetView] = []
    boundary: str
    trouble: str = ""
    warnings: list[str] = []


@read(toolset=CORE, title="Who am I", reply_tokens=2500, always_reachable=True, answers_when_down=True)
async def whoami(args: NoArgs, ops: Ops) -> Whoami:
    """Your identity, ceiling, level, score, budgets left, freezes, and what this installation protects against."""
    agent = ops.caller.agent if isinstance(ops.caller, System) else ops.caller
    account = await ops.accounts.of(ops.caller, ops.clock())
    stand = standing(agent) if isinstance(agent, Agent) else None
    seen = ops.visible()
    return Whoami(
        caller=agent.name,
        owner=agent.owner if isinstance(agent, Agent) else None,
        ceiling=stand.ceiling.value if stand else None,
        level=stand.level.value if stand else None,
        score=stand.score if stand else None,
        points_to_next_level=missing_for_next(agent) if isinstance(agent, Agent) else None,
        environments=list(seen),
        frozen=[name for name in account.frozen if name == "*" or name in seen],
        open_approvals=account.open_approvals,
        budgets=[BudgetView(**left.model_dump()) for left in account.budgets if left.left < left.limit][:40],
        boundary=ops.config.boundary,
        trouble=ops.trouble or account.trouble,
        warnings=list(ops.config.warnings),
    )


class ServicesArgs(Args):
    environment: EnvironmentArg | None = None


class ServicePlace(Result):
    service: str
    environment: str
    tier: str
    provider: str
    risk: str
    approval: str
    deployment: str | None = None
    content: str | None = None
    health: str | None = None


class Services(Result):
    environments: list[str]
    services: list[ServicePlace]
    cut: bool = False


@read(toolset=CORE, title="List services", reply_tokens=6000, target=lambda a: Target(environment=a.environment))
async def services(args: ServicesArgs, ops: Ops) -> Services:
    """The services you may see, per environment, with what each runs now. Start here for valid names."""
    seen = [EnvironmentName(args.environment)] if args.environment else list(ops.visible())
    bound = [b for b in ops.config.bindings if b.environment in seen]
    places = [_place(b, ops, await ops.deployments.serving(b.service, b.environment)) for b in bound[:100]]
    return Services(environments=[*seen], services=places, cut=len(bound) > len(places))


class DeployArgs(WriteArgs):
    service: ServiceArg
    environment: EnvironmentArg
    ref: str | None = Field(default=None, max_length=200, description="Branch, tag or commit; default branch if absent")
    expected_current: str | None = Field(default=None, max_length=80, description="Refuse unless current")


def _at(args: "DeployArgs | RestartArgs") -> Target:
    return Target(environment=args.environment, service=args.service)


async def watch(committed: Committed, ops: Ops) -> ChangeResult:
    """Follow a committed deployment until it is verified or has ended, within the call's deadline."""
    if committed.deployment is None:
        raise NotFound("The first call with this key began no deployment.", hint="Use a new key.")
    found = await _follow(committed.deployment, ops, ops.deadline_seconds)
    return ChangeResult(deployment=deployment_view(found, final=is_final(found.state)), note=_next_step(found))


@change(
    toolset=CORE, title="Deploy", reply_tokens=2000, result=ChangeResult, target=_at, finish=watch, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def deploy(args: DeployArgs, ops: Ops) -> Plan:
    """Deploy a service's ref: build, replace, verify, then watch; a release that fails is rolled back by itself.

    Returns once verified or ended, or after 45 s; follow with `deployment`. Not for going back: use `rollback`.
    """
    binding, provider = _bound(args.service, args.environment, ops)
    content = await provider.resolve(binding, args.ref)
    return deploy_plan(
        _asked(args, ops, args.expected_current), content=content, binding=binding, place=await _look(binding, ops)
    )


class RollbackArgs(WriteArgs):
    service: ServiceArg
    environment: EnvironmentArg
    to: DeploymentIdArg | None = None
    expected_current: str | None = Field(default=None, max_length=80, description="Refuse unless current")


@change(
    toolset=CORE, title="Roll back", reply_tokens=2000, result=ChangeResult, finish=watch, planned=planned,
    target=lambda a: Target(environment=a.environment, service=a.service, to=a.to),
    alters_runtime=True, recovers=True,
)  # fmt: skip
async def rollback(args: RollbackArgs, ops: Ops) -> Plan:
    """Put back the last healthy release, or the one of deployment `to`, with its configuration, and verify it.

    Does not undo data changes. While a deployment runs, it is cancelled and undone first.
    """
    binding, _ = _bound(args.service, args.environment, ops)
    to = await _deployment(args.to, ops) if args.to else None
    return rollback_plan(_asked(args, ops, args.expected_current), binding=binding, place=await _look(binding, ops), to=to)


class DeploymentsArgs(Args):
    service: ServiceArg | None = None
    environment: EnvironmentArg | None = None
    state: Literal[
        "queued", "releasing", "verifying", "watching", "undoing", "healthy", "superseded", "rolled_back", "down", "failed",
        "cancelled", "unknown",
    ] | None = None  # fmt: skip
    limit: int = Field(default=10, ge=1, le=25)
    cursor: CursorArg = None


class Deployments(Result):
    deployments: list[DeploymentView]
    next_cursor: str | None = None


@read(
    toolset=CORE, title="List deployments", reply_tokens=12_000,
    target=lambda a: Target(environment=a.environment, service=a.service),
)  # fmt: skip
async def deployments(args: DeploymentsArgs, ops: Ops) -> Deployments:
    """Deployments, newest first."""
    page = await ops.deployments.page(
        DeploymentQuery(
            visible=ops.visible(),
            service=ServiceName(args.service) if args.service else None,
            environment=EnvironmentName(args.environment) if args.environment else None,
            state=DeploymentState(args.state) if args.state else None,
            limit=args.limit,
            cursor=args.cursor,
        )
    )
    views = [deployment_view(d, final=is_final(d.state)) for d in page.items]
    return Deployments(deployments=views, next_cursor=page.next_cursor)


class DeploymentArgs(Args):
    id: DeploymentIdArg
    wait_seconds: WaitArg = 0


class DeploymentDetail(Result):
    deployment: DeploymentView
    steps: list[StepView]
    note: str = ""


@read(toolset=CORE, title="One deployment", reply_tokens=5000, target=lambda a: Target(deployment=a.id), always_reachable=True)
async def deployment(args: DeploymentArgs, ops: Ops) -> DeploymentDetail:
    """One deployment with its journal; waits for its end if asked to."""
    found = await _follow(DeploymentId(args.id), ops, args.wait_seconds, until_final=True)
    steps = await ops.journal.steps(found.id)
    view = deployment_view(found, final=is_final(found.state))
    return DeploymentDetail(deployment=view, steps=[step_view(s) for s in steps[-40:]], note=_next_step(found))


class CancelArgs(WriteArgs):
    id: DeploymentIdArg


async def cancelled(committed: Committed, ops: Ops) -> ChangeResult:
    """Follow a cancelled deployment to its end."""
    if committed.deployment is None:
        raise NotFound("The first call with this key cancelled nothing.", hint="Use a new key.")
    found = await _follow(committed.deployment, ops, ops.deadline_seconds, until_final=True)
    return ChangeResult(deployment=deployment_view(found, final=is_final(found.state)), note=_next_step(found))


@change(
    toolset=CORE, title="Cancel a deployment", reply_tokens=2000, result=ChangeResult, finish=cancelled, planned=planned,
    target=lambda a: Target(deployment=a.id), alters_runtime=False,
)  # fmt: skip
async def deployment_cancel(args: CancelArgs, ops: Ops) -> Plan:
    """Cancel a running deployment and undo what it did. Not for one that has ended: use `rollback`."""
    return cancel_plan(_asked(args, ops, None), deployment=await _deployment(args.id, ops))


class RestartArgs(WriteArgs):
    service: ServiceArg
    environment: EnvironmentArg
    expected_current: str | None = Field(default=None, max_length=80, description="Refuse unless current")


@change(
    toolset=CORE, title="Restart", reply_tokens=2000, result=ChangeResult, target=_at, finish=watch, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def restart(args: RestartArgs, ops: Ops) -> Plan:
    """Stop and start the release that serves now, unchanged, and verify it. Takes the service down for a moment."""
    binding, provider = _bound(args.service, args.environment, ops)
    if not isinstance(provider, Restarts):
        raise Unsupported(f"{binding.provider} cannot restart.", hint="Use `deploy` with the same ref.")
    return restart_plan(_asked(args, ops, args.expected_current), place=await _look(binding, ops), binding=binding)


class ApprovalArgs(Args):
    id: str = Field(pattern=r"^apr_[0-9A-Za-z]{8,40}$")
    wait_seconds: WaitArg = 0


class ApprovalView(Result):
    id: str
    state: str
    environment: str
    service: str | None = None
    answered_by: str | None = None
    answer_by: datetime
    use_by: datetime | None = None
    operators_note: str = ""
    deployment: str | None = None
    next: str


@read(toolset=CORE, title="Approval status", reply_tokens=800, target=lambda a: Target(approval=a.id), always_reachable=True)
async def approval(args: ApprovalArgs, ops: Ops) -> ApprovalView:
    """Whether a person has answered your request; waits if asked to. Cannot approve anything."""
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    found = None
    with anyio.move_on_after(args.wait_seconds):
        while True:
            found = await ops.approvals.get(args.id)
            if found is None or found.agent != caller:
                raise NotFound("You have no approval with this id.", hint="Use the id that a `needs_approval` answer gave you.")
            if found.state is not ApprovalState.pending or is_late(found, at=ops.clock()) or args.wait_seconds == 0:
                break
            await anyio.sleep(POLL_SECONDS)
    if found is None:
        raise NotFound("You have no approval with this id.", hint="Use the id that a `needs_approval` answer gave you.")
    state = ApprovalState.expired if is_late(found, at=ops.clock()) else found.state
    return ApprovalView(
        id=found.id,
        state=state.value,
        environment=found.environment,
        service=found.service,
        answered_by=found.answered_by,
        answer_by=found.answer_by,
        use_by=found.use_by,
        operators_note=found.note[:300],
        deployment=found.deployment,
        next=_after_answer(state, run_requested=found.run_requested),
    )


class AuditArgs(Args):
    tool: str | None = Field(default=None, max_length=64)
    environment: EnvironmentArg | None = None
    deployment: DeploymentIdArg | None = None
    limit: int = Field(default=10, ge=1, le=25)
    cursor: CursorArg = None


class AuditEntry(Result):
    """One ledger record. Text inside `record` may be a stranger's."""

    number: int
    hash: str
    record: JsonObject


class Audit(Result):
    records: list[AuditEntry]
    next_cursor: str | None = None


@read(toolset=CORE, title="Audit", reply_tokens=20_000, target=lambda a: Target(environment=a.environment))
async def audit(args: AuditArgs, ops: Ops) -> Audit:
    """Your own calls as the ledger has them, newest first."""
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    page = await ops.trail.search(
        TrailQuery(
            caller=caller,
            tool=args.tool,
            environment=EnvironmentName(args.environment) if args.environment else None,
            deployment=args.deployment,
            limit=args.limit,
            cursor=args.cursor,
        )
    )
    entries = [AuditEntry(number=e.number, hash=e.hash, record=_bounded(e.body)) for e in page.items]
    return Audit(records=entries, next_cursor=page.next_cursor)


def _place(binding: Binding, ops: Ops, serving: Deployment | None) -> ServicePlace:
    environment = ops.config.environments[binding.environment]
    return ServicePlace(
        service=binding.service,
        environment=binding.environment,
        tier=environment.tier.value,
        provider=binding.provider,
        risk=binding.risk.value,
        approval=environment.approval.value,
        deployment=serving.id if serving else None,
        content=serving.release.content.identity if serving else None,
        health=serving.health.value if serving else None,
    )


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


async def _look(binding: Binding, ops: Ops) -> Place:
    serving = await ops.deployments.serving(binding.service, binding.environment)
    running = await ops.deployments.running(binding.service, binding.environment)
    current = running or serving
    healthy = await ops.deployments.last_healthy(binding.service, binding.environment, other_than=current.id if current else None)
    return Place(serving=serving, last_healthy=healthy, running=running)


def _asked(args: WriteArgs, ops: Ops, expected: str | None) -> Asked:
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    arguments: JsonObject = args.model_dump(mode="json", exclude={"dry_run", "idempotency_key", "reason"}, exclude_none=True)
    return Asked(ops.call.tool, caller, arguments, expected, ops.call.ceiling)


async def _deployment(id: str, ops: Ops) -> Deployment:
    found = await ops.deployments.get(DeploymentId(id))
    if found is None:
        raise NotFound("There is no deployment with this id.", hint="`deployments` lists the ones you may see.")
    return found


async def _follow(id: DeploymentId, ops: Ops, seconds: float, *, until_final: bool = False) -> Deployment:
    """The deployment once it is verified (or final), or as it stands when the time is up. Reports each change of state."""
    found = await _deployment(id, ops)
    said = ""
    with anyio.move_on_after(seconds):
        while not is_final(found.state) and (until_final or found.verified_at is None):
            if found.state.value != said:
                said = found.state.value
                await ops.progress(list(DeploymentState).index(found.state), None, f"{found.id} is {said}")
            await anyio.sleep(POLL_SECONDS)
            found = await _deployment(id, ops)
    return found


def _next_step(found: Deployment) -> str:
    match found.state:
        case DeploymentState.watching:
            return "Verified and serving. It is watched in the background; if it fails it is rolled back by itself."
        case DeploymentState.queued | DeploymentState.releasing | DeploymentState.verifying | DeploymentState.undoing:
            return f"Still {found.state.value}; it goes on without you. Follow with `deployment` and this id; do not repeat the call."
        case DeploymentState.unknown:
            return "What happened cannot be known from here. Look at the service before anything else is changed."
        case _:
            return ""


def _after_answer(state: ApprovalState, *, run_requested: bool) -> str:
    match state:
        case ApprovalState.pending:
            return "Nobody has answered yet; ask again with wait_seconds, or go on with other work."
        case ApprovalState.granted if run_requested:
            return "Granted, and the worker runs it; do not repeat the call. Ask again for the deployment."
        case ApprovalState.granted:
            return "Granted: repeat the same call with the same arguments before use_by."
        case ApprovalState.consumed:
            return "Already run, do not repeat; follow the deployment."
        case ApprovalState.denied:
            return "Denied. Do not ask for the same again; tell the person who asked you."
        case ApprovalState.expired:
            return "Expired. Repeat the call to ask anew, if it is still wanted."


def _bounded(body: JsonObject) -> JsonObject:
    """A record without its plan, which `deployment` and `approval` show better."""
    data = body.get("data")
    if isinstance(data, dict) and "plan" in data:
        return {**body, "data": {k: v for k, v in data.items() if k != "plan"}}
    return body
