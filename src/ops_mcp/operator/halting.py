"""Kill, freeze, and their lifting; and the reset of what an agent has spent."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from ops_mcp.domain.calls import Freeze
from ops_mcp.domain.places import Environment, EnvironmentName
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.operator.deeds import Deed, listed, require_agent
from ops_mcp.operator.verbs import FreezeChanges, Kill, ResetBudget, Unfreeze, Unkill
from ops_mcp.store import halts, people
from ops_mcp.store.database import Row, Transaction
from ops_mcp.values import Json, JsonObject

Environments: TypeAlias = Mapping[EnvironmentName, Environment]

_LONGEST_READ = timedelta(minutes=10)
"""Far beyond the deadline of any call."""


def act(
    t: Transaction,
    verb: Kill | Unkill | FreezeChanges | Unfreeze | ResetBudget,
    environments: Environments,
    *,
    by: str,
    now: datetime,
) -> Deed:
    """Do one verb that stops calls or lets them go on."""
    match verb:
        case Kill():
            return kill(t, verb, by=by, now=now)
        case Unkill():
            return unkill(t, verb)
        case FreezeChanges():
            return freeze(t, verb, environments, by=by, now=now)
        case Unfreeze():
            return unfreeze(t, verb)
        case ResetBudget():
            return reset_budget(t, verb, now)
        case _:
            assert_never(verb)


def kill(t: Transaction, verb: Kill, *, by: str, now: datetime) -> Deed:
    """Every further call is refused; what runs is undone by the worker, never left half done."""
    if verb.agent is None:
        halts.halt_everyone(t, halts.Halt(by=by, reason=verb.reason, since=now))
        return Deed("agent.killed", {"everyone": True}, reason=verb.reason)
    agent = require_agent(t, verb.agent)
    people.update_agent(t, agent.model_copy(update={"killed": True}))
    return Deed("agent.killed", {"agent": verb.agent}, reason=verb.reason)


def unkill(t: Transaction, verb: Unkill) -> Deed:
    if verb.agent is None:
        if not halts.release_everyone(t):
            raise Conflict("Not everyone is killed.", hint="To lift the kill of one agent: ops-mcp unkill --agent NAME")
        return Deed("agent.unkilled", {"everyone": True}, reason=verb.reason)
    agent = require_agent(t, verb.agent)
    if not agent.killed:
        raise Conflict(f"The agent {verb.agent!r} is not killed.", hint="See: ops-mcp agent list")
    people.update_agent(t, agent.model_copy(update={"killed": False}))
    return Deed("agent.unkilled", {"agent": verb.agent}, reason=verb.reason)


def freeze(t: Transaction, verb: FreezeChanges, environments: Environments, *, by: str, now: datetime) -> Deed:
    """No change to a runtime there from the next call on. Undo, and an agent's way back from a bad release, still work."""
    if verb.environment is not None and verb.environment not in environments:
        raise NotFound(f"There is no environment {verb.environment!r}.", hint=listed("Environments", sorted(environments), ""))
    halts.insert_freeze(t, Freeze(environment=verb.environment, reason=verb.reason, by=by, since=now))
    return Deed("freeze.set", _place(verb.environment), reason=verb.reason, environment=verb.environment)


def unfreeze(t: Transaction, verb: Unfreeze) -> Deed:
    if not halts.delete_freeze(t, verb.environment):
        frozen = ["everywhere (--all)" if place == halts.EVERY_ENVIRONMENT else place for place in halts.frozen_places(t)]
        raise NotFound("That is not frozen.", hint=f"Frozen: {', '.join(frozen)}." if frozen else "Nothing is frozen.")
    return Deed("freeze.lifted", _place(verb.environment), reason=verb.reason, environment=verb.environment)


def reset_budget(t: Transaction, verb: ResetBudget, now: datetime) -> Deed:
    """Credits the running windows down to what open calls hold. The record lists each credit, so that counters can be rebuilt."""
    require_agent(t, verb.agent)
    held = _held(t, verb.agent, now)
    credits = [_credit(t, row, held) for row in _running(t, verb, now)]
    return Deed("agent.budget_reset", {"agent": verb.agent, "credits": credits}, reason=verb.reason)


def _running(t: Transaction, verb: ResetBudget, now: datetime) -> list[Row]:
    """The agent's counter rows of this hour and day."""
    prefix = f"{verb.agent}:{verb.tier}:" if verb.tier else f"{verb.agent}:"
    return t.fetch(
        "SELECT scope, win, calls, tokens, usd_micros FROM spend"
        " WHERE substr(scope, 1, ?) = ? AND win IN (?, ?) ORDER BY scope, win",
        len(prefix),
        prefix,
        now.strftime("%Y-%m-%dT%H"),
        now.strftime("%Y-%m-%d"),
    )


def _credit(t: Transaction, row: Row, held: Mapping[tuple[str, str], tuple[int, int, int]]) -> Json:
    scope, win, *spent = row
    calls, tokens, usd_micros = (max(0, s - k) for s, k in zip(spent, held.get((scope, win), (0, 0, 0)), strict=True))
    t.execute(
        "UPDATE spend SET calls = calls - ?, tokens = tokens - ?, usd_micros = usd_micros - ?, warned = 0"
        " WHERE scope = ? AND win = ?",
        calls,
        tokens,
        usd_micros,
        scope,
        win,
    )
    return {"scope": scope, "window": win, "calls": calls, "tokens": tokens, "usd_micros": usd_micros}


def _held(t: Transaction, agent: str, now: datetime) -> dict[tuple[str, str], tuple[int, int, int]]:
    """What the agent's open calls hold, by counter row: what they do not use is credited when they are settled, not now too."""
    held: dict[tuple[str, str], tuple[int, int, int]] = {}
    rows = t.fetch("SELECT scopes, calls, tokens, usd_micros FROM reservations WHERE caller = ?", agent)
    for charged, calls, tokens, usd_micros in [*rows, *_open_reads(t, agent, now)]:
        for scope, win in json.loads(charged):
            c, k, u = held.get((scope, win), (0, 0, 0))
            held[scope, win] = (c + calls, k + tokens, u + usd_micros)
    return held


def _open_reads(t: Transaction, agent: str, now: datetime) -> list[Row]:
    """Reads hold no row; the ledger shows those that may still be settled. One that is older was lost, and keeps its ceiling."""
    return t.fetch(
        "SELECT json_extract(a.body, '$.data.charged'), CAST(json_extract(a.body, '$.data.reserved[0]') AS BIGINT),"
        " CAST(json_extract(a.body, '$.data.reserved[1]') AS BIGINT),"
        " CAST(json_extract(a.body, '$.data.reserved[2]') AS BIGINT) FROM ledger a"
        " WHERE a.caller = ? AND a.kind = 'call.admitted' AND a.at >= ? AND json_extract(a.body, '$.effect') = 'read'"
        " AND NOT EXISTS (SELECT 1 FROM ledger s WHERE s.call = a.call AND s.kind = 'call.settled')",
        agent,
        (now - _LONGEST_READ).strftime("%Y-%m-%dT%H:%M:%S"),
    )


def _place(environment: EnvironmentName | None) -> JsonObject:
    return {"environment": environment} if environment else {"everywhere": True}
