"""Calls counted from the ledger, those of every process since this one began. Each look reads on where the last one ended."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import cast

import anyio

from ops_mcp.doors._families import Family, family
from ops_mcp.metrics.names import Kind
from ops_mcp.store import gauges
from ops_mcp.store.database import Database
from ops_mcp.values import JsonObject

BATCH, MOST_BATCHES = 1_000, 50
MOST_OPEN = 10_000


class Calls:
    """Counts only grow. What one look cannot read is left to the next, and said by `ops_mcp_ledger_counted`."""

    def __init__(self, database: Database, since: datetime) -> None:
        self._database = database
        self._since = since
        self._position: int | None = None
        self._calls: Counter[tuple[str, ...]] = Counter()
        self._decisions: Counter[tuple[str, ...]] = Counter()
        self._verdicts: dict[str, str] = {}
        self._lock = anyio.Lock()

    async def catch_up(self, tools: Collection[str]) -> None:
        """Count what was recorded since."""
        async with self._lock:
            if self._position is None:
                self._position = await gauges.last_before(self._database, self._since)
            for _ in range(MOST_BATCHES):
                records = await gauges.records_after(self._database, self._position, limit=BATCH)
                for number, body in records:
                    self._count(body, tools)
                    self._position = number
                if len(records) < BATCH:
                    return

    def families(self, caller: str | None) -> list[Family]:
        """Those of one caller, or of all together."""
        calls, decisions = _of(self._calls, caller), _of(self._decisions, caller)
        position: list[tuple[dict[str, str], int]] = [({}, self._position or 0)] if caller is None else []
        about = "The number of the last record that these counts have seen."
        return [
            _family("ops_mcp_calls_total", "Calls that ended.", ("tool", "verdict", "outcome"), calls),
            _family("ops_mcp_decisions_total", "Decisions on calls, and the rule that decided.", ("verdict", "rule"), decisions),
            family("ops_mcp_ledger_counted", Kind.gauge, about, position),
        ]

    def _count(self, body: JsonObject, tools: Collection[str]) -> None:
        caller, call = str(body.get("caller", "")), str(body.get("call", ""))
        # A tool that does not exist is named by a stranger, and each name would be kept for good.
        tool = str(body.get("tool", ""))
        tool = tool if tool in tools else "unknown"
        verdict, rule = str(body.get("verdict", "")), str(body.get("rule", ""))
        match body.get("kind"):
            case "call.admitted":
                self._decisions[caller, verdict, rule] += 1
                if len(self._verdicts) >= MOST_OPEN:  # calls that were never settled
                    self._verdicts.pop(next(iter(self._verdicts)))
                self._verdicts[call] = verdict
            case "call.settled":
                self._calls[caller, tool, self._verdicts.pop(call, "unknown"), verdict] += 1
            case "call.refused":
                self._decisions[caller, verdict, rule] += 1
                self._calls[caller, tool, verdict, "refused"] += 1
            case "call.refused_many":
                data = cast(dict[str, int], body["data"])
                self._calls[caller, "many", "deny", "refused"] += data["refused"] - data["of_which_recorded"]
            case _:
                pass


def _of(counted: Mapping[tuple[str, ...], int], caller: str | None) -> Counter[tuple[str, ...]]:
    """Without the caller, who comes first."""
    found: Counter[tuple[str, ...]] = Counter()
    for (who, *labels), number in counted.items():
        if caller in (None, who):
            found[tuple(labels)] += number
    return found


def _family(name: str, about: str, labels: Sequence[str], counted: Mapping[tuple[str, ...], int]) -> Family:
    values = [(dict(zip(labels, key, strict=True)), number) for key, number in sorted(counted.items())]
    return family(name, Kind.counter, about, values)
