"""`ops-mcp approvals`, `approve`, `deny`: the terminal's door to a decision that no agent can make."""

import click

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import Part, Reply, Table, note, visible
from ops_mcp.cli.waking import waker
from ops_mcp.deploying.showing import shown
from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.errors import NotFound
from ops_mcp.governance import approvals
from ops_mcp.governance.approvals import Decision
from ops_mcp.operator.verbs import Approve, Deny
from ops_mcp.store import keys, people
from ops_mcp.store.database import Database
from ops_mcp.store.people import StoredApproval
from ops_mcp.values import JsonObject

HEADINGS = ("approval", "agent", "tool", "environment", "service", "state", "answer by")


@command("approvals")
@click.argument("approval", required=False)
@click.option("--all", "everything", is_flag=True, help="Answered and expired ones too.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most.")
async def approvals_command(desk: Desk, *, approval: str | None, everything: bool, limit: int) -> Reply:
    """Show what waits for an answer, or one APPROVAL with its plan."""
    async with desk.database() as database:
        if approval is not None:
            stored = await _stored(database, approval)
            return Reply(_data(stored, desk), _plan_parts(stored, desk))
        found = await people.recent_approvals(database, limit=limit)
    listed = [s for s in found if everything or _state(s.approval, desk) in ("pending", "granted")]
    rows = [_row(s, desk) for s in listed]
    table = Table(
        ("approval", "agent", "tool", "environment", "service", "state", "answer by"), rows, "Nothing waits for an answer."
    )
    return Reply({"approvals": [_data(s, desk) for s in listed]}, (table,))


@command("approve", signed=True)
@click.argument("approval")
@click.option("--run", is_flag=True, help="Have the worker carry the plan out once, as that agent, all checks repeated.")
@click.option("--note", "said", default="", help="A word to the agent; recorded.")
@click.option("--yes", is_flag=True, help="Do not ask again after showing the plan.")
async def approve_command(desk: Desk, *, approval: str, run: bool, said: str, yes: bool) -> Reply:
    """Grant one use of exactly the plan that is shown."""
    return await _answer(desk, approval, Decision.approve, run=run, said=said, sure=yes)


@command("deny", signed=True)
@click.argument("approval")
@click.option("--note", "said", default="", help="A word to the agent; recorded.")
async def deny_command(desk: Desk, *, approval: str, said: str) -> Reply:
    """Refuse an approval, or take back a grant that nobody has used."""
    return await _answer(desk, approval, Decision.deny, run=False, said=said, sure=True)


async def _answer(desk: Desk, approval: str, decision: Decision, *, run: bool, said: str, sure: bool) -> Reply:
    desk.refuse_agents()
    async with desk.database() as database:
        stored = await _stored(database, approval)
        if not sure and desk.around.can_ask:
            _show_before_asking(stored, desk)
        by, key = hand = desk.signer()
        at = desk.now()
        answer = keys.operator_signature(key, approvals.message(stored.approval, decision, operator=by, at=at))
        fields: dict[str, object] = {
            "approval": stored.approval.id, "plan_digest": stored.approval.plan_digest, "answer": answer, "note": said,
        }  # fmt: skip
        verb = parsed(Approve, **fields, run=run) if decision is Decision.approve else parsed(Deny, **fields)
        deed = await desk.order(database, verb, hand, at=at)
    if run or desk.config().settings.slack.approvals:  # people were asked, and are told
        waker(desk.config())()
    return Reply(deed.said, (_told(Approval.model_validate(deed.said["approval"])),))


def _show_before_asking(stored: StoredApproval, desk: Desk) -> None:
    for part in _plan_parts(stored, desk):
        note(part if isinstance(part, str) else "\n".join("  ".join(row) for row in part.rows))
    click.confirm("Approve this plan?", abort=True, err=True)


def _told(approval: Approval) -> str:
    if approval.state is ApprovalState.denied:
        return f"Denied: {approval.id}."
    until = f"{approval.use_by:%H:%M:%S} UTC" if approval.use_by else "now"
    if approval.run_requested:
        return f"Granted: {approval.id}. The worker carries the plan out once, if it starts before {until}."
    return f"Granted: {approval.id}. {approval.agent} may use it once, until {until}."


async def _stored(database: Database, approval: str) -> StoredApproval:
    stored = await people.stored_approval(database, approval)
    if stored is None:
        waiting = [s.approval.id for s in await people.recent_approvals(database, limit=20) if s.approval.state == "pending"]
        hint = f"Waiting: {', '.join(waiting)}." if waiting else "Nothing waits for an answer."
        raise NotFound(f"There is no approval {visible(approval)[:80]!r}.", hint=hint)
    return stored


def _state(approval: Approval, desk: Desk) -> str:
    """The state as it is now: one past its time reads as expired before anybody has written so."""
    return (approvals.expired(approval, at=desk.now()) or approval).state.value


def _data(stored: StoredApproval, desk: Desk) -> JsonObject:
    approval = stored.approval.json_value()
    return {**approval, "state": _state(stored.approval, desk), "plan": stored.plan.json_value()}


def _row(stored: StoredApproval, desk: Desk) -> tuple[str, ...]:
    approval, tool = stored.approval, stored.plan.tool
    state, by = _state(approval, desk), f"{approval.answer_by:%H:%M:%S}"
    return approval.id, approval.agent, tool, approval.environment, approval.service or "-", state, by


def _plan_parts(stored: StoredApproval, desk: Desk) -> tuple[Part, ...]:
    """The plan as the server made it. What the agent said is quoted at the end, and marked as its own words."""
    approval, seen = stored.approval, shown(stored.approval, stored.plan)
    head = [f"{approval.id}  {_state(approval, desk)}, to be answered by {approval.answer_by:%Y-%m-%d %H:%M:%S} UTC"]
    head += [f"  {label:<12} {visible(text)}" for label, text in seen.lines]
    steps = Table(("step", "does", "undo"), seen.steps, "No steps.")
    quoted = f"The agent says (its own words, unchecked): {visible(seen.said)!r}" if seen.said else "The agent gave no reason."
    return "\n".join(head), steps, quoted
