"""Who am I, what is there, and the record of it all."""

from datetime import datetime
from functools import lru_cache

from pydantic import Field

from ops_mcp.domain.identity import Agent, System
from ops_mcp.domain.places import Binding, EnvironmentName
from ops_mcp.domain.releases import Deployment
from ops_mcp.governance.reputation import missing_for_next, standing
from ops_mcp.ports import DeploymentQuery, Ops, TrailQuery
from ops_mcp.targets import DeploymentIdArg
from ops_mcp.tool import Args, EnvironmentArg, Result, Target, read
from ops_mcp.tools.core.arguments import CORE, CursorArg
from ops_mcp.values import JsonObject


class NoArgs(Args):
    """No arguments."""


class BudgetView(Result):
    scope: str
    window: str
    currency: str
    limit: int
    left: int
    resets_at: datetime


class HostLoad(Result):
    """The load guard's level of the host where services run: changes there wait at critical, emergency and unknown."""

    level: str
    since: datetime | None = None
    measure: str | None = None
    percent: float | None = None


class Whoami(Result):
    """`boundary` says what this installation protects against and what not. `load` is `off` where no guard holds changes up."""

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
    load: HostLoad
    boundary: str
    trouble: str = ""
    warnings: list[str] = []


@read(toolset=CORE, title="Who am I", reply_tokens=2500, always_reachable=True, answers_when_down=True)
async def whoami(_args: NoArgs, ops: Ops) -> Whoami:
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
        load=await _load(ops),
        boundary=ops.config.boundary,
        trouble=ops.trouble or account.trouble,
        warnings=list(ops.config.cautions),
    )


class ServicesArgs(Args):
    environment: EnvironmentArg | None = None

    def target(self) -> Target:
        return Target(environment=self.environment)


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


@read(toolset=CORE, title="List services", reply_tokens=6000)
async def services(args: ServicesArgs, ops: Ops) -> Services:
    """The services you may see, per environment, with what each runs now. Start here for valid names."""
    seen = [EnvironmentName(args.environment)] if args.environment else list(ops.visible())
    bound = [b for b in ops.config.bindings if b.environment in seen]
    page = await ops.deployments.page(DeploymentQuery(visible=tuple(seen), serving=True, limit=1000))
    serving = {(d.service, d.environment): d for d in page.items}
    places = [_place(b, ops, serving.get((b.service, b.environment))) for b in bound[:100]]
    return Services(environments=[*seen], services=places, cut=len(bound) > len(places))


class AuditArgs(Args):
    tool: str | None = Field(default=None, max_length=64)
    environment: EnvironmentArg | None = None
    deployment: DeploymentIdArg | None = None
    limit: int = Field(default=10, ge=1, le=25)
    cursor: CursorArg = None

    def target(self) -> Target:
        return Target(environment=self.environment)


class AuditEntry(Result):
    """One ledger record. Text inside `record` may be a stranger's."""

    number: int
    hash: str
    record: JsonObject


class Audit(Result):
    records: list[AuditEntry]
    next_cursor: str | None = None


@read(toolset=CORE, title="Audit", reply_tokens=20_000)
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


async def _load(ops: Ops) -> HostLoad:
    if not ops.config.settings.guard.enabled:
        return HostLoad(level="off")
    load = await ops.sights.load.of(None, None)
    measure = load.measure.value if load.measure else None
    percent = round(load.percent, 1) if load.percent is not None else None
    return HostLoad(level=load.level.value, since=load.since, measure=measure, percent=percent)


def _place(binding: Binding, ops: Ops, serving: Deployment | None) -> ServicePlace:
    environment = ops.config.environments[binding.environment]
    return _service_place(
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


_service_place = lru_cache(maxsize=512)(ServicePlace)
"""Places change far less often than they are listed."""


def _bounded(body: JsonObject) -> JsonObject:
    """A record without its plan, which `deployment` and `approval` show better."""
    data = body.get("data")
    if isinstance(data, dict) and "plan" in data:
        return {**body, "data": {k: v for k, v in data.items() if k != "plan"}}
    return body
