"""What a service says apart from its values, and what is unusual in it. Patterns and examples are words of strangers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field

from ops_mcp.answers import count_that_fits
from ops_mcp.domain.observations import Severity
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments
from ops_mcp.governance.redaction import plain
from ops_mcp.observing import LogSearch, TemplateCount
from ops_mcp.ports import Ops
from ops_mcp.tool import Args, Result, Target, read
from ops_mcp.tools.observe.moments import MomentArg, moment, refuse_backwards

if TYPE_CHECKING:  # loaded when somebody asks for patterns
    from ops_mcp.logs.anomalies import Anomaly
    from ops_mcp.logs.comparing import Change
    from ops_mcp.logs.shapes import TemplateId

REPLY_TOKENS = 8_000
_LONGEST_PATTERN, _LONGEST_EXAMPLE = 300, 300
_LOOKED_AT = 4_096
_MOST_OF_A_KIND, _MOST_ANOMALIES = 20, 30
_MINUTE = timedelta(minutes=1)
_R = TypeVar("_R", bound=Result)
NameArg = Annotated[str, Field(pattern=NAME_PATTERN)]


class LogsPatternsArgs(Args):
    service: NameArg | None = None
    environment: NameArg
    since: MomentArg = "1h"
    until: MomentArg | None = None
    baseline: MomentArg | None = Field(default=None, description="Compare with from here to since")
    severity: Literal["warning", "error", "critical"] | None = None
    limit: int = Field(default=20, ge=1, le=100)

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class PatternView(Result):
    """`<*>` stands for values. `severity` is the worst it came with; `share` is of all lines of the window."""

    id: str
    severity: str
    lines: int
    share: float
    first: datetime
    last: datetime
    untrusted_pattern: str
    untrusted_example: str = ""


class ChangeView(Result):
    """Lines in the baseline and in the window after it; `ratio` is that of their rates."""

    id: str
    severity: str
    before: int
    after: int
    ratio: float | None = None
    untrusted_pattern: str
    untrusted_example: str = ""


class ComparedView(Result):
    """Counts are of everything that changed; the most telling are listed."""

    since: datetime
    lines: int
    new: list[ChangeView]
    gone: list[ChangeView]
    grown: list[ChangeView]
    new_count: int
    gone_count: int
    grown_count: int


class LogsPatternsFound(Result):
    """The most frequent first; `left_out` patterns are not listed."""

    source: str
    since: datetime
    until: datetime
    lines: int
    patterns: list[PatternView]
    left_out: int = 0
    compared: ComparedView | None = None


@read(toolset="observe", title="Log patterns", reply_tokens=REPLY_TOKENS, open_world=True)
async def logs_patterns(args: LogsPatternsArgs, ops: Ops) -> LogsPatternsFound:
    """Patterns of log lines, counted; with `baseline`: new, gone, grown."""
    environment, service = EnvironmentName(args.environment), ServiceName(args.service) if args.service else None
    windows = _windows(args, ops.clock())
    counted = [_patterns(rows) for rows in await ops.sights.logs.windows(environment, service, *windows)]
    now = counted[0]
    worst_enough = [each for each in now.values() if _is_as_bad(each, args.severity)]
    listed = [_view(each, sum(one.lines for one in now.values()), ops) for each in worst_enough[: args.limit]]
    room = REPLY_TOKENS // 2 if len(windows) > 1 else REPLY_TOKENS
    listed = listed[: count_that_fits(listed, room)]
    return LogsPatternsFound(
        source=ops.sights.logs.answering(LogSearch(environment=environment, service=service)),
        since=windows[0][0],
        until=windows[0][1],
        lines=sum(each.lines for each in now.values()),
        patterns=listed,
        left_out=len(worst_enough) - len(listed),
        compared=_compared(now, counted[1], windows, args, ops) if len(windows) > 1 else None,
    )


class _Pattern(NamedTuple):
    """One template at all its severities."""

    id: TemplateId
    text: str
    example: str
    severity: Severity
    lines: int
    first: datetime
    last: datetime


def _windows(args: LogsPatternsArgs, now: datetime) -> list[tuple[datetime, datetime]]:
    """The window, and the baseline before it if there is one. Whole minutes, as counts are kept, so that none is in both."""
    since = _floor(moment("since", args.since, now))
    until = moment("until", args.until, now) if args.until is not None else now
    refuse_backwards(since, until)
    if args.baseline is None:
        return [(since, until)]
    baseline = _floor(moment("baseline", args.baseline, now))
    if baseline >= since:
        raise InvalidArguments(
            "baseline is not before since.", hint='For example baseline "24h", since "1h".', details={"fields": ["baseline"]}
        )
    return [(since, until), (baseline, since)]


def _floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _patterns(rows: Sequence[TemplateCount]) -> dict[TemplateId, _Pattern]:
    """The most frequent first."""
    found: dict[TemplateId, _Pattern] = {}
    for template, severity, lines, first, last in rows:
        known = found.get(template.id)
        example = template.examples[0] if template.examples else ""
        one = _Pattern(template.id, template.text, example, severity, lines, first, last)
        if known is not None:
            worst = max(severity, known.severity, key=lambda each: each.rank)
            one = one._replace(
                severity=worst, lines=known.lines + lines, first=min(first, known.first), last=max(last, known.last)
            )
        found[template.id] = one
    return dict(sorted(found.items(), key=lambda item: -item[1].lines))


def _is_as_bad(pattern: _Pattern, least: str | None) -> bool:
    return least is None or pattern.severity.rank >= Severity(least).rank


def _view(pattern: _Pattern, lines: int, ops: Ops) -> PatternView:
    return PatternView(
        id=pattern.id,
        severity=pattern.severity.value,
        lines=pattern.lines,
        share=round(pattern.lines / lines, 4),
        first=pattern.first,
        last=pattern.last,
        untrusted_pattern=_shown(pattern.text, _LONGEST_PATTERN, ops),
        untrusted_example=_shown(pattern.example, _LONGEST_EXAMPLE, ops),
    )


def _shown(text: str, most: int, ops: Ops) -> str:
    """Redacted before it is cut."""
    return plain(ops.redact(plain(text[:_LOOKED_AT], _LOOKED_AT)), most)


def _compared(
    now: dict[TemplateId, _Pattern],
    before: dict[TemplateId, _Pattern],
    windows: Sequence[tuple[datetime, datetime]],
    args: LogsPatternsArgs,
    ops: Ops,
) -> ComparedView:
    from ops_mcp.logs.comparing import Window, compare

    both = before | now
    seconds = [(until - since).total_seconds() for since, until in windows]
    found = compare(
        Window({id: each.lines for id, each in before.items()}, seconds[1]),
        Window({id: each.lines for id, each in now.items()}, seconds[0]),
    )
    kinds = [[change for change in kind if _is_as_bad(both[change.id], args.severity)] for kind in found]
    new, gone, grown = ([_change(change, both[change.id], ops) for change in kind[:_MOST_OF_A_KIND]] for kind in kinds)
    return ComparedView(
        since=windows[1][0],
        lines=sum(each.lines for each in before.values()),
        new=_fitting(new),
        gone=_fitting(gone),
        grown=_fitting(grown),
        new_count=len(kinds[0]),
        gone_count=len(kinds[1]),
        grown_count=len(kinds[2]),
    )


def _change(change: Change, pattern: _Pattern, ops: Ops) -> ChangeView:
    return ChangeView(
        id=change.id,
        severity=pattern.severity.value,
        before=change.before,
        after=change.after,
        ratio=round(change.ratio, 2) if change.ratio is not None else None,
        untrusted_pattern=_shown(pattern.text, _LONGEST_PATTERN, ops),
        untrusted_example=_shown(pattern.example, _LONGEST_EXAMPLE, ops),
    )


def _fitting(changes: list[_R]) -> list[_R]:
    return changes[: count_that_fits(changes, REPLY_TOKENS // 6)]


class LogsAnomaliesArgs(Args):
    service: NameArg
    environment: NameArg
    minutes: int = Field(default=5, ge=1, le=60)

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class AnomalyView(Result):
    """`score` is -log10 of the chance of it. Without `pattern` it is the whole service, and the pattern told is its commonest."""

    kind: str
    pattern: str | None = None
    severity: str
    score: float
    since: datetime
    until: datetime
    observed: float
    expected: float
    why: str
    untrusted_pattern: str


class LogsAnomaliesFound(Result):
    """`insufficient_data` is not `usual`: there is too little to judge by, as `insufficient` says."""

    source: str
    verdict: str
    insufficient: str = ""
    anomalies: list[AnomalyView]
    left_out: int = 0
    judged_since: datetime | None = None
    history_since: datetime
    history_lines: int
    unwatched_minutes: int = 0


@read(toolset="observe", title="Log anomalies", reply_tokens=REPLY_TOKENS, open_world=True)
async def logs_anomalies(args: LogsAnomaliesArgs, ops: Ops) -> LogsAnomaliesFound:
    """Unusual in logs: new patterns, bursts, silence, more errors."""
    from ops_mcp.logs.anomalies import find

    environment, service = EnvironmentName(args.environment), ServiceName(args.service)
    history = await ops.sights.logs.history(environment, service, until=ops.clock())
    judged = max(1, math.ceil(args.minutes * _MINUTE / history.bucket))
    found = find(history, judged=judged)
    buckets = max((len(each.counts) for each in history.series), default=0)
    listed = [_anomaly(each, ops) for each in found.anomalies[:_MOST_ANOMALIES]]
    listed = listed[: count_that_fits(listed, REPLY_TOKENS)]
    return LogsAnomaliesFound(
        source=ops.sights.logs.answering(LogSearch(environment=environment, service=service)),
        verdict=found.verdict,
        insufficient=found.insufficient,
        anomalies=listed,
        left_out=len(found.anomalies) - len(listed),
        judged_since=history.start + (buckets - judged) * history.bucket if buckets > judged else None,
        history_since=history.start,
        history_lines=sum(sum(each.counts) for each in history.series),
        unwatched_minutes=round(len(history.unwatched) * history.bucket / _MINUTE),
    )


def _anomaly(found: Anomaly, ops: Ops) -> AnomalyView:
    return AnomalyView(
        kind=found.kind.value,
        pattern=found.template,
        severity=found.severity.value,
        score=found.score,
        since=found.since,
        until=found.until,
        observed=found.observed,
        expected=found.expected,
        why=found.why,
        untrusted_pattern=_shown(found.text, _LONGEST_PATTERN, ops),
    )
