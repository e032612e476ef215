"""What may be done about an alert without a person: try the rule's remedy, at most twice, see whether it helped, or escalate."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.rules import Remedy, Rule
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName, ServiceName

MOST_ATTEMPTS = 2
SETTLE = timedelta(minutes=5)
REOPENS_WITHIN = timedelta(minutes=30)


class Outcome(StrEnum):
    """How an attempt ended. `open` has not, or waits for an approval; `refused` never began; `unknown` may have had an effect."""

    open = "open"
    succeeded = "succeeded"
    failed = "failed"
    refused = "refused"
    unknown = "unknown"


class Attempt(NamedTuple):
    """One try at a remedy for a service, by the worker (`automatic`) or by somebody: both count."""

    remedy: Remedy
    at: datetime
    outcome: Outcome = Outcome.open
    finished_at: datetime | None = None
    automatic: bool = True


class Incident(NamedTuple):
    """A time of trouble with one alert: from its first firing until it stayed away for `REOPENS_WITHIN`.

    An alert that comes back sooner is the same incident, so that a remedy that helps for a minute is not tried for ever.
    """

    fingerprint: str
    environment: EnvironmentName
    service: str | None
    began_at: datetime
    fired_at: datetime
    resolved_at: datetime | None = None
    escalated_at: datetime | None = None


class Remediate(NamedTuple):
    """Submit this now, as this agent. `key` is the same for the same attempt, so that it is submitted once."""

    remedy: Remedy
    environment: EnvironmentName
    service: ServiceName
    agent: AgentName
    number: int
    key: str


class Wait(NamedTuple):
    """Look again at `until`, or when the attempt that is open has ended."""

    until: datetime | None
    why: str


class Escalate(NamedTuple):
    """Tell a person that this will not heal by itself. Once per incident."""

    why: str


class Leave(NamedTuple):
    """Nothing is to be done here."""

    why: str


Step: TypeAlias = Remediate | Wait | Escalate | Leave


def incident_after(known: Incident | None, alert: Alert, at: datetime) -> Incident:
    """The incident that `alert` belongs to: `known` going on, ending or opening again, or a new one."""
    ended = None if alert.is_firing(at) else alert.ends_at
    if known is not None and known.fingerprint == alert.fingerprint and _goes_on(known, alert):
        return known._replace(resolved_at=ended)
    return Incident(alert.fingerprint, alert.environment, alert.service, alert.began_at, alert.starts_at, ended)


def next_step(incident: Incident, alert: Alert, rule: Rule | None, attempts: Sequence[Attempt], at: datetime) -> Step:
    """What to do at `at`. `rule` is the rule whose alert it is, or that claimed it.

    `attempts` are those on the alert's service, oldest first. Those since the incident began count, whoever made them. One that
    is open is waited for, and after one that succeeded the alert has `SETTLE` to end. A rollback that worked is not followed by
    another: going back further is for a person to decide.
    """
    if incident.resolved_at is not None:
        return Leave("the alert has ended")
    if rule is None or rule.remediation is None:
        return Leave("no rule names a remedy for it")
    if alert.source and alert.source not in rule.sources:
        return Leave("its source is not one that the rule names")
    if incident.escalated_at is not None:
        return Leave("a person has been told")
    if incident.service is None:
        return Escalate("the alert names no service that a remedy could work on")
    if rule.remediation.agent is None:
        return Escalate("the operator has assigned no agent to the rule's remedy")
    counted = [attempt for attempt in attempts if attempt.at >= incident.fired_at]
    waited = _after_last(counted, at)
    if waited is not None:
        return waited
    return Remediate(
        remedy=rule.remediation.remedy,
        environment=incident.environment,
        service=ServiceName(incident.service),
        agent=rule.remediation.agent,
        number=len(counted) + 1,
        key=f"heal-{incident.fingerprint}-{incident.fired_at:%Y%m%dT%H%M%S.%f}-{len(counted) + 1}",
    )


def _goes_on(known: Incident, alert: Alert) -> bool:
    return known.resolved_at is None or alert.starts_at - known.resolved_at < REOPENS_WITHIN


def _after_last(attempts: Sequence[Attempt], at: datetime) -> Step | None:
    """What the attempts so far ask for; None where one more may be made."""
    if not attempts:
        return None
    last = attempts[-1]
    match last.outcome:
        case Outcome.open:
            return Wait(None, f"the {last.remedy.value} is still under way")
        case Outcome.unknown:
            return Escalate(f"it is not known what the {last.remedy.value} did, so it is not repeated")
        case Outcome.refused:
            return Escalate(f"the {last.remedy.value} was refused")
        case Outcome.succeeded:
            return _after_success(last, len(attempts), at)
        case Outcome.failed:
            return _enough(len(attempts))


def _after_success(last: Attempt, count: int, at: datetime) -> Step | None:
    until = (last.finished_at or last.at) + SETTLE
    if at < until:
        return Wait(until, f"the {last.remedy.value} was made; the alert has until then to end")
    if last.remedy is Remedy.rollback:
        return Escalate("the alert goes on after the rollback, and nothing is rolled back twice")
    return _enough(count)


def _enough(count: int) -> Step | None:
    return Escalate(f"the alert goes on after {count} attempts") if count >= MOST_ATTEMPTS else None
