"""The worker's reports on our own ledger: reads what is new in it, and has the operator's channels told what is news."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from ops_mcp.alerting.news import KINDS, Entry, Known, News, news
from ops_mcp.governance.recipients import Route
from ops_mcp.governance.recipients import told as told_by
from ops_mcp.observing import Notice
from ops_mcp.operations.chores import Chore, paced
from ops_mcp.operations.parts import Enqueue, Parts
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from ops_mcp.values import JsonObject, Value

EVERY = timedelta(seconds=5)
MOST_AT_ONCE = 2_000
_FACT = "news"


class _Memory(Value):
    """The last record that was read, and what is remembered of agents."""

    read: int
    agents: dict[str, Known] = {}


def reporting(
    parts: Parts, names: Sequence[str], enqueue: Enqueue, routes: Mapping[str, Route] = MappingProxyType({})
) -> tuple[Chore, ...]:
    """A round that tells these channels and routes; none where there are no names."""
    return (paced(_Reports(parts, tuple(names), enqueue, routes).run, EVERY, parts.clock),) if names else ()


class _Reports:
    def __init__(self, parts: Parts, names: tuple[str, ...], enqueue: Enqueue, routes: Mapping[str, Route]) -> None:
        self._parts, self._names, self._enqueue, self._routes = parts, names, enqueue, routes

    async def run(self) -> None:
        """Read on until nothing is left. What was before the first round is no news."""
        while await self._read_on():
            pass

    async def _read_on(self) -> bool:
        memory = await self._memory()
        if memory is None:
            newest = await self._parts.database.fetch("SELECT COALESCE(MAX(id), 0) FROM ledger")
            await self._keep(_Memory(read=int(newest[0][0])), ())
            return False
        rows = await self._parts.database.fetch(
            "SELECT id, body FROM ledger WHERE id > ? ORDER BY id LIMIT ?", memory.read, MOST_AT_ONCE
        )
        entries = [entry for number, body in rows if (entry := _entry(int(number), json.loads(body))) is not None]
        if entries or len(rows) == MOST_AT_ONCE:
            told = news(entries, memory.agents)
            await self._keep(_Memory(read=int(rows[-1][0]), agents=dict(told.agents)), told.news)
        return len(rows) == MOST_AT_ONCE

    async def _memory(self) -> _Memory | None:
        rows = await self._parts.database.fetch("SELECT value FROM facts WHERE name = ?", _FACT)
        return _Memory.model_validate_json(rows[0][0]) if rows else None

    async def _keep(self, memory: _Memory, told: Sequence[News]) -> None:
        """In one unit: how far was read, and what follows from it."""
        at = self._parts.clock()

        def unit(tx: Transaction) -> None:
            leases.require(tx, self._parts.fence)
            tx.execute(
                "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                _FACT, memory.model_dump_json(),
            )  # fmt: skip
            for one in told:
                for channel in told_by(self._names, one.severity.value, self._routes):
                    self._enqueue(tx, _notice(one, channel), at=at)

        await self._parts.database.write(unit)


def _entry(number: int, body: Mapping[str, JsonObject | str]) -> Entry | None:
    said = _Said(*(str(body.get(name, "")) for name in _Said._fields))
    if said.kind not in KINDS or (said.kind == "call.settled" and said.verdict != "refused"):
        return None
    data = body.get("data")
    return Entry(
        number=number,
        kind=said.kind,
        at=datetime.fromisoformat(said.at),
        caller=said.caller,
        tool=said.tool,
        environment=said.environment,
        service=said.service,
        code=said.code,
        data=data if isinstance(data, dict) else {},
    )


class _Said(NamedTuple):
    kind: str
    at: str
    caller: str
    tool: str
    environment: str
    service: str
    code: str
    verdict: str


def _notice(one: News, channel: str) -> Notice:
    return Notice(
        id=one.id,
        channel=channel,
        thread=one.thread,
        severity=one.severity.value,
        title=f"[{one.severity.value}] {one.title}",
        text=one.text,
        body={"kind": "news", "record": one.id, "severity": one.severity.value, "title": one.title, "text": one.text},
        at=one.at,
    )
