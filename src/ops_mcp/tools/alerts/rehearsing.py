"""Runs a rule over recorded metrics. Loaded when the first is tried."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anyio.to_thread

from ops_mcp.alerting.durations import duration_seconds, duration_text
from ops_mcp.alerting.history import when_would_fire
from ops_mcp.alerting.labels import Labels
from ops_mcp.alerting.rules import Rule, parse_rule
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.governance.redaction import plain
from ops_mcp.observing import Ranged
from ops_mcp.ports import Ops
from ops_mcp.targets import about
from ops_mcp.tools.alerts.asking import rule_named
from ops_mcp.tools.alerts.expressions import understood, warnings
from ops_mcp.tools.alerts.testing import AlertRuleTestArgs, PeriodView, RuleTested
from ops_mcp.values import JsonObject

MOST_PERIODS, MOST_LABELS = 20, 10
MOST_EVALUATIONS = 5_000
MOST_SERIES_EVALUATIONS = 2_000_000


async def tested(args: AlertRuleTestArgs, ops: Ops) -> RuleTested:
    """When the rule would have fired."""
    environment = EnvironmentName(args.environment)
    rule, meaning = await _rule(args, environment, ops)
    start, end = _moment("since", args.since, ops.clock()), _moment("until", args.until or "0s", ops.clock())
    if start >= end:
        raise InvalidArguments("since is not before until.", hint="Swap them.", details={"fields": ["since", "until"]})
    step = _step(ops.config.settings.alerts.every_seconds, (end - start).total_seconds())
    start = datetime.fromtimestamp(-(-start.timestamp() // step) * step, tz=UTC)
    with about("expression", "Narrow it by labels, or ask for a shorter time."):
        found = await ops.sights.metrics.source(environment).ranged(
            rule.expression, environment, start=start, end=end, step_seconds=step
        )
        _refuse_too_many(found, (end - start).total_seconds() / step)
    rehearsed = await anyio.to_thread.run_sync(lambda: when_would_fire(rule, _evaluations(found, start, end, step)))
    notes = [found.note] if found.note else []
    if step > ops.config.settings.alerts.every_seconds:
        notes.append(f"Evaluated every {duration_text(step)} only: the time is long. Ask for less to see more.")
    if rehearsed.failures:
        notes.append(f"{rehearsed.failures} evaluations failed: {plain(rehearsed.failure, 200)}")
    notes += await warnings([rule.expression], environment, ops)
    return RuleTested(
        fired=rehearsed.fired,
        never_fired=rehearsed.never_fired,
        periods=[
            PeriodView(
                pending_at=one.pending_at,
                fired_at=one.fired_at,
                resolved_at=one.resolved_at,
                value=f"{one.value:g}",
                untrusted_labels={name: plain(value, 80) for name, value in one.labels[:MOST_LABELS]},
            )
            for one in rehearsed.periods[:MOST_PERIODS]
        ],
        evaluations=rehearsed.evaluations,
        every=duration_text(step),
        expression=plain(rule.expression, 500),
        meaning=meaning,
        notes=notes,
    )


async def _rule(args: AlertRuleTestArgs, environment: EnvironmentName, ops: Ops) -> tuple[Rule, str]:
    """The stored rule, or one that is made of the arguments, and what a condition became."""
    if (args.name is None) is (args.expression is None):
        raise InvalidArguments(
            "Give either name or expression.",
            hint="`alert_rules` lists the names there are.",
            details={"fields": ["name", "expression"]},
        )
    if args.name is not None:
        stored = await rule_named(args.name, environment, ops)
        if stored is None or not stored.rule.expression:
            raise NotFound("There is no rule of this name there that is evaluated.", hint="`alert_rules` lists those there are.")
        changes: JsonObject = {"for_seconds": args.for_seconds} if args.for_seconds is not None else {}
        return parse_rule({**stored.rule.json_value(), **changes}, check_expression=str), ""
    meant = await understood(args.expression or "", environment, args.service, ops)
    wait = args.for_seconds if args.for_seconds is not None else meant.for_seconds or 0.0
    fields: JsonObject = {
        "name": "Test", "environment": environment, "service": args.service, "expression": meant.expression, "for_seconds": wait,
    }  # fmt: skip
    return parse_rule(fields, check_expression=str), meant.said


def _evaluations(
    found: Ranged, start: datetime, end: datetime, step: float
) -> Iterator[tuple[datetime, list[tuple[Labels, float]]]]:
    """What the query answered at each moment of the range."""
    answers: dict[int, list[tuple[Labels, float]]] = {}
    for labels, times, values in found.matrix.series:
        for at_ms, value in zip(times, values, strict=True):
            answers.setdefault(at_ms, []).append((labels, value))
    first, last, step_ms = round(start.timestamp() * 1000), round(end.timestamp() * 1000), round(step * 1000)
    for at_ms in range(first, last + 1, step_ms):
        yield datetime.fromtimestamp(at_ms / 1000, tz=UTC), answers.get(at_ms, [])


def _refuse_too_many(found: Ranged, evaluations: float) -> None:
    if len(found.matrix.series) * evaluations > MOST_SERIES_EVALUATIONS:
        raise InvalidArguments(
            f"{len(found.matrix.series):,} series over that time are too many to try.",
            hint="Narrow the expression by labels, or ask for a shorter time.",
        )


def _step(every: float, seconds: float) -> float:
    """The interval of evaluation, or as many of them as keep the test bounded."""
    return every * max(1, -(-seconds // (MOST_EVALUATIONS * every)))


def _moment(field: str, said: str, now: datetime) -> datetime:
    """A time ago, or an ISO 8601 time, which is UTC where it names no zone."""
    ago = duration_seconds(said) if _AGO.fullmatch(said) else None
    try:
        if ago is not None:
            return now - timedelta(seconds=ago)
        at = datetime.fromisoformat(said)
        return min(at if at.tzinfo else at.replace(tzinfo=UTC), now)
    except (ValueError, OverflowError) as error:
        raise InvalidArguments(
            f"{field} is no time.",
            hint="Valid: 15m, 24h, 7d and the like, or an ISO time such as 2026-11-20T12:00:00Z.",
            details={"fields": [field]},
        ) from error


_AGO = re.compile(r"(?:\d{1,9}(?:ms|[smhdwy]))+", re.ASCII)
