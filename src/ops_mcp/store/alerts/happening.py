"""What an evaluation, a source or a deletion did to alerts: their rows, their histories, and the board, in one transaction."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from ops_mcp.alerting.alerts import Alert, alert_as, alert_of
from ops_mcp.alerting.inbound import claimed
from ops_mcp.alerting.labels import fingerprint
from ops_mcp.alerting.lifecycle import Change, Transition, ended
from ops_mcp.alerting.lives import LifeEvent, LifeState
from ops_mcp.alerting.routing import Notification, Routes, received
from ops_mcp.alerting.rules import Rule
from ops_mcp.store.alerts import board, lives, progress, rules
from ops_mcp.store.database import Transaction

RULES = "rules"
"""Who acts where an evaluation does."""


def happened(tx: Transaction, rule: Rule, transitions: Iterable[Transition], *, at: datetime, actor: str = RULES) -> list[Alert]:
    """Write what transitions of a rule's alerts did to their rows; what the board is to be told of them."""
    news: list[Alert] = []
    for transition in transitions:
        _live(tx, rule, transition, at, actor)
        alert = alert_of(rule, transition)
        if alert is not None:
            news.append(alert)
    return news


def post(tx: Transaction, news: Sequence[Alert], routes: Routes, *, at: datetime) -> int:
    """Put alerts that began or ended on the board; how many were left out."""
    if not news:
        return 0
    before = board.board_in(tx)
    after, left_out = received(before, news, routes, at)
    board.save_board(tx, before, after)
    return left_out


def receive(tx: Transaction, alerts: Sequence[Alert], *, at: datetime, routes: Routes | None = None) -> int:
    """Take alerts from outside as if they were ours: rows, histories, board. How many were left out.

    A rule that names the source lends its severity and channels. A second report of the same is no second alert.
    """
    claiming: dict[str, Sequence[Rule]] = {}
    for environment in {str(alert.environment) for alert in alerts}:
        claiming[environment] = rules.with_sources_in(tx, environment)
    found = [claimed(alert, claiming[alert.environment]) for alert in alerts]
    before = board.board_in(tx)
    after, left_out = received(before, [one.alert for one in found], routes or Routes(), at)
    for alert, rule in found:
        known = before.alerts.get(alert.fingerprint)
        if alert.is_firing(at):
            taken = after.alerts.get(alert.fingerprint)
            if taken is not None:
                _reported(tx, taken, rule.name if rule is not None else "", at)
        elif known is not None and alert.starts_at >= known.starts_at:
            _ended_outside(tx, alert, at)
    board.save_board(tx, before, after)
    return left_out


def expire(tx: Transaction, *, at: datetime) -> None:
    """End what its source did not send again in time. The board knows by itself."""
    for life in lives.over(tx, at):
        ends_at = life.alert.ends_at or at
        lives.resolve(tx, life.id, ended_at=ends_at, actor=f"source:{life.alert.source}", at=at, detail="not sent again")


def told(tx: Transaction, notification: Notification) -> None:
    """Note in the histories of its listed alerts that people were told."""
    channel = notification.key.channel
    for what, alerts in (("firing", notification.firing), ("resolved", notification.resolved)):
        for alert in alerts:
            id = lives.newest_id(tx, alert.fingerprint)
            if id is not None:
                lives.append(tx, id, LifeEvent(notification.at, "told", RULES, f"{channel}: {what}"))


def delete_rule(tx: Transaction, environment: str, name: str, *, by: str, at: datetime) -> None:
    """The rule is evaluated no more, and its own alerts end. What it claimed from outside goes on until its source ends it."""
    stored = rules.rule_in(tx, environment, name)
    if stored is None:
        return
    _, transitions = ended(progress.of_rule(tx, (environment, name)), at)
    news = happened(tx, stored.rule, transitions, at=at, actor=by)
    for life in lives.open_of_rule(tx, environment, name, outside=False):
        lives.drop(tx, life.id) if life.state is LifeState.pending else lives.resolve(tx, life.id, ended_at=at, actor=by, at=at)
    post(tx, news, Routes(), at=at)
    progress.forget(tx, (environment, name))
    rules.mark_deleted(tx, environment, name, by=by, at=at)


def _live(tx: Transaction, rule: Rule, transition: Transition, at: datetime, actor: str) -> None:
    """The row of one alert after one transition."""
    change, active = transition
    known = lives.open_life(tx, fingerprint(active.labels))
    if known is None:
        _begun(tx, rule, transition, at, actor)
        return
    match change:
        case Change.fired:
            alert = alert_of(rule, transition) or known.alert
            lives.fire(tx, known.id, alert, rule.name, actor=actor, at=at)
        case Change.resolved:
            lives.resolve(tx, known.id, ended_at=active.resolved_at or at, actor=actor, at=at)
        case Change.withdrawn:
            lives.wait_again(tx, known.id, actor=actor, at=at, detail="the rule's `for` is longer now")
        case Change.dropped:
            lives.drop(tx, known.id)
        case Change.kept | Change.pending:
            pass


def _begun(tx: Transaction, rule: Rule, transition: Transition, at: datetime, actor: str) -> None:
    alert = alert_of(rule, transition)
    if transition.change is Change.pending:
        waiting = alert_as(rule, transition.alert, starts_at=transition.alert.active_at)
        lives.begin(tx, waiting, rule.name, LifeState.pending, actor=actor, at=at)
    elif transition.change is Change.fired and alert is not None:
        lives.begin(tx, alert, rule.name, LifeState.firing, actor=actor, at=at)


def _reported(tx: Transaction, alert: Alert, rule: str, at: datetime) -> None:
    known = lives.open_life(tx, alert.fingerprint)
    if known is None:
        lives.begin(tx, alert, rule, LifeState.firing, actor=f"source:{alert.source}", at=at)
    else:
        lives.renew(tx, known.id, alert, rule)


def _ended_outside(tx: Transaction, alert: Alert, at: datetime) -> None:
    known = lives.open_life(tx, alert.fingerprint)
    if known is not None:
        lives.resolve(tx, known.id, ended_at=alert.ends_at or at, actor=f"source:{alert.source}", at=at)
