"""Rebuilds the budget counters from the ledger, which is the only truth, and compares or repairs the rows derived from it."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from ops_mcp.domain.calls import Cost
from ops_mcp.store.counters import Charge, forgotten
from ops_mcp.store.database import Transaction
from ops_mcp.values import Json, JsonObject

_NOTHING = Cost(calls=0)
_PAGE = 5000


class Difference(NamedTuple):
    """A counter that does not hold what the ledger says."""

    charge: Charge
    stored: Cost
    rebuilt: Cost


class _Admission(NamedTuple):
    charges: tuple[Charge, ...]
    reserved: Cost


def compare(tx: Transaction) -> tuple[Difference, ...]:
    """Every counter of a window that both still cover and that differs from the ledger."""
    since = max(_covered_since(tx), forgotten(tx))
    rebuilt = {charge: cost for charge, cost in rebuild(tx).items() if charge.name > since}
    stored = {
        Charge(row[0], row[1]): Cost(calls=row[2], tokens=row[3], usd_micros=row[4])
        for row in tx.fetch("SELECT scope, win, calls, tokens, usd_micros FROM spend WHERE win > ?", since)
    }
    both = sorted(stored.keys() | rebuilt.keys())
    found = (Difference(charge, stored.get(charge, _NOTHING), rebuilt.get(charge, _NOTHING)) for charge in both)
    return tuple(difference for difference in found if difference.stored != difference.rebuilt)


def repair(tx: Transaction) -> tuple[Difference, ...]:
    """Make the counters what the ledger says; what was different."""
    differences = compare(tx)
    for charge, _, cost in differences:
        tx.execute("DELETE FROM spend WHERE scope = ? AND win = ?", charge.scope, charge.name)
        tx.execute(
            "INSERT INTO spend (scope, win, calls, tokens, usd_micros) VALUES (?, ?, ?, ?, ?)",
            charge.scope, charge.name, cost.calls, cost.tokens, cost.usd_micros,
        )  # fmt: skip
    return differences


def rebuild(tx: Transaction) -> dict[Charge, Cost]:
    """What every counter must hold: ceilings of admitted calls, replaced by what they took once they are settled."""
    counters: dict[Charge, Cost] = {}
    open_calls: dict[str, _Admission] = {}
    changes: dict[str, tuple[Charge, ...]] = {}
    for body in _bodies(tx):
        data, call = body.get("data"), str(body.get("call"))
        if not isinstance(data, dict):
            continue
        match body["kind"]:
            case "call.admitted":
                open_calls[call] = admission = _Admission(_charges(data["charged"]), _cost(data["reserved"]))
                _add(counters, admission.charges, admission.reserved)
            case "call.committed" if call in open_calls:
                changes[call] = open_calls[call].charges
            case "operation.settled" if call in changes:
                _add(counters, changes.pop(call), _metered(data.get("metered")))
            case "call.settled" if call in open_calls:
                admission = open_calls.pop(call)
                _add(counters, admission.charges, _cost(data["cost"]) - admission.reserved)
            case "agent.budget_reset":
                _take_back(counters, data["credits"])
            case _:
                pass
    return counters


def _covered_since(tx: Transaction) -> str:
    """Windows up to this name may be older than the oldest record that is still here."""
    if not tx.fetch("SELECT 1 FROM ledger_stubs LIMIT 1"):
        return ""
    oldest = tx.fetch("SELECT at FROM ledger ORDER BY id LIMIT 1")
    return f"{str(oldest[0][0])[:10]}~" if oldest else "~"


def _bodies(tx: Transaction) -> Iterator[JsonObject]:
    last = 0
    while rows := tx.fetch("SELECT id, body FROM ledger WHERE id > ? ORDER BY id LIMIT ?", last, _PAGE):
        for _number, body in rows:
            yield json.loads(body)
        last = rows[-1][0]


def _add(counters: dict[Charge, Cost], charges: tuple[Charge, ...], cost: Cost) -> None:
    for charge in charges:
        counters[charge] = counters.get(charge, _NOTHING) + cost


def _take_back(counters: dict[Charge, Cost], credits: Json) -> None:
    for credit in credits if isinstance(credits, list) else []:
        if isinstance(credit, dict):
            charge = Charge(str(credit["scope"]), str(credit["window"]))
            cost = _cost([credit["calls"], credit["tokens"], credit["usd_micros"]])
            counters[charge] = counters.get(charge, _NOTHING) - cost


def _metered(value: Json) -> Cost:
    difference = value.get("usd_micros") if isinstance(value, dict) else None
    return Cost(calls=0, usd_micros=difference if isinstance(difference, int) else 0)


def _charges(value: Json) -> tuple[Charge, ...]:
    pairs = value if isinstance(value, list) else []
    return tuple(Charge(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list))


def _cost(value: Json) -> Cost:
    calls, tokens, usd_micros = value if isinstance(value, list) else (0, 0, 0)
    return Cost.model_validate({"calls": calls, "tokens": tokens, "usd_micros": usd_micros})
