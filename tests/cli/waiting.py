"""Puts a request for approval into a terminal's database, as the call path would."""

from datetime import timedelta

import anyio

from ops_mcp.cli.desk import ledger_signer
from ops_mcp.config import load
from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState, CallId
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import Plan, Step, StepName
from ops_mcp.store import approvals
from ops_mcp.store.database import Database
from tests.cli.conftest import Terminal


def ask_for_approval(terminal: Terminal, name: str = "apr_1", *, why: str = "the fix is ready", summary: str = "") -> Approval:
    """A pending request of the agent `bot` to deploy `shop` to production."""
    plan = Plan(
        tool="deploy",
        agent="bot",
        environment=EnvironmentName("production"),
        service=ServiceName("shop"),
        summary=summary or "Deploy shop at 1f3c to production.",
        content="1f3c",
        target_state="nothing",
        steps=(Step(name=StepName.release, does="start 1f3c", undo="stop it"),),
        warnings=("there is no earlier release",),
    )
    approval = Approval(
        id=ApprovalId(name),
        plan_digest=plan.digest,
        agent="bot",
        environment=plan.environment,
        service=plan.service,
        call=CallId("call_1"),
        state=ApprovalState.pending,
        requested_at=terminal.now,
        answer_by=terminal.now + timedelta(minutes=15),
        why=why,
        idempotency_key="once",
    )
    anyio.run(_insert, terminal, approval, plan)
    return approval


async def _insert(terminal: Terminal, approval: Approval, plan: Plan) -> None:
    config = load({}, config_dir=terminal.config_dir, state_dir=terminal.state_dir)
    with anyio.fail_after(10):
        async with Database.open(config.database_path, signer=ledger_signer(config)) as database:
            await database.write(lambda t: approvals.insert(t, approval, plan))
