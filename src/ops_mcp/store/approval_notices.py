"""What people are told of a request for approval: once when it is made, with its plan, and once when it is answered."""

from datetime import datetime

from ops_mcp.deploying.showing import shown
from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.notices import FIRST, Button
from ops_mcp.domain.releases import Plan
from ops_mcp.observing import Notice
from ops_mcp.store import outbox
from ops_mcp.store.database import Transaction

LONGEST_SHOWN = 2_800
"""A channel may cut what is longer, and nobody approves by a button what they cannot see whole."""


def tell_request(tx: Transaction, approval: Approval, plan: Plan, *, channel: str, at: datetime) -> None:
    """The plan as the server made it, with buttons; the agent's own words are quoted."""
    text = rendered(approval, plan)
    is_whole = _weight(text) <= LONGEST_SHOWN
    if not is_whole:
        text = f"This plan is too long to be shown here. Read it, and approve it there: ops-mcp approvals {approval.id}"
    deny = Button(action="deny", value=approval.id, label="Deny", style="danger")
    notice = Notice(
        id=f"approval-{approval.id}",
        channel=channel,
        thread=f"approval {approval.id}",
        severity="high",
        title=f"{approval.agent} asks to {plan.tool} in {approval.environment}",
        text=text,
        untrusted=f"The agent says: {approval.why}" if approval.why else "",
        body={"approval": approval.json_value(), "plan": plan.json_value()},
        at=at,
        emoji="✋",
        buttons=(_approve(approval), deny) if is_whole else (deny,),
    )
    outbox.enqueue(tx, notice, at=at)


def _approve(approval: Approval) -> Button:
    sure = f"Run exactly this plan, once, in {approval.environment}?"
    return Button(action="approve", value=approval.id, label="Approve", style="primary", confirm=sure)


def tell_answer(tx: Transaction, approval: Approval, *, at: datetime) -> None:
    """Who answered and how, in place of the request, wherever that was told."""
    rows = tx.fetch("SELECT channel FROM outbox WHERE id = ? ORDER BY channel", f"approval-{approval.id}")
    said = "Approved" if approval.state is ApprovalState.granted else "Denied"
    for (channel,) in rows:
        notice = Notice(
            id=f"approval-{approval.id}-{approval.state.value}",
            channel=channel,
            thread=f"approval {approval.id}",
            severity="info",
            title=f"{said} by {approval.answered_by}: {approval.agent} in {approval.environment}",
            text=f"{approval.id} of {approval.service or approval.environment}, plan {approval.plan_digest[:12]}.",
            untrusted=approval.note,
            body={"approval": approval.json_value()},
            at=at,
            emoji="✅" if approval.state is ApprovalState.granted else "🚫",
            replaces=FIRST,
        )
        outbox.enqueue(tx, notice, at=at)


def rendered(approval: Approval, plan: Plan) -> str:
    """A plan in the words of the server, one fact a line, as at a terminal. What steers a screen is written out."""
    seen = shown(approval, plan)
    lines = [
        f"{approval.id}, to be answered by {approval.answer_by:%Y-%m-%d %H:%M:%S} UTC",
        *(f"{label}: {text}" for label, text in seen.lines),
        *(f"{number}. {name}: {does} (undo: {undo})" for number, (name, does, undo) in enumerate(seen.steps, 1)),
    ]
    return "\n".join("".join(c if c.isprintable() else _written_out(c) for c in line) for line in lines)


def _written_out(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _weight(text: str) -> int:
    """How long it is where `&`, `<` and `>` are written as entities."""
    return len(text) + 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
