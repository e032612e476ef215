"""A call as a value, what it may cost, and the verdict on it."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

from ops_mcp.domain.identity import Client, Effect, Level
from ops_mcp.domain.places import ApprovalRule, Binding, Environment, EnvironmentName, ServiceName
from ops_mcp.errors import Code, Problem
from ops_mcp.values import JsonObject, Value

CallId = NewType("CallId", str)
ApprovalId = NewType("ApprovalId", str)


class Cost(Value):
    """The three currencies. Tokens are reply bytes / 4 plus those of model calls that we make; money is integer micro-dollars."""

    calls: int = 1
    tokens: int = 0
    usd_micros: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            calls=self.calls + other.calls, tokens=self.tokens + other.tokens, usd_micros=self.usd_micros + other.usd_micros
        )

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            calls=self.calls - other.calls, tokens=self.tokens - other.tokens, usd_micros=self.usd_micros - other.usd_micros
        )


class BudgetLine(StrEnum):
    """Reads, ordinary work and recovery have separate lines, so that none can starve another."""

    read = "read"
    work = "work"
    recovery = "recovery"


class Call(Value):
    """One request, described. `arguments` are validated and redacted; `digest` covers them without dry_run, key and reason.

    `alters_runtime` marks the tools to which approval, freeze and guard apply. `recovery` is set by the plan of an agent's
    rollback to the last healthy release while the current one is failing or unverified. `always_reachable` marks the reads
    that stay reachable when the read budget is empty. `target_owner` and `target_open` tell whose deployment the call points at
    and whether it still runs; from them the admission derives `own_work`. `metered_micros` is the part of the ceiling's money
    that the provider's meter settles. `on_host` is set for changes to what runs on a host of ours.
    """

    id: CallId
    tool: str
    effect: Effect
    at: datetime
    digest: str
    arguments: JsonObject = {}
    environment: Environment | None = None
    service: ServiceName | None = None
    binding: Binding | None = None
    target: str | None = None
    target_owner: str | None = None
    target_open: bool = False
    alters_runtime: bool = False
    always_reachable: bool = False
    own_work: bool = False
    recovery: bool = False
    on_host: bool = False
    sample_only: bool = False
    dry_run: bool = False
    idempotency_key: str | None = None
    reason: str = ""
    expected_current: str | None = None
    ceiling: Cost = Cost()
    metered_micros: int = 0
    schema_digest: str = ""
    client: Client = Client()
    parent: str | None = None
    on_behalf_of: str | None = None

    @property
    def line(self) -> BudgetLine:
        """The budget line that pays for this call."""
        if self.recovery:
            return BudgetLine.recovery
        return BudgetLine.read if self.effect is Effect.read else BudgetLine.work


class Answer(StrEnum):
    """What a rule says; the strictest of all rules wins."""

    allow = "allow"
    ask = "ask"
    deny = "deny"

    @property
    def strictness(self) -> int:
        return list(Answer).index(self)


class Penalty(StrEnum):
    """Why a refusal costs reputation; each kind at most once per agent and hour."""

    forbidden = "forbidden"
    overrun = "overrun"


class Finding(Value):
    """One rule's answer with its reason; `problem` is present exactly when the answer is not `allow`."""

    rule: str
    answer: Answer
    reason: str
    problem: Problem | None = None
    penalty: Penalty | None = None


class Verdict(Value):
    """The strictest finding decides; all that did not simply allow are kept, strictest first."""

    answer: Answer
    decisive: Finding
    findings: tuple[Finding, ...] = ()

    @property
    def code(self) -> Code | None:
        return self.decisive.problem.code if self.decisive.problem else None


class Freeze(Value):
    """No change to a runtime in `environment` (every environment when None) until an operator lifts it."""

    environment: EnvironmentName | None
    reason: str
    by: str
    since: datetime


class Approval(Value):
    """A question to a person, bound to a plan's digest. Terminal states are denied, expired and consumed.

    `why` is the agent's own reason, text from a stranger. `run_requested` tells the worker to make the call itself once granted.
    """

    id: ApprovalId
    plan_digest: str
    agent: str
    environment: EnvironmentName
    service: ServiceName | None
    call: CallId
    state: "ApprovalState"
    requested_at: datetime
    answer_by: datetime
    use_by: datetime | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    note: str = ""
    deployment: str | None = None
    why: str = ""
    idempotency_key: str | None = None
    run_requested: bool = False


class ApprovalState(StrEnum):
    """`granted` becomes `consumed` in the transaction that commits the plan, or `expired` when nobody used it in time."""

    pending = "pending"
    granted = "granted"
    denied = "denied"
    expired = "expired"
    consumed = "consumed"


class Standing(Value):
    """What reputation and the operator's ceiling come to for one caller."""

    ceiling: Level
    score: int
    earned: Level
    approval: ApprovalRule | None = None

    @property
    def level(self) -> Level:
        """The level in force: the earned one, never above the ceiling."""
        return min(self.earned, self.ceiling, key=lambda level: level.rank)


Approval.model_rebuild()
