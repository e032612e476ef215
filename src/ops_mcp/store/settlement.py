"""How calls and operations end in the ledger: what they cost, what they did to the score, and what became of the lost ones."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.config import Meter
from ops_mcp.domain.calls import Call, Cost, Penalty
from ops_mcp.domain.identity import Agent, Effect
from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.releases import Deployment, DeploymentState, Operation, StepName, Usage
from ops_mcp.errors import InProgress
from ops_mcp.governance import reputation
from ops_mcp.governance.history import Window
from ops_mcp.store import counters, idempotency, refusals, reservations
from ops_mcp.store.database import Transaction
from ops_mcp.store.halts import bump_governance
from ops_mcp.store.people import agent_named, update_agent
from ops_mcp.store.transaction import body_of
from ops_mcp.supervising.settings import Keep
from ops_mcp.values import Json, JsonObject

_RECONCILED = "reconciled_up_to"
"""The `facts` row with the last ledger record below which no read is open."""

_NO_METERS: Mapping[str, Meter] = {}

OUTCOMES = ("done", "failed", "refused", "needs_approval", "cancelled", "unknown")


class Settlement(NamedTuple):
    """How a call came out. `cost` is what it really took; `windows` are those that admitted it."""

    call: Call
    caller: str
    outcome: str
    at: datetime
    cost: Cost
    code: str | None = None
    reason: str | None = None
    data: JsonObject = {}
    deployment: str | None = None
    bind_result: str | None = None
    windows: tuple[Window, ...] = ()
    keep: Keep | None = None


def settle(tx: Transaction, settlement: Settlement, body: bytes | None = None) -> None:
    """Append `call.settled`, credit back what was not used, and bind the key of a record. A second settlement is dropped.

    `body` is what `settled_body` made of a read's settlement while nobody waited for it.
    """
    call = settlement.call
    if call.effect is Effect.read:
        _credit(tx, counters.charges_of(settlement.windows), call.ceiling, settlement.cost)
        tx.record_body(body or settled_body(settlement))
        return
    kept = _settle_reservation(tx, settlement)
    if kept is None:
        return
    settlement = settlement._replace(cost=kept)
    if settlement.keep is not None:
        from ops_mcp.store.tasks import writing  # start-up has a bar, and many processes keep no tasks

        _refuse_kept(tx, settlement)
        writing.keep(tx, settlement.keep, at=settlement.at)
    if settlement.bind_result is not None:
        idempotency.bind(tx, settlement.caller, call, operation=None, deployment=None, result=settlement.bind_result)
    tx.record(_settled(settlement))


def _refuse_kept(tx: Transaction, settlement: Settlement) -> None:
    """Of calls with one key that were admitted side by side, one is kept: no key was bound yet when they were."""
    call = settlement.call
    if call.idempotency_key is not None and idempotency.find(tx, settlement.caller, call.idempotency_key, call.at) is not None:
        raise InProgress("A call with this key was kept while this one was under way.", hint="Repeat it: its result is known.")


def settled_body(settlement: Settlement) -> bytes:
    """The record of a call that came out exactly so, as the ledger keeps it."""
    return body_of(_settled(settlement))


def _settled(settlement: Settlement) -> Record:
    call = settlement.call
    return Record(
        kind="call.settled",
        at=settlement.at,
        call=call.id,
        caller=settlement.caller,
        tool=call.tool,
        environment=call.environment.name if call.environment else None,
        service=call.service,
        deployment=settlement.deployment,
        verdict=settlement.outcome,
        code=settlement.code,
        reason=settlement.reason,
        data={**settlement.data, "cost": cost_of(settlement.cost)},
    )


def _settle_reservation(tx: Transaction, settlement: Settlement) -> Cost | None:
    """Credit what a change did not use; what it is charged, or None when it was settled before.

    Whether it began an operation is for the reservation to say: a caller that goes away during its commit does not know.
    """
    call, cost = settlement.call, settlement.cost
    held = reservations.of_call(tx, call.id)
    if held is None or held.call_settled:
        return None
    if held.operation is None:
        _credit(tx, held.charges, held.cost, cost)
        reservations.remove(tx, call.id)
        return cost
    kept = held.cost.evolve(tokens=cost.tokens)
    _credit(tx, held.charges, held.cost, kept)
    reservations.mark_call_settled(tx, held, kept)
    return kept


def settle_operation(
    tx: Transaction, operation: Operation, deployment: Deployment, *, at: datetime, meters: Mapping[str, Meter] = _NO_METERS
) -> None:
    """Append `operation.settled` for a deployment in its final state, settle its budget and move its agent's score, once."""
    held = reservations.of_call(tx, operation.call)
    metered, meter = 0, meters.get(deployment.release.binding.provider)
    usage = _used(tx, operation, deployment, meter, at) if meter else deployment.usage
    if held is not None and not held.operation_settled:
        metered = _settle_meter(tx, held, usage, meter) if meter else 0
        reservations.mark_operation_settled(tx, held)
    points = _score(tx, operation, deployment, at)
    tx.record(
        Record(
            kind="operation.settled",
            at=at,
            call=operation.call,
            caller=operation.agent,
            tool=operation.plan.tool,
            environment=deployment.environment,
            service=deployment.service,
            deployment=deployment.id,
            operation=operation.id,
            verdict=deployment.state.value,
            reason=deployment.detail or None,
            data={
                "release": deployment.release.digest,
                "content": deployment.release.content.identity,
                "health": deployment.health.value,
                "points": points,
                "usd_micros": held.cost.usd_micros + metered if held else 0,
                "metered": {
                    "requests": usage.requests,
                    "build_seconds": math.ceil(usage.build_seconds),
                    "usd_micros": metered,
                },
            },
        )
    )


def _used(tx: Transaction, operation: Operation, deployment: Deployment, meter: Meter, at: datetime) -> Usage:
    """What the place metered. Where it ended before it could tell, the most that it can have been: a build that fails is billed
    like any other, and cannot have taken longer than we waited for it."""
    told = deployment.released_at is not None or deployment.state is DeploymentState.applied
    begun = tx.fetch(
        "SELECT MIN(at) FROM steps WHERE operation = ? AND step = ? AND event = 'begun'", operation.id, StepName.release.value
    )
    if told or begun[0][0] is None:
        return deployment.usage
    waited = (at - datetime.fromisoformat(begun[0][0])).total_seconds()
    most = Usage(requests=meter.most_requests, build_seconds=max(0.0, min(waited, meter.most_build_minutes * 60.0)))
    return deployment.usage + most


def _settle_meter(tx: Transaction, held: reservations.Reservation, usage: Usage, meter: Meter) -> int:
    """Replace the most that could be metered by what was, in the windows that admitted the call; the difference.

    Never more is credited than this call reserved: whoever admitted it may have read other prices.
    """
    difference = max(meter.charge(usage) - meter.ceiling, -held.cost.usd_micros)
    counters.charge(tx, held.charges, Cost(calls=0, usd_micros=difference))
    return difference


def penalise(tx: Transaction, agent: Agent, penalty: Penalty, at: datetime) -> int:
    """Take the points of a forbidden or overrunning attempt, at most once per kind and hour; the points taken."""
    return _mark(tx, agent, reputation.points_for_penalty(penalty, at=at), at)


def reconcile(tx: Transaction, *, alive: Callable[[str], bool], at: datetime) -> int:
    """Settle as `unknown` every call whose server is gone, and sum up ended floods; how many calls were lost.

    A lost call keeps its reserved ceiling: what it really cost cannot be known.
    """
    refusals.sum_up(tx, at)
    lost_reads = _lost_reads(tx, alive, at)
    lost = [held for held in reservations.unsettled(tx) if not alive(held.holder)]
    for held in lost:
        if held.operation is None:
            reservations.remove(tx, held.call)
        else:
            reservations.mark_call_settled(tx, held, held.cost)
        tx.record(_unknown(held.call, held.caller, held.operation, at, cost_of(held.cost)))
    return len(lost) + lost_reads


def _lost_reads(tx: Transaction, alive: Callable[[str], bool], at: datetime) -> int:
    """Reads that the ledger shows admitted, not settled, and by a process that is gone. Looks only at what is new."""
    rows = tx.fetch("SELECT value FROM facts WHERE name = ?", _RECONCILED)
    since = int(rows[0][0]) if rows else 0
    unsettled = tx.fetch(
        "SELECT a.id, a.body FROM ledger a WHERE a.id > ? AND a.kind = 'call.admitted'"
        " AND NOT EXISTS (SELECT 1 FROM ledger s WHERE s.call = a.call AND s.kind = 'call.settled') ORDER BY a.id",
        since,
    )
    lost, first_open = 0, tx.head.number + 1
    for number, text in unsettled:
        body: JsonObject = json.loads(text)
        data = body["data"]
        if body.get("effect") != Effect.read.value or not isinstance(data, dict):
            continue
        if alive(str(data["holder"])):
            first_open = min(first_open, int(number))
            continue
        tx.record(_unknown(str(body["call"]), str(body["caller"]), None, at, data["reserved"]))
        lost += 1
    if first_open - 1 > since:
        tx.execute("DELETE FROM facts WHERE name = ?", _RECONCILED)
        tx.execute("INSERT INTO facts (name, value) VALUES (?, ?)", _RECONCILED, str(first_open - 1))
    return lost


def _unknown(call: str, caller: str, operation: str | None, at: datetime, cost: Json) -> Record:
    return Record(
        kind="call.settled",
        at=at,
        call=call,
        caller=caller,
        operation=operation,
        verdict="unknown",
        reason="the server that admitted this call ended before it could say how the call came out",
        data={"cost": cost},
    )


def cost_of(cost: Cost) -> Json:
    """Calls, tokens and micro-dollars as records carry them, so that counters can be rebuilt."""
    return [cost.calls, cost.tokens, cost.usd_micros]


def _credit(tx: Transaction, charges: Sequence[counters.Charge], reserved: Cost, actual: Cost) -> None:
    if actual != reserved:
        counters.charge(tx, charges, actual - reserved)


def _score(tx: Transaction, operation: Operation, deployment: Deployment, at: datetime) -> int:
    """Only verified effects count: superseded, cancelled and unknown endings move nothing."""
    healthy = deployment.state is DeploymentState.healthy
    failed = deployment.state in (DeploymentState.rolled_back, DeploymentState.down, DeploymentState.failed)
    agent = agent_named(tx, operation.agent) if healthy or failed else None
    if agent is None or deployment.cancel_requested:
        return 0
    gained = tx.fetch(
        "SELECT COALESCE(SUM(points), 0) FROM score_marks WHERE agent = ? AND kind = ? AND mark LIKE ?",
        agent.name, reputation.ScoreKind.healthy.value, reputation.gains_prefix(at) + "%",
    )  # fmt: skip
    mark = reputation.points_for_outcome(
        healthy=healthy, effect=Effect.change, dry_run=False, operation=operation.id, gained_today=int(gained[0][0]), at=at
    )
    return _mark(tx, agent, mark, at) if mark else 0


def _mark(tx: Transaction, agent: Agent, mark: reputation.Mark, at: datetime) -> int:
    if tx.fetch("SELECT 1 FROM score_marks WHERE agent = ? AND kind = ? AND mark = ?", agent.name, mark.kind.value, mark.mark):
        return 0
    tx.execute(
        "INSERT INTO score_marks (agent, kind, mark, points) VALUES (?, ?, ?, ?)",
        agent.name, mark.kind.value, mark.mark, mark.points,
    )  # fmt: skip
    after = agent.evolve(score=reputation.moved(agent.score, points=mark.points))
    update_agent(tx, after)
    bump_governance(tx)
    crossed = reputation.crossing(agent, after)
    tx.record(
        Record(
            kind="agent.scored",
            at=at,
            caller=agent.name,
            reason=mark.kind.value,
            data={
                "points": mark.points,
                "score": after.score,
                "level_before": crossed.before.value if crossed else None,
                "level_after": crossed.after.value if crossed else None,
            },
        )
    )
    return mark.points
