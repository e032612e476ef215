"""What a committed plan, or an operator's verb, does to alert rules, alerts and silences."""

from datetime import datetime, timedelta
from typing import assert_never

from ops_mcp.alerting.lifecycle import ended
from ops_mcp.alerting.lives import Life, LifeEvent, LifeState
from ops_mcp.alerting.matchers import parse_matcher
from ops_mcp.alerting.muting import Silence, acknowledged
from ops_mcp.alerting.routing import Routes
from ops_mcp.alerting.rules import Rule
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import AcknowledgeAlert, AlertWrite, BeginSilence, DeleteRule, EndSilence, Plan, SetRule, Written
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.store.alerts import happening, lives, progress, rules, silences
from ops_mcp.store.database import Transaction
from ops_mcp.values import digest


def recheck(tx: Transaction, plan: Plan, write: AlertWrite) -> None:
    """Refuse a write whose target has changed since the plan was made. Raises `Conflict`."""
    match write:
        case SetRule(rule=fields, replaces=replaces):
            _refuse_drift(tx, str(fields["environment"]), str(fields["name"]), replaces)
        case DeleteRule(name=name, replaces=replaces):
            _refuse_drift(tx, plan.environment, name, replaces)
        case AcknowledgeAlert(alert=alert):
            _firing(tx, alert, plan.environment)
        case EndSilence(silence=silence):
            _silence(tx, silence, plan.environment)
        case BeginSilence():
            pass
        case _:
            assert_never(write)


def apply(tx: Transaction, plan: Plan, write: AlertWrite, *, at: datetime) -> Written:
    """Do one write of a plan; what came of it."""
    match write:
        case SetRule(rule=fields):
            rule = Rule.model_validate(fields)
            return Written(what="rule set", id=rule.name, current=set_rule(tx, rule, by=plan.agent, at=at))
        case DeleteRule(name=name):
            happening.delete_rule(tx, plan.environment, name, by=plan.agent, at=at)
            return Written(what="rule deleted", id=name, current=rules.NOTHING)
        case AcknowledgeAlert():
            life = _firing(tx, write.alert, plan.environment)
            return _acknowledge(tx, life, write, by=plan.agent, at=at)
        case BeginSilence():
            return _begin_silence(tx, plan, write, at)
        case EndSilence(silence=silence):
            _silence(tx, silence, plan.environment)
            silences.end(tx, silence, by=plan.agent, at=at)
            return Written(what="silence ended", id=silence, until=at)
        case _:
            assert_never(write)


def set_rule(tx: Transaction, rule: Rule, *, by: str, at: datetime) -> str:
    """Store a rule; its digest. One that is no longer evaluated here has no alerts of its own any more."""
    named = rules.put(tx, rule, by=by, at=at)
    if not rule.expression:
        _, transitions = ended(progress.of_rule(tx, (rule.environment, rule.name)), at)
        happening.post(tx, happening.happened(tx, rule, transitions, at=at, actor=by), Routes(), at=at)
        progress.forget(tx, (rule.environment, rule.name))
    return named


def begin_silence(
    tx: Transaction, environment: str, matchers: tuple[str, ...], *, seconds: float, comment: str, by: str, at: datetime
) -> Silence:
    """A silence from now on."""
    id = "sil_" + digest([environment, list(matchers), seconds, by, at.isoformat()])[-20:]
    silence = Silence(
        id=id,
        environment=EnvironmentName(environment),
        matchers=tuple(map(parse_matcher, matchers)),
        starts_at=at,
        ends_at=at + timedelta(seconds=seconds),
        by=by,
        comment=comment,
    )
    if silences.silence_in(tx, id) is None:
        silences.insert(tx, silence)
    return silence


def take_in_hand(tx: Transaction, id: str, *, by: str, at: datetime) -> Life:
    """An operator's acknowledgement, until the alert ends. Raises `NotFound`, or `Conflict` for one that does not fire."""
    known = lives.life_in(tx, id)
    life = _firing(tx, id, known.alert.environment if known else "")
    _acknowledge(tx, life, AcknowledgeAlert(alert=id), by=by, at=at)
    return life


def _acknowledge(tx: Transaction, life: Life, write: AcknowledgeAlert, *, by: str, at: datetime) -> Written:
    until = at + timedelta(seconds=write.seconds) if write.seconds is not None else None
    taken = acknowledged(life.alert, by=by, at=at, until=until, known=life.acknowledgement)
    false_positive = write.false_positive or life.false_positive
    if taken is not life.acknowledgement or false_positive != life.false_positive:
        lives.acknowledge(tx, life.id, taken, false_positive=false_positive)
        said = "as a false positive" if write.false_positive else ""
        lives.append(tx, life.id, LifeEvent(at, "acknowledged", by, said))
    return Written(what="alert acknowledged", id=life.id, current=f"in hand of {taken.by}", until=taken.until)


def _begin_silence(tx: Transaction, plan: Plan, write: BeginSilence, at: datetime) -> Written:
    silence = begin_silence(
        tx, plan.environment, write.matchers, seconds=write.seconds, comment=write.comment, by=plan.agent, at=at
    )
    return Written(what="silence begun", id=silence.id, until=silence.ends_at)


def _refuse_drift(tx: Transaction, environment: str, name: str, replaces: str) -> None:
    found = rules.current(tx, environment, name)
    if found != replaces:
        raise Conflict(
            f"The rule {name} in {environment} has changed since this plan was made.",
            hint="Read it with `alert_rules` and call again; an approval of the old plan does not cover the new one.",
            details={"planned_for": replaces, "found": found},
        )


def _firing(tx: Transaction, id: str, environment: str) -> Life:
    """The alert that somebody wants to take in hand."""
    life = lives.life_in(tx, id)
    if life is None or life.alert.environment != environment:
        raise NotFound("There is no alert with this id.", hint="`alerts` lists the open ones.")
    if life.state is LifeState.resolved:
        raise Conflict("The alert has ended, so there is nothing left to take in hand.", hint="`alerts` lists the open ones.")
    if life.state is LifeState.pending:
        raise Conflict("The alert has not fired yet.", hint="Wait for it, or silence it with `alert_silence`.")
    return life


def _silence(tx: Transaction, id: str, environment: str) -> Silence:
    silence = silences.silence_in(tx, id)
    if silence is None or silence.environment != environment:
        raise NotFound(f"There is no silence with this id in {environment}.", hint="`alerts` lists those in force.")
    return silence
