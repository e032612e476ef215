"""What is written of tasks: a report of an agent, together with the settlement of its call; and what people do to them."""

from datetime import datetime

from ops_mcp.domain.tasks import Report, Task
from ops_mcp.store.database import Transaction


def keep(tx: Transaction, report: Report, *, at: datetime) -> Task:
    """Judge a report against the task as it is now, and write what follows. Raises `OpsError`s that leave nothing behind."""
    raise NotImplementedError
