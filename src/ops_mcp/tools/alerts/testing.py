"""Trying an alert rule on what was recorded: when would it have fired?"""

from datetime import datetime

from pydantic import Field

from ops_mcp.ports import Ops
from ops_mcp.tool import Args, Result, Target, read
from ops_mcp.tools.alerts.asking import ALERTS, LONGEST_EXPRESSION, PlaceArg


class AlertRuleTestArgs(Args):
    environment: str
    name: str | None = Field(default=None, max_length=100, description="Stored rule; else expression")
    expression: str | None = Field(default=None, max_length=LONGEST_EXPRESSION)
    service: PlaceArg | None = None
    for_seconds: float | None = None
    since: str = Field(default="24h", max_length=40, description="1h, 7d or ISO time")
    until: str | None = Field(default=None, max_length=40)

    def target(self) -> Target:
        return Target(environment=self.environment)


class PeriodView(Result):
    """One time that it would have fired. `resolved_at` is absent where it would fire still."""

    pending_at: datetime
    fired_at: datetime
    resolved_at: datetime | None = None
    value: str
    untrusted_labels: dict[str, str]


class RuleTested(Result):
    """`fired` counts all, of which the first are shown; `never_fired` those that waited and went away."""

    fired: int
    never_fired: int
    periods: list[PeriodView]
    evaluations: int
    every: str
    expression: str
    meaning: str = ""
    notes: list[str] = []


@read(toolset=ALERTS, title="Test an alert rule", reply_tokens=6_000)
async def alert_rule_test(args: AlertRuleTestArgs, ops: Ops) -> RuleTested:
    """When a rule would have fired over recorded metrics."""
    from ops_mcp.tools.alerts import rehearsing  # start-up has a bar

    return await rehearsing.tested(args, ops)
