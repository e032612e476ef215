"""The closed set of outcomes of a call, and the record that the ledger keeps of each."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

from ops_mcp.domain.calls import Approval, CallId, Verdict
from ops_mcp.domain.releases import Plan
from ops_mcp.errors import Problem
from ops_mcp.values import JsonObject


@dataclass(frozen=True, slots=True)
class Done:
    """The tool's result as JSON that fits its output schema, redacted and bounded; `text` is the same, compactly printed.

    `replayed` marks an idempotent repeat.
    """

    call: CallId
    result: JsonObject
    text: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The call was allowed and did not succeed."""

    call: CallId
    problem: Problem


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was not allowed; nothing happened."""

    call: CallId
    problem: Problem
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """A person must decide; the approval is bound to the plan."""

    call: CallId
    problem: Problem
    approval: Approval
    plan: Plan


Outcome: TypeAlias = Done | Failed | Refused | NeedsApproval


class Record(NamedTuple):
    """One ledger record before it is hashed. `kind` is a dotted word (`call.admitted`, `operation.step` …).

    Everything a reader searches is a field; the rest is in `data`, which nobody changes. Already redacted. Not a `Value`: two are
    made for every call.
    """

    kind: str
    at: datetime
    call: str | None = None
    caller: str | None = None
    owner: str | None = None
    tool: str | None = None
    effect: str | None = None
    environment: str | None = None
    service: str | None = None
    deployment: str | None = None
    operation: str | None = None
    approval: str | None = None
    verdict: str | None = None
    rule: str | None = None
    code: str | None = None
    reason: str | None = None
    data: JsonObject = {}

    def json_value(self) -> JsonObject:
        """The record's fields as JSON, absent ones left out, its time in UTC with a Z; `v` is the format's version."""
        body: JsonObject = {"v": 1, "kind": self.kind, "at": _utc(self.at), "data": self.data}
        for name, value in zip(_SEARCHED, self[2:-1], strict=True):
            if value is not None:
                body[name] = str(value)
        return body


_SEARCHED = Record._fields[2:-1]
"""All but `kind`, `at` and, the last, `data`."""


def _utc(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
