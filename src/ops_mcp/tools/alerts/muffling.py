"""Plans that take an alert in hand, or tell nobody of some for a while. Loaded when the first is asked for."""

from datetime import timedelta

from ops_mcp.alerting.durations import duration_text
from ops_mcp.alerting.lives import LifeState
from ops_mcp.alerting.matchers import parse_matcher
from ops_mcp.alerting.muting import LONGEST_SILENCE, Silence, SilenceState, checked_silence
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import AcknowledgeAlert, BeginSilence, EndSilence, Plan
from ops_mcp.errors import Conflict, InvalidArguments, NotFound
from ops_mcp.governance.redaction import plain
from ops_mcp.metrics.regexes import pattern_of
from ops_mcp.ports import Ops
from ops_mcp.tools.alerts.asking import plan_of
from ops_mcp.tools.alerts.handling import AlertAcknowledgeArgs, AlertSilenceArgs

MOST_MINUTES = LONGEST_SILENCE.total_seconds() / 60


async def acknowledge_plan(args: AlertAcknowledgeArgs, ops: Ops) -> Plan:
    """Note that the caller has the alert in hand."""
    life = await ops.sights.alerts.alert(args.id)
    if life is None:
        raise NotFound("There is no alert with this id.", hint="`alerts` lists the open ones.")
    if life.state is not LifeState.firing:
        ended = life.state is LifeState.resolved
        raise Conflict(
            f"The alert {'has ended' if ended else 'has not fired yet'}, so there is nothing to take in hand.",
            hint="`alerts` lists those that fire.",
        )
    _refuse_too_long(args.minutes or 0)
    seconds = args.minutes * 60 if args.minutes is not None else None
    return plan_of(
        args,
        ops,
        life.alert.environment,
        [AcknowledgeAlert(alert=life.id, seconds=seconds, false_positive=args.false_positive)],
        summary=f"Take the alert {life.id} in {life.alert.environment} in hand.",
        service=life.alert.service,
        target_state="firing",
    )


async def silence_plan(args: AlertSilenceArgs, ops: Ops) -> Plan:
    """Begin a silence, or end one."""
    if (args.end is None) is not bool(args.matchers):
        raise InvalidArguments(
            "Give either matchers or end.",
            hint='matchers: ["alertname=\\"HighLatency\\""].',
            details={"fields": ["matchers", "end"]},
        )
    if args.end is not None:
        return await _ending(args, args.end, ops)
    _refuse_too_long(args.minutes)
    matchers = tuple(map(ops.redact, args.matchers))
    parsed = tuple(map(parse_matcher, matchers))
    now = ops.clock()
    silence = Silence(
        id="", environment=EnvironmentName(args.environment), matchers=parsed, starts_at=now,
        ends_at=now + timedelta(minutes=args.minutes), by="", comment=args.comment,
    )  # fmt: skip
    checked_silence(silence, matches=_matches)
    return plan_of(
        args,
        ops,
        args.environment,
        [BeginSilence(matchers=matchers, seconds=args.minutes * 60, comment=ops.redact(plain(args.comment, 500)))],
        summary=f"Tell nobody of alerts in {args.environment} that match, for {duration_text(args.minutes * 60)}.",
        content=", ".join(map(str, parsed)),
    )


def _refuse_too_long(minutes: float) -> None:
    if minutes > MOST_MINUTES:
        raise InvalidArguments(
            f"minutes: at most {MOST_MINUTES:,.0f}, which are {LONGEST_SILENCE.days} days.",
            hint="Silence it again when that time is over.",
            details={"fields": ["minutes"]},
        )


async def _ending(args: AlertSilenceArgs, id: str, ops: Ops) -> Plan:
    silence = await ops.sights.alerts.silence(id)
    if silence is None or silence.environment != args.environment:
        raise NotFound(f"There is no silence with this id in {args.environment}.", hint="`alerts` lists those in force.")
    if silence.state(ops.clock()) is SilenceState.expired:
        raise Conflict("This silence is over already.", hint="`alerts` lists those in force.")
    return plan_of(
        args,
        ops,
        args.environment,
        [EndSilence(silence=id)],
        summary=f"End the silence {id} of {silence.by} in {args.environment} now.",
        content=", ".join(map(str, silence.matchers)),
        target_state=silence.ends_at.isoformat(),
    )


def _matches(pattern: str, value: str) -> bool:
    return pattern_of(pattern).matches(value)
