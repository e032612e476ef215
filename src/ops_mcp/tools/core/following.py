"""How deployments and requests for approval stand, now or after a wait."""

from datetime import datetime
from typing import Literal

import anyio
from pydantic import Field

from ops_mcp.answers import DeploymentView, StepView, count_that_fits, deployment_view, follow, next_step, step_view
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.identity import System
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentId, DeploymentState
from ops_mcp.errors import NotFound
from ops_mcp.governance.approvals import is_late
from ops_mcp.ports import DeploymentQuery, Ops
from ops_mcp.targets import DeploymentIdArg
from ops_mcp.tool import Args, EnvironmentArg, Result, ServiceArg, Target, read
from ops_mcp.tools.core.arguments import CORE, CursorArg, WaitArg

POLL_SECONDS = 0.2
DETAIL_TOKENS = 5000


class DeploymentsArgs(Args):
    service: ServiceArg | None = None
    environment: EnvironmentArg | None = None
    state: Literal[
        "queued", "releasing", "verifying", "watching", "undoing", "healthy", "superseded", "rolled_back", "down", "failed",
        "cancelled", "unknown", "applied",
    ] | None = None  # fmt: skip
    limit: int = Field(default=10, ge=1, le=25)
    cursor: CursorArg = None

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class Deployments(Result):
    deployments: list[DeploymentView]
    next_cursor: str | None = None


@read(toolset=CORE, title="List deployments", reply_tokens=12_000)
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

    def target(self) -> Target:
        return Target(deployment=self.id)


class DeploymentDetail(Result):
    deployment: DeploymentView
    steps: list[StepView]
    note: str = ""


@read(toolset=CORE, title="One deployment", reply_tokens=DETAIL_TOKENS, always_reachable=True)
async def deployment(args: DeploymentArgs, ops: Ops) -> DeploymentDetail:
    """One deployment with its journal; waits for its end if asked to."""
    found = await follow(DeploymentId(args.id), ops, args.wait_seconds, until_final=True)
    steps = await ops.journal.steps(found.id)
    view = deployment_view(found, final=is_final(found.state))
    newest = [step_view(step) for step in reversed(steps[-40:])]
    fitting = newest[: count_that_fits(newest, DETAIL_TOKENS)]
    return DeploymentDetail(deployment=view, steps=fitting[::-1], note=next_step(found))


class ApprovalArgs(Args):
    id: str = Field(pattern=r"^apr_[0-9A-Za-z]{8,40}$")
    wait_seconds: WaitArg = 0

    def target(self) -> Target:
        return Target(approval=self.id)


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


@read(toolset=CORE, title="Approval status", reply_tokens=800, always_reachable=True)
async def approval(args: ApprovalArgs, ops: Ops) -> ApprovalView:
    """Whether a person has answered your request; waits if asked to. Cannot approve anything."""
    found = await _own(args.id, ops)
    with anyio.move_on_after(args.wait_seconds):
        while found.state is ApprovalState.pending and not is_late(found, at=ops.clock()):
            await anyio.sleep(POLL_SECONDS)
            found = await _own(args.id, ops)
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


async def _own(id: str, ops: Ops) -> Approval:
    caller = ops.caller.agent.name if isinstance(ops.caller, System) else ops.caller.name
    found = await ops.approvals.get(id)
    if found is None or found.agent != caller:
        raise NotFound("You have no approval with this id.", hint="Use the id that a `needs_approval` answer gave you.")
    return found


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
