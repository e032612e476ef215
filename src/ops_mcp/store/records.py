"""What the ledger's transactions write about a call: admissions, refusals, commits, and the budgets they bring near their end."""

from datetime import datetime

from ops_mcp.domain.calls import Call, Verdict
from ops_mcp.domain.identity import Agent, Caller, System
from ops_mcp.domain.outcomes import Record
from ops_mcp.governance import budgets
from ops_mcp.governance.history import Window
from ops_mcp.store import counters
from ops_mcp.store.counters import Charge
from ops_mcp.store.database import Transaction
from ops_mcp.values import JsonObject


def budget_name(caller: Caller) -> str:
    """Whose budget, bucket and keys a caller uses: the worker acts on those of the agent it works for."""
    return caller.agent.name if isinstance(caller, System) else caller.name


def warn(tx: Transaction, call: Call, name: str, windows: tuple[Window, ...]) -> None:
    """Record the first crossing of 80 % and of 95 % of each window."""
    cost = call.ceiling
    for window in windows:
        if budgets.share_used(window, cost) < budgets.WARNINGS[0]:
            continue
        for spent, wanted, limit, currency in (
            (window.calls, cost.calls, window.calls_limit, "calls"),
            (window.tokens, cost.tokens, window.tokens_limit, "tokens"),
            (window.usd_micros, cost.usd_micros, window.usd_micros_limit, "usd_micros"),
        ):
            for percent in budgets.warnings_crossed(before=spent, after=spent + wanted, limit=limit):
                if counters.mark_warned(tx, Charge(window.scope, window.name), percent):
                    data: JsonObject = {"scope": window.scope, "window": window.name, "currency": currency, "percent": percent}
                    tx.record(Record(kind="budget.crossed", at=call.at, call=call.id, caller=name, data=data))


def admission_of(call: Call, caller: Caller, verdict: Verdict, policy: str, windows: tuple[Window, ...], holder: str) -> Record:
    return record_of(
        "call.admitted",
        call,
        caller,
        verdict=verdict.answer.value,
        rule=verdict.decisive.rule,
        data={
            **asked_of(call),
            "policy": policy,
            "schema": call.schema_digest,
            "reserved": [call.ceiling.calls, call.ceiling.tokens, call.ceiling.usd_micros],
            "charged": [[window.scope, window.name] for window in windows],
            "holder": holder,
        },
    )


def asked_of(call: Call) -> JsonObject:
    asked: JsonObject = {"arguments": call.arguments, "digest": call.digest}
    if call.dry_run:
        asked["dry_run"] = True
    if call.idempotency_key is not None:
        asked["idempotency_key"] = call.idempotency_key
    if call.reason:
        asked["untrusted_reason"] = call.reason
    if call.client.name or call.client.session:
        asked["client"] = call.client.json_value()
    if call.on_behalf_of is not None:
        asked["on_behalf_of"] = call.on_behalf_of
    return asked


def record_of(
    kind: str,
    call: Call,
    caller: Caller,
    *,
    at: datetime | None = None,
    verdict: str | None = None,
    rule: str | None = None,
    code: str | None = None,
    reason: str | None = None,
    deployment: str | None = None,
    operation: str | None = None,
    approval: str | None = None,
    data: JsonObject,
) -> Record:
    agent = caller.agent if isinstance(caller, System) else caller
    return Record(
        kind=kind,
        at=at or call.at,
        call=call.id,
        caller=agent.name,
        owner=agent.owner if isinstance(agent, Agent) else None,
        tool=call.tool,
        effect=call.effect.value,
        environment=call.environment.name if call.environment else None,
        service=call.service,
        deployment=deployment or (call.target if call.target_owner is not None else None),
        operation=operation or (caller.name if isinstance(caller, System) else None),
        approval=approval,
        verdict=verdict,
        rule=rule,
        code=code,
        reason=reason,
        data=data,
    )
