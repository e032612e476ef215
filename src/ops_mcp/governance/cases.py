"""Reviewed cases for a policy: agent, environment, tool and arguments with the decision they must get. Reads no files."""

import json
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, cast

from pydantic import ValidationError

from ops_mcp.domain.calls import Answer, Call, CallId, Cost, Verdict
from ops_mcp.domain.identity import Agent, AgentName, Anonymous, Effect, Level, OperatorName, Risk, System, Tier
from ops_mcp.domain.places import ApprovalRule, Binding, Environment, EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments
from ops_mcp.governance.decide import decide
from ops_mcp.governance.history import History, RateState
from ops_mcp.governance.policy import Policy
from ops_mcp.values import JsonObject, Value

_MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Case(Value):
    """One row. What is left out follows the defaults: prod is private and asks, a new agent has score 100.

    `agent = "anonymous"` is the caller without a token. `rule` and `policies` are compared only where they are given.
    """

    name: str = ""
    agent: str = "agent"
    owner: str = "operator"
    ceiling: Level = Level.sandbox
    score: int = 100
    reputation: bool = True
    operation: str = ""
    environment: str | None = None
    tier: Tier = Tier.sandbox
    private: bool | None = None
    approval: ApprovalRule | None = None
    service: str | None = None
    risk: Risk = Risk.full
    tool: str
    arguments: JsonObject = {}
    alters_runtime: bool | None = None
    dry_run: bool = False
    recovery: bool = False
    own_work: bool = False
    sample_only: bool = False
    at: datetime = _MONDAY_NOON
    expect: Answer
    rule: str | None = None
    policies: tuple[str, ...] | None = None


class CaseResult(NamedTuple):
    """What a case got. `policies` decided it as far as policies did."""

    number: int
    case: Case
    verdict: Verdict
    policies: tuple[str, ...]

    @property
    def passed(self) -> bool:
        case = self.case
        return (
            self.verdict.answer is case.expect
            and case.rule in (None, self.verdict.decisive.rule)
            and (case.policies is None or set(case.policies) == set(self.policies))
        )


def run_cases(policy: Policy, cases: Iterable[Case]) -> tuple[CaseResult, ...]:
    """Decide every case with unspent budgets, no freeze and a quiet host; in the order given."""
    return tuple(_run(policy, number, case) for number, case in enumerate(cases, start=1))


def parse_cases(text: str, *, toml: bool) -> tuple[Case, ...]:
    """Cases from TOML (`[[case]]` tables) or JSON lines. Raises `InvalidArguments` naming the case that cannot be read."""
    try:
        rows: object = (
            tomllib.loads(text).get("case", []) if toml else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except ValueError as error:
        hint = "Write [[case]] tables, or one JSON object a line."
        raise InvalidArguments(f"The cases cannot be read: {error}.", hint=hint) from error
    if not isinstance(rows, list):
        raise InvalidArguments("`case` is not a list of tables.", hint="Write each case as a [[case]] table.")
    return tuple(_parse(number, row) for number, row in enumerate(cast("list[object]", rows), start=1))


def call_of(case: Case, effect: Effect) -> Call:
    """The call that a case describes."""
    environment = _environment(case)
    binding = None
    if case.service is not None and environment is not None:
        binding = Binding(service=ServiceName(case.service), environment=environment.name, provider="local", risk=case.risk)
    changes = effect in (Effect.change, Effect.destroy)
    return Call(
        id=CallId("case"),
        tool=case.tool,
        effect=effect,
        at=case.at,
        digest="",
        arguments=case.arguments,
        environment=environment,
        service=ServiceName(case.service) if case.service is not None else None,
        binding=binding,
        alters_runtime=changes if case.alters_runtime is None else case.alters_runtime,
        dry_run=case.dry_run,
        recovery=case.recovery,
        own_work=case.own_work,
        sample_only=case.sample_only,
        ceiling=Cost(calls=1),
    )


def history_of(case: Case) -> History:
    """The history that a case is decided with: nothing spent, nothing stopped."""
    return History(caller=_caller(case), at=case.at, phase="commit", windows=(), rate=RateState(1.0, 60.0, 1))


def _run(policy: Policy, number: int, case: Case) -> CaseResult:
    action = policy.actions.get(case.tool)
    call, history = call_of(case, action.effect if action else Effect.destroy), history_of(case)
    return CaseResult(number, case, decide(call, policy, history), policy.rule(call, history).policies)


def _parse(number: int, row: object) -> Case:
    try:
        return Case.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the case"
        hint = f"Fields are: {', '.join(Case.model_fields)}."
        raise InvalidArguments(f"Case {number}: {where}: {first['msg']}.", hint=hint) from error


def _caller(case: Case) -> Agent | Anonymous | System:
    if case.agent == "anonymous":
        return Anonymous()
    agent = Agent(
        name=AgentName(case.agent),
        owner=OperatorName(case.owner),
        ceiling=case.ceiling,
        score=case.score,
        reputation=case.reputation,
    )
    return System(operation=case.operation, agent=agent) if case.operation else agent


def _environment(case: Case) -> Environment | None:
    if case.environment is None:
        return None
    prod = case.tier is Tier.prod
    return Environment(
        name=EnvironmentName(case.environment),
        tier=case.tier,
        approval=case.approval or (ApprovalRule.always if prod else ApprovalRule.never),
        private=prod if case.private is None else case.private,
    )
