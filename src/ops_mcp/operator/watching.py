"""What an operator orders about alerts: rules from a file, who may carry out a remedy, and silences."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias, assert_never

from ops_mcp.alerting.matchers import parse_matcher
from ops_mcp.alerting.muting import SilenceState, checked_silence
from ops_mcp.alerting.rules import Remediation, Rule, parse_rule
from ops_mcp.domain.places import Environment, EnvironmentName
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.metrics.regexes import pattern_of
from ops_mcp.operator.deeds import Deed, listed, require_agent
from ops_mcp.operator.verbs import AcknowledgeAlerts, AssignRemedy, SetRules, SilenceAlerts, UnsilenceAlerts
from ops_mcp.store.alerts import rules, silences, writes
from ops_mcp.store.database import Transaction
from ops_mcp.values import Json

Environments: TypeAlias = Mapping[EnvironmentName, Environment]
AlertVerb: TypeAlias = SetRules | AssignRemedy | AcknowledgeAlerts | SilenceAlerts | UnsilenceAlerts


def act(t: Transaction, verb: AlertVerb, environments: Environments, *, by: str, now: datetime) -> Deed:
    """Do one verb about alerts."""
    match verb:
        case SetRules():
            return set_rules(t, verb, environments, by=by, now=now)
        case AssignRemedy():
            return assign(t, verb, now=now)
        case AcknowledgeAlerts():
            return acknowledge(t, verb, by=by, now=now)
        case SilenceAlerts():
            return silence(t, verb, environments, by=by, now=now)
        case UnsilenceAlerts():
            return unsilence(t, verb, by=by, now=now)
        case _:
            assert_never(verb)


def set_rules(t: Transaction, verb: SetRules, environments: Environments, *, by: str, now: datetime) -> Deed:
    """All of them or none. Expressions were checked where they were read; one that cannot be evaluated says so at its rule."""
    parsed = [parse_rule(fields, check_expression=str, where="A rule") for fields in verb.rules]
    for rule in parsed:
        _require_environment(rule.environment, environments)
        if rule.remediation is not None and rule.remediation.agent is not None:
            require_agent(t, rule.remediation.agent)
    said: list[Json] = [_set(t, rule, by=by, now=now) for rule in parsed]
    return Deed("alerts.rules_set", {"rules": said}, reason=verb.reason)


def assign(t: Transaction, verb: AssignRemedy, *, now: datetime) -> Deed:
    """From the next incident on the remedy is carried out as this agent."""
    stored = rules.rule_in(t, verb.environment, verb.rule)
    if stored is None:
        names = [rule.name for rule in rules.rules_in(t, verb.environment)][:20]
        raise NotFound(
            f"There is no alert rule {verb.rule!r} in {verb.environment}.",
            hint=listed("Rules there", names, "ops-mcp alerts import FILE"),
        )
    if stored.digest != verb.replaces:
        raise Conflict(
            f"The rule {verb.rule} in {verb.environment} has changed since you saw it.", hint="Look at it, and order again."
        )
    if stored.rule.remediation is None:
        raise Conflict(f"The rule {verb.rule} names no remediation.", hint="Set one first: restart or rollback.")
    if verb.agent is not None:
        require_agent(t, verb.agent)
    remediation = Remediation(remedy=stored.rule.remediation.remedy, agent=verb.agent)
    # What the rule says stays the word of whoever set it: its label `incident`, too, which counts only where it is an operator's.
    current = writes.set_rule(t, stored.rule.evolve(remediation=remediation), by=stored.set_by, at=now)
    said = {"rule": verb.rule, "agent": verb.agent, "remedy": remediation.remedy.value, "current": current}
    return Deed("alerts.assigned", said, reason=verb.reason, environment=verb.environment, service=stored.rule.service)


def acknowledge(t: Transaction, verb: AcknowledgeAlerts, *, by: str, now: datetime) -> Deed:
    """All that still fire, or none: an alert that is over by now is nobody's to take."""
    lives = [writes.take_in_hand(t, alert, by=f"operator:{by}", at=now) for alert in verb.alerts]
    said: list[Json] = [life.id for life in lives]
    return Deed("alerts.acknowledged", {"alerts": said}, reason=verb.reason, environment=lives[0].alert.environment)


def silence(t: Transaction, verb: SilenceAlerts, environments: Environments, *, by: str, now: datetime) -> Deed:
    _require_environment(verb.environment, environments)
    begun = writes.begin_silence(
        t, verb.environment, verb.matchers, seconds=verb.minutes * 60, comment=verb.comment, by=f"operator:{by}", at=now
    )
    checked_silence(begun, matches=_matches)
    said: list[Json] = [str(matcher) for matcher in map(parse_matcher, verb.matchers)]
    return Deed(
        "alerts.silenced",
        {"silence": begun.id, "matchers": said, "ends_at": begun.ends_at.isoformat()},
        reason=verb.comment,
        environment=verb.environment,
    )


def unsilence(t: Transaction, verb: UnsilenceAlerts, *, by: str, now: datetime) -> Deed:
    found = silences.silence_in(t, verb.silence)
    if found is None or found.state(now) is SilenceState.expired:
        names = [one.id for one in silences.in_force(t, now)][:20]
        raise NotFound("This silence is over, or there is none with this id.", hint=listed("Silences", names, "none needed"))
    silences.end(t, found.id, by=f"operator:{by}", at=now)
    return Deed("alerts.unsilenced", {"silence": found.id}, reason=verb.reason, environment=found.environment)


def _set(t: Transaction, rule: Rule, *, by: str, now: datetime) -> Json:
    current = writes.set_rule(t, rule, by=f"operator:{by}", at=now)
    return {"environment": rule.environment, "name": rule.name, "current": current}


def _require_environment(name: str, environments: Environments) -> None:
    if name not in environments:
        raise NotFound(f"There is no environment {name!r}.", hint=listed("Environments", sorted(environments), ""))


def _matches(pattern: str, value: str) -> bool:
    return pattern_of(pattern).matches(value)
