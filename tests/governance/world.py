"""What the tests of governance decide about: the shipped policy, and calls and histories with one thing changed at a time."""

from datetime import UTC, datetime
from pathlib import Path

from ops_mcp.domain.calls import BudgetLine, Call, CallId, Cost
from ops_mcp.domain.identity import Agent, AgentName, Effect, Level, OperatorName, Risk, Tier
from ops_mcp.domain.places import ApprovalRule, Binding, Environment, EnvironmentName, ServiceName
from ops_mcp.governance.budgets import Limit, Limits, windows_for
from ops_mcp.governance.history import History, RateState
from ops_mcp.governance.policy import Action, Policy, PolicyProblem, load

SHIPPED = Path(__file__).parents[2] / "src" / "ops_mcp" / "governance"
MATRIX = (SHIPPED / "matrix.cedar").read_text(encoding="utf-8")
SCHEMA = (SHIPPED / "schema.cedarschema").read_text(encoding="utf-8")
ACTIONS = (
    Action("services", Effect.read, "core"),
    Action("deploy", Effect.change, "core"),
    Action("rollback", Effect.change, "core"),
    Action("deployment_cancel", Effect.change, "core"),
    Action("whoami", Effect.read, "core"),
    Action("alert_rule_set", Effect.change, "alerts"),
    Action("metrics_record", Effect.record, "observe"),
    Action("backup_restore", Effect.destroy, "infra"),
)
EFFECTS = {action.tool: action.effect for action in ACTIONS}
NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def policy_with(**operator: str) -> Policy:
    """The shipped matrix and the operator's texts, by file name without `.cedar`."""
    loaded = load(MATRIX, SCHEMA, {f"{name}.cedar": text for name, text in operator.items()}, actions=ACTIONS)
    assert isinstance(loaded, Policy), loaded
    return loaded


def problem_with(**operator: str) -> PolicyProblem:
    """Why the operator's texts are not accepted."""
    loaded = load(MATRIX, SCHEMA, {f"{name}.cedar": text for name, text in operator.items()}, actions=ACTIONS)
    assert isinstance(loaded, PolicyProblem), loaded
    return loaded


SHIPPED_POLICY = policy_with()


def environment(tier: Tier, **changed: object) -> Environment:
    """An environment named as its tier, with the defaults of the configuration."""
    prod = tier is Tier.prod
    asks = ApprovalRule.always if prod else ApprovalRule.never
    return Environment(name=EnvironmentName(tier.value), tier=tier, approval=asks, private=prod).evolve(**changed)


def agent(ceiling: Level = Level.prod, score: int = 500, **changed: object) -> Agent:
    return Agent(name=AgentName("robin"), owner=OperatorName("ann"), ceiling=ceiling, score=score).evolve(**changed)


def call(tool: str = "deploy", tier: Tier | None = Tier.staging, *, risk: Risk = Risk.full, **changed: object) -> Call:
    """A call of `tool` on the service `web`; deploy and rollback alter a runtime."""
    place = environment(tier) if tier is not None else None
    binding = Binding(service=ServiceName("web"), environment=place.name, provider="local", risk=risk) if place else None
    return Call(
        id=CallId("call_1"),
        tool=tool,
        effect=EFFECTS[tool],
        at=NOON,
        digest="sha256:0",
        environment=place,
        service=binding.service if binding else None,
        binding=binding,
        alters_runtime=tool in ("deploy", "rollback", "backup_restore"),
        ceiling=Cost(calls=1, tokens=100, usd_micros=10),
    ).model_copy(update=changed)


def history(**changed: object) -> History:
    """A trusted agent with nothing spent; `changed` are fields of `History`."""
    limits = Limits(Limit(100, 10_000, 1_000), Limit(1_000, 100_000, 10_000))
    windows = windows_for("robin", Tier.staging, BudgetLine.work, own=limits, everyone=Limits(), at=NOON)
    quiet = History(caller=agent(), at=NOON, phase="admit", windows=windows, rate=RateState(5.0, 60.0, 5))
    return quiet._replace(**changed)
