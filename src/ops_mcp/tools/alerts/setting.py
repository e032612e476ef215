"""Plans that set alert rules, or delete one. Loaded when the first rule is changed."""

from pydantic import ValidationError

from ops_mcp.alerting.burn import Subject, burn_rules
from ops_mcp.alerting.rules import CheckExpression, Rule, as_edited, parse_rule, refused
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import DeleteRule, Plan, SetRule
from ops_mcp.errors import Conflict, InvalidArguments, NotFound
from ops_mcp.observing import EMBEDDED
from ops_mcp.ports import Ops
from ops_mcp.targets import about
from ops_mcp.tools.alerts.asking import plan_of, refuse_unexpected, rule_named, without_secrets
from ops_mcp.tools.alerts.expressions import understood, warnings
from ops_mcp.tools.alerts.rules import AlertRuleDeleteArgs, AlertRuleSetArgs
from ops_mcp.values import Json, JsonObject

NOTHING = "nothing"


async def set_plan(args: AlertRuleSetArgs, ops: Ops) -> Plan:
    """Store the rule, or the rules of the objective, in place of what is there."""
    environment = EnvironmentName(args.environment)
    _refuse_unknown(args, ops)
    rules, said = await _wanted(args, ops)
    writes: list[SetRule] = []
    for rule in rules:
        old = await rule_named(rule.name, environment, ops)
        current = old.digest if old is not None else NOTHING
        refuse_unexpected(args.expected_current, current, rule.name)
        if old is not None and old.rule.service not in (None, rule.service):
            raise Conflict(
                f"The rule {rule.name} there is about {old.rule.service}.",
                hint="Use another name, or delete it with `alert_rule_delete` first.",
            )
        edited = as_edited(rule, old.rule if old is not None else None)
        writes.append(SetRule(rule=edited.json_value(), replaces=current))
    names = ", ".join(rule.name for rule in rules)
    notes = await warnings([rule.expression for rule in rules if rule.expression], environment, ops)
    return plan_of(
        args,
        ops,
        args.environment,
        writes,
        summary=f"Set the alert rule{'s' if len(rules) > 1 else ''} {names} in {environment}. {said}".strip(),
        service=args.service,
        content="\n".join(rule.expression for rule in rules),
        target_state=", ".join(write.replaces for write in writes),
        warnings=[*notes, *_cautions(args, rules, ops)],
    )


async def delete_plan(args: AlertRuleDeleteArgs, ops: Ops) -> Plan:
    """Delete the rule and end its alerts."""
    found = await rule_named(args.name, EnvironmentName(args.environment), ops)
    if found is None:
        raise NotFound("There is no alert rule of this name there.", hint="`alert_rules` lists those there are.")
    refuse_unexpected(args.expected_current, found.digest, found.rule.name)
    firing = f"; {found.firing} alerts of it fire" if found.firing else ""
    return plan_of(
        args,
        ops,
        args.environment,
        [DeleteRule(name=found.rule.name, replaces=found.digest)],
        summary=f"Delete the alert rule {found.rule.name} in {args.environment}{firing}.",
        content=found.rule.expression,
        target_state=found.digest,
    )


async def _wanted(args: AlertRuleSetArgs, ops: Ops) -> tuple[tuple[Rule, ...], str]:
    """The rules that the arguments mean, and what they became in words."""
    if args.slo is not None:
        return _of_objective(args, args.slo, ops)
    environment, service = EnvironmentName(args.environment), args.service
    fields: JsonObject = {
        "name": args.name,
        "environment": args.environment,
        "service": service,
        "keep_firing_for_seconds": args.keep_firing_for_seconds,
        "severity": args.severity,
        "labels": dict[str, Json](args.labels),
        "annotations": dict[str, Json](args.annotations),
        "channels": list[Json](args.channels),
        "sources": list[Json](args.sources),
        "remediation": {"remedy": args.remediation} if args.remediation else None,
    }
    fields = without_secrets(fields, ops)
    said = ""
    for_seconds = args.for_seconds
    if args.expression is not None:
        meant = await understood(ops.redact(args.expression), environment, service, ops)
        fields["expression"], said = meant.expression, meant.said
        for_seconds = for_seconds if for_seconds is not None else meant.for_seconds
    fields["for_seconds"] = for_seconds or 0.0
    with about("expression", "PromQL, or a condition such as error_rate > 5% for 5m."):
        rule = parse_rule(fields, check_expression=_checker(environment, ops))
    return (rule,), f"Watched: {said}" if said else ""


def _of_objective(args: AlertRuleSetArgs, line: str, ops: Ops) -> tuple[tuple[Rule, ...], str]:
    subject = _subject(args)
    found = burn_rules(ops.redact(line), subject, check_expression=ops.sights.metrics.compiled)
    left_out = f"Left out: {'; '.join(found.left_out)}." if found.left_out else ""
    added = without_secrets({"labels": dict[str, Json](args.labels), "annotations": dict[str, Json](args.annotations)}, ops)
    times: JsonObject = {
        "for_seconds": args.for_seconds or 0.0, "keep_firing_for_seconds": args.keep_firing_for_seconds,
    }  # fmt: skip
    rules = [{**rule.json_value(), **times, **_merged(rule, added)} for rule in found.rules]
    return tuple(parse_rule(fields, check_expression=ops.sights.metrics.compiled) for fields in rules), left_out


def _merged(rule: Rule, added: JsonObject) -> JsonObject:
    """Labels and annotations of the rule's own, over those that were asked for."""
    own = rule.json_value()
    return {field: {**_object(added[field]), **_object(own[field])} for field in ("labels", "annotations")}


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _subject(args: AlertRuleSetArgs) -> Subject:
    fields: dict[str, object] = {
        "name": args.name, "environment": args.environment, "service": args.service, "channels": tuple(args.channels),
    }  # fmt: skip
    try:
        return Subject.model_validate(fields)
    except ValidationError as error:
        raise refused(error, "The objective", tuple(Subject.model_fields)) from error


def _checker(environment: EnvironmentName, ops: Ops) -> CheckExpression:
    """An outside Prometheus has been asked already whether it takes the query."""
    book = ops.sights.metrics
    return book.compiled if book.source(environment).name == EMBEDDED else _taken


def _taken(_text: str) -> None:
    """Nothing is left to check."""


def _refuse_unknown(args: AlertRuleSetArgs, ops: Ops) -> None:
    """Raises `InvalidArguments` for a channel or a source that the operator has not set up."""
    settings = ops.config.settings
    for field, given, known in (
        ("channels", args.channels, settings.channels),
        ("sources", args.sources, settings.alerts.sources),
    ):
        strange = [name for name in given if name not in known]
        if strange:
            raise InvalidArguments(
                f"{field}: {len(strange)} of them are not set up.",
                hint=f"Set up: {', '.join(sorted(known)) or 'none'}. An operator adds them to config.toml.",
                details={"fields": [field]},
            )


def _cautions(args: AlertRuleSetArgs, rules: tuple[Rule, ...], ops: Ops) -> list[str]:
    found: list[str] = []
    if args.service is not None and ops.config.binding(args.service, args.environment) is None:
        found.append(f"No service {args.service} is bound in {args.environment}.")
    if any(rule.remediation is not None and rule.remediation.agent is None for rule in rules):
        found.append("Nothing is remediated before an operator assigns an agent: ops-mcp alerts assign.")
    if not args.channels:
        found.append("It has no channels: nobody is told when it fires.")
    return found
