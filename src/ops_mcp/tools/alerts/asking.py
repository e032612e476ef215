"""What the tools of alerts share: arguments, plans of their writes, and the result of a change."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ops_mcp.answers import PlanView, VerdictView
from ops_mcp.answers import planned as planned_change
from ops_mcp.domain.calls import Verdict
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import AlertWrite, Applied, Plan
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.observing import RulesWanted
from ops_mcp.ports import Ops
from ops_mcp.targets import asked_by
from ops_mcp.tool import Committed, Result, WriteArgs
from ops_mcp.values import Json, JsonObject

if TYPE_CHECKING:  # start-up has a bar
    from ops_mcp.alerting.lives import Standing

ALERTS = "alerts"
CHANGE_TOKENS = 3_000
LONGEST_EXPRESSION = 4_000
"""As `alerting.rules` has it, which is loaded later."""

PlaceArg = Annotated[str, Field(max_length=63)]
RuleNameArg = Annotated[str, Field(max_length=100)]
AlertIdArg = Annotated[str, Field(pattern=r"^alr_[0-9a-f]{20}$")]
CurrentArg = Annotated[str | None, Field(max_length=80, description="Refuse unless `current`")]


class AlertWriteArgs(WriteArgs):
    """As every write takes them; their meaning is told where they are first met."""

    dry_run: bool = False
    idempotency_key: str | None = Field(default=None, max_length=128, pattern=r"^[!-~]+$")
    reason: str = Field(default="", max_length=500)


class WrittenView(Result):
    """`current` is what `expected_current` of the next change may name."""

    what: str
    id: str
    current: str = ""
    until: datetime | None = None


class AlertChange(Result):
    """A dry run has `plan` and `verdict`; a real change says what was `written`."""

    dry_run: bool = False
    done: str = ""
    written: list[WrittenView] = []
    warnings: list[str] = []
    plan: PlanView | None = None
    verdict: VerdictView | None = None


def planned(plan: Plan, verdict: Verdict) -> AlertChange:
    """The result of a dry run."""
    found = planned_change(plan, verdict)
    return AlertChange(dry_run=True, warnings=list(plan.warnings), plan=found.plan, verdict=found.verdict)


async def finished(committed: Committed, ops: Ops) -> AlertChange:  # noqa: ARG001  the shape of every `finish`
    """What came of the change. A repeated key is answered with what is stored for it, before this is asked."""
    if committed.applied is None:
        raise NotFound("The first call with this key changed no alert.", hint="Use a new key.")
    return told(committed.applied)


def told(applied: Applied) -> AlertChange:
    return AlertChange(
        done=applied.done,
        written=[WrittenView(what=one.what, id=one.id, current=one.current, until=one.until) for one in applied.written],
        warnings=list(applied.warnings),
    )


def plan_of(
    args: WriteArgs,
    ops: Ops,
    environment: str,
    writes: Iterable[AlertWrite],
    *,
    summary: str,
    service: str | None = None,
    content: str = "",
    target_state: str = "",
    warnings: Iterable[str] = (),
) -> Plan:
    """A plan that only writes rows of alerts."""
    asked = asked_by(args, ops)
    binding = ops.config.binding(service, environment) if service else None
    return Plan(
        tool=asked.tool,
        agent=asked.agent,
        environment=EnvironmentName(environment),
        service=binding.service if binding else None,
        arguments=asked.arguments,
        summary=summary,
        content=content,
        target_state=target_state,
        warnings=tuple(warnings),
        writes=tuple(writes),
        ceiling=asked.ceiling,
    )


async def rule_named(name: str, environment: EnvironmentName, ops: Ops) -> "Standing | None":
    """The rule of that name, if there is one."""
    return next(iter((await ops.sights.alerts.rules(RulesWanted((environment,), name=name))).rules), None)


def refuse_unexpected(expected: str | None, found: str, name: str) -> None:
    """Raises `Conflict` where the caller expected something else to be there."""
    if expected is not None and expected != found:
        raise Conflict(
            f"The rule {name} is not what you expected: its current content is {found}.",
            hint="Read it with `alert_rules`, then decide again.",
            details={"expected": expected, "found": found},
        )


def without_secrets(fields: JsonObject, ops: Ops) -> JsonObject:
    """The same fields, with whatever is secret in their texts hidden: they are stored and shown."""
    return {name: _hidden(value, ops) for name, value in fields.items()}


def _hidden(value: Json, ops: Ops) -> Json:
    match value:
        case str():
            return ops.redact(value)
        case dict():
            return without_secrets(value, ops)
        case list():
            return [_hidden(item, ops) for item in value]
        case _:
            return value
