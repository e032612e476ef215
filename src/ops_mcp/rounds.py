"""What a worker does on the clock besides operations, put together from what `startup` opened: one line a round."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ops_mcp.operations.parts import Parts
from ops_mcp.startup import Opened
from ops_mcp.store.database import Transaction

Round: TypeAlias = Callable[[], Awaitable[None]]


def rounds(opened: Opened, parts: Parts) -> tuple[Round, ...]:
    """Each is called every second for as long as this worker holds its lease, keeps its own pace, and may raise: it is logged."""
    return ()


def busy(tx: Transaction) -> bool:
    """Whether something besides operations and services keeps an idle worker alive: an enabled rule, a delivery that is due."""
    return False
