"""What an answer to a request for approval is to the tasks that wait for it: something that a person did to them."""

from datetime import datetime

from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.tasks import Task
from ops_mcp.store.database import Transaction
from ops_mcp.store.tasks.writing import Intervention, intervene

MOST_OPEN = 1_000


def note_answer(tx: Transaction, approval: Approval, *, at: datetime) -> None:
    """Keep the answer with every open task of the agent that names this request."""
    what = "approve" if approval.state is ApprovalState.granted else "deny"
    rows = tx.fetch(
        "SELECT id, body FROM tasks WHERE agent = ? AND completed_at IS NULL ORDER BY id DESC LIMIT ?", approval.agent, MOST_OPEN
    )
    for id, body in rows:
        if Task.model_validate_json(body).approval == approval.id:
            intervene(tx, id, Intervention(what, f"operator:{approval.answered_by}", approval.note), at=at)
