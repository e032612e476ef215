"""Alert rules as a model sees them. Loaded when somebody looks."""

from ops_mcp.alerting.durations import duration_text
from ops_mcp.alerting.lives import Standing
from ops_mcp.answers import count_that_fits
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import NotFound
from ops_mcp.governance.redaction import plain
from ops_mcp.observing import RulesWanted
from ops_mcp.ports import Ops
from ops_mcp.tools.alerts.rules import REPLY_TOKENS, AlertRulesArgs, RuleDetail, RulesFound, RuleView

_FOR_THE_REST = 100


async def found(args: AlertRulesArgs, ops: Ops) -> RulesFound:
    """The rules asked for, those that fire first; one by its name with all that is in it."""
    places = (EnvironmentName(args.environment),) if args.environment is not None else ops.visible()
    matching = await ops.sights.alerts.rules(RulesWanted(places, args.service, args.name, args.limit))
    if args.name is not None and not matching.rules:
        raise NotFound("There is no alert rule of this name there.", hint="Leave `name` out to see those there are.")
    views = [_view(one, detailed=args.name is not None) for one in matching.rules]
    still = await ops.sights.health.standstill()
    return RulesFound(
        rules=views[: count_that_fits(views, REPLY_TOKENS - _FOR_THE_REST)], matched=matching.matched, trouble=still
    )


def _view(one: Standing, *, detailed: bool) -> RuleView:
    rule = one.rule
    return RuleView(
        name=rule.name,
        environment=rule.environment,
        service=rule.service,
        severity=rule.severity.value,
        state=one.state,
        pending=one.pending,
        firing=one.firing,
        wait=duration_text(rule.for_seconds),
        current=one.digest,
        untrusted_expression=rule.expression if detailed else plain(rule.expression, 300),
        untrusted_error=plain(one.error, 300),
        detail=_detail(one) if detailed else None,
    )


def _detail(one: Standing) -> RuleDetail:
    rule = one.rule
    return RuleDetail(
        keep_firing_for=duration_text(rule.keep_firing_for_seconds),
        channels=list(rule.channels),
        sources=list(rule.sources),
        remediation=rule.remediation.remedy.value if rule.remediation else None,
        remediation_agent=rule.remediation.agent if rule.remediation else None,
        evaluated_at=one.evaluated_at,
        set_by=one.set_by,
        set_at=one.set_at,
        untrusted_labels={name: plain(text, 300) for name, text in rule.labels.items()},
        untrusted_annotations={name: plain(text, 500) for name, text in rule.annotations.items()},
    )
