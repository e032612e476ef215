"""Alert rules: which there are, setting one, deleting one."""

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from ops_mcp.domain.releases import Plan
from ops_mcp.ports import Ops
from ops_mcp.tool import Args, Result, Target, change, read
from ops_mcp.tools.alerts.asking import (
    ALERTS,
    CHANGE_TOKENS,
    LONGEST_EXPRESSION,
    AlertChange,
    AlertWriteArgs,
    CurrentArg,
    PlaceArg,
    RuleNameArg,
    finished,
    planned,
)

REPLY_TOKENS = 8_000


class AlertRulesArgs(Args):
    environment: str | None = None
    name: str | None = Field(default=None, max_length=100, description="All of one")
    service: PlaceArg | None = None
    limit: int = Field(default=50, ge=1, le=200)

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class RuleDetail(Result):
    """The rest of one rule. Labels and annotations were written by others."""

    keep_firing_for: str
    channels: list[str] = []
    sources: list[str] = []
    remediation: str | None = None
    remediation_agent: str | None = None
    evaluated_at: datetime | None = None
    set_by: str
    set_at: datetime
    untrusted_labels: dict[str, str] = {}
    untrusted_annotations: dict[str, str] = {}


class RuleView(Result):
    """One rule. `state` is absent before its first evaluation; `current` names exactly this content."""

    name: str
    environment: str
    service: str | None = None
    severity: str
    state: str | None = None
    pending: int = 0
    firing: int = 0
    wait: str
    current: str
    untrusted_expression: str
    untrusted_error: str = ""
    detail: RuleDetail | None = None


class RulesFound(Result):
    """Those that fire first. `matched` counts all of them; `trouble` says where they are not evaluated now."""

    rules: list[RuleView]
    matched: int
    trouble: str = ""


@read(toolset=ALERTS, title="Alert rules", reply_tokens=REPLY_TOKENS)
async def alert_rules(args: AlertRulesArgs, ops: Ops) -> RulesFound:
    """Alert rules and their states."""
    from ops_mcp.tools.alerts import ruling  # start-up has a bar

    return await ruling.found(args, ops)


class AlertRuleSetArgs(AlertWriteArgs):
    name: RuleNameArg
    environment: str
    expression: str | None = Field(
        default=None, max_length=LONGEST_EXPRESSION, description="PromQL, or e.g. error_rate > 5% for 5m"
    )
    slo: str | None = Field(
        default=None, max_length=2500, description="Instead: 99.9% availability over 30d on ratio errors_total/requests_total"
    )
    service: PlaceArg | None = None
    for_seconds: float | None = None
    keep_firing_for_seconds: float = 0.0
    severity: str = Field(default="medium", max_length=20, description="critical, high, medium, low")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    channels: list[str] = []
    remediation: Literal["restart", "rollback"] | None = None
    sources: list[str] = []
    expected_current: CurrentArg = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "AlertRuleSetArgs":
        if self.slo is not None and (self.expression is not None or self.sources or self.remediation):
            raise ValueError("slo goes without expression, sources and remediation")
        return self

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


@change(
    toolset=ALERTS, title="Set an alert rule", reply_tokens=CHANGE_TOKENS, result=AlertChange, finish=finished, planned=planned,
    alters_runtime=False,
)  # fmt: skip
async def alert_rule_set(args: AlertRuleSetArgs, ops: Ops) -> Plan:
    """Create or replace an alert rule, or those of an objective (`slo`)."""
    from ops_mcp.tools.alerts import setting  # start-up has a bar

    return await setting.set_plan(args, ops)


class AlertRuleDeleteArgs(AlertWriteArgs):
    name: RuleNameArg
    environment: str
    expected_current: CurrentArg = None

    def target(self) -> Target:
        return Target(environment=self.environment, rule=self.name)


@change(
    toolset=ALERTS, title="Delete an alert rule", reply_tokens=CHANGE_TOKENS, result=AlertChange, finish=finished,
    planned=planned, alters_runtime=False,
)  # fmt: skip
async def alert_rule_delete(args: AlertRuleDeleteArgs, ops: Ops) -> Plan:
    """Delete an alert rule; its alerts end."""
    from ops_mcp.tools.alerts import setting  # start-up has a bar

    return await setting.delete_plan(args, ops)
