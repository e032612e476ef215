"""Alerts as a model sees them. Loaded when somebody looks."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.alerting.durations import duration_text
from ops_mcp.alerting.labels import OURS, Labels
from ops_mcp.alerting.lives import Life, LifeState
from ops_mcp.alerting.matchers import all_hold
from ops_mcp.alerting.muting import Silence, SilenceState
from ops_mcp.alerting.severity import severity_of
from ops_mcp.answers import count_that_fits
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.governance.redaction import plain
from ops_mcp.metrics.regexes import pattern_of
from ops_mcp.observing import AlertsWanted
from ops_mcp.ports import Ops
from ops_mcp.tools.alerts.handling import REPLY_TOKENS, AlertsArgs, AlertsFound, AlertView, EventView, SilenceView

MOST_SILENCES = 20
_LABELS, _EVENTS = 12, 40
_FOR_THE_REST = 100


async def found(args: AlertsArgs, ops: Ops) -> AlertsFound:
    """The alerts asked for."""
    book = ops.sights.alerts
    if args.id is not None:
        life = await book.alert(args.id)
        if life is None or args.environment not in (None, life.alert.environment):
            raise NotFound("There is no alert with this id there.", hint="`alerts` without id lists the open ones.")
        events = await book.history(args.id, limit=_EVENTS)
        history = [
            EventView(at=one.at, event=one.event, actor=one.actor, untrusted_detail=plain(one.detail, 200)) for one in events
        ]
        silences = await book.silences([life.alert.environment])
        return AlertsFound(alerts=[_view(life, silences, ops).evolve(history=history)], matched=1)
    places = (EnvironmentName(args.environment),) if args.environment is not None else ops.visible()
    service = ServiceName(args.service) if args.service is not None else None
    matching = await book.alerts(AlertsWanted(places, service, _rank(args.severity), args.ended, args.limit))
    silences = await book.silences(places)
    views = [_view(one, silences, ops) for one in matching.alerts]
    in_force = [_silence_view(one) for one in silences[:MOST_SILENCES]]
    still = await ops.sights.health.standstill()
    room = REPLY_TOKENS - _FOR_THE_REST - sum(len(one.model_dump_json()) for one in in_force) // 4
    return AlertsFound(alerts=views[: count_that_fits(views, room)], matched=matching.matched, silences=in_force, trouble=still)


def _view(life: Life, silences: Sequence[Silence], ops: Ops) -> AlertView:
    alert, now = life.alert, ops.clock()
    taken = life.in_hand(now) if life.state is LifeState.firing else life.acknowledgement
    state = "acknowledged" if taken is not None and life.state is LifeState.firing else life.state.value
    ended = life.resolved_at or now
    annotations = dict(alert.annotations)
    return AlertView(
        id=life.id,
        rule=life.rule,
        environment=alert.environment,
        service=alert.service,
        severity=alert.severity.value,
        state=state,
        age=duration_text(max(0, int((ended - (life.fired_at or life.pending_at)).total_seconds()))),
        pending_at=life.pending_at,
        fired_at=life.fired_at,
        resolved_at=life.resolved_at,
        acknowledged_by=taken.by if taken is not None else None,
        acknowledged_until=taken.until if taken is not None else None,
        silenced_by=_silenced_by(life, silences, now),
        false_positive=life.false_positive,
        source=alert.source,
        untrusted_value=plain(alert.value, 60),
        untrusted_name=plain(alert.name, 100),
        untrusted_labels={name: plain(value, 80) for name, value in _others(alert.labels)[:_LABELS]},
        untrusted_summary=plain(annotations.get("summary") or annotations.get("description") or "", 300),
    )


def _others(labels: Labels) -> Labels:
    """Those that no field of the view says."""
    return tuple(pair for pair in labels if pair[0] not in OURS and len(pair[0]) <= 64)


def _silenced_by(life: Life, silences: Sequence[Silence], now: datetime) -> str | None:
    if life.state is LifeState.resolved:
        return None
    alert = life.alert
    there = (one for one in silences if one.environment == alert.environment and one.state(now) is SilenceState.active)
    return next((one.id for one in there if all_hold(one.matchers, alert.labels, _matches)), None)


def _silence_view(silence: Silence) -> SilenceView:
    return SilenceView(
        id=silence.id,
        environment=silence.environment,
        untrusted_matchers=[plain(str(one), 120) for one in silence.matchers[:5]],
        begins_at=silence.starts_at,
        ends_at=silence.ends_at,
        by=silence.by,
        untrusted_comment=plain(silence.comment, 100),
    )


def _rank(word: str | None) -> int | None:
    if word is None:
        return None
    severity = severity_of(word)
    if severity is None:
        raise InvalidArguments(
            "severity is unknown.", hint="Valid: critical, high, medium, low.", details={"fields": ["severity"]}
        )
    return severity.rank


def _matches(pattern: str, value: str) -> bool:
    return pattern_of(pattern).matches(value)
