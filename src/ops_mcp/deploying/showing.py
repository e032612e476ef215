"""A plan as an approver sees it, at a terminal and on the page: made by the server, in one order, without a place's looks."""

from typing import NamedTuple

from ops_mcp.domain.calls import Approval
from ops_mcp.domain.releases import Plan


class Shown(NamedTuple):
    """`lines` are label and text, `steps` name, what it does and how it is undone. `said` is the agent's own word, unchecked:
    it is quoted, apart from the rest. Texts may hold whatever a stranger put into them."""

    lines: tuple[tuple[str, str], ...]
    steps: tuple[tuple[str, str, str], ...]
    said: str


def shown(approval: Approval, plan: Plan) -> Shown:
    """Everything that the approval binds, as far as a person can read it."""
    lines = (
        ("what", f"{plan.tool}: {plan.summary}"),
        ("who", approval.agent),
        ("where", f"{approval.environment} / {approval.service or '-'}"),
        ("content", plan.content or "-"),
        ("now there", plan.target_state or "-"),
        ("plan", approval.plan_digest),
        *(("warning", warning) for warning in plan.warnings),
    )
    return Shown(lines, tuple((step.name, step.does, step.undo) for step in plan.steps), approval.why)
