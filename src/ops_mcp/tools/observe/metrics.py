"""Asking about metrics, listing them, and recording one's own. Labels and help are text from strangers, and marked as such."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from anyio import to_thread
from pydantic import Field

from ops_mcp.answers import count_that_fits
from ops_mcp.domain.identity import Agent, System
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, NotFound, NotPermitted
from ops_mcp.governance.redaction import plain
from ops_mcp.observing import EMBEDDED, MetricSource, Observation
from ops_mcp.ports import Ops
from ops_mcp.targets import about
from ops_mcp.tool import Args, Recorded, Result, Target, WriteArgs, read, record
from ops_mcp.tools.observe.moments import LONGEST_MOMENT, moment

if TYPE_CHECKING:  # loaded when somebody asks for metrics
    from ops_mcp.metrics.asking import Asked
    from ops_mcp.metrics.labels import Labels
    from ops_mcp.metrics.series import Answer, Series
    from ops_mcp.metrics.showing import Grid

REPLY_TOKENS = 10_000
LIST_TOKENS = 8_000
_LONGEST_QUERY = 8_192
_LONGEST_SERIES = 400
_NAMES_LOOKED_AT = 5_000
_NAMES_TOLD = 10
_MOST_LISTED = 100

Environment = Annotated[str, Field(max_length=63)]
Moment = Annotated[str, Field(max_length=LONGEST_MOMENT)]
Number = float | str | None


class MetricsQueryArgs(Args):
    environment: Environment
    query: str = Field(max_length=_LONGEST_QUERY, description="PromQL, or words: `p95(latency) > 300ms`")
    start: Moment | None = Field(default=None, description="For a range: 1h (ago) or ISO time")
    end: Moment | None = None
    step: str | None = Field(default=None, max_length=20)
    limit: int = Field(default=20, ge=1, le=200)

    def target(self) -> Target:
        return Target(environment=self.environment)


class SeriesView(Result):
    """One series: `value` at the moment asked for, or `values` at `start` and every `step_seconds` after it (null: none there).

    Where there were too many points, `values` are averages, with `least` and `most`. `times` (seconds since 1970) are those of
    samples that lie at no even steps. `untrusted_series` has labels that strangers chose.
    """

    untrusted_series: str
    value: Number = None
    values: list[Number] | None = None
    least: list[Number] | None = None
    most: list[Number] | None = None
    times: list[float] | None = None


class MetricsAnswer(Result):
    """`expression` is what was evaluated, `means` what words became. `series_total` counts the shown series and all others."""

    source: str
    expression: str
    means: str = ""
    at: datetime | None = None
    start: datetime | None = None
    step_seconds: float | None = None
    scalar: Number = None
    series: list[SeriesView]
    series_total: int
    cut: bool = False
    note: str = ""


@read(toolset="observe", title="Query metrics", reply_tokens=REPLY_TOKENS, open_world=True)
async def metrics_query(args: MetricsQueryArgs, ops: Ops) -> MetricsAnswer:
    """Metrics at `end`, or from `start` to it. Labels are strangers' data."""
    now = ops.clock()
    source = ops.sights.metrics.source(EnvironmentName(args.environment))
    if args.step is not None and args.start is None:
        raise InvalidArguments("step is of a range.", hint="Give start as well.", details={"fields": ["step"]})
    with about("query", "docs/languages/metrics.md says what can be asked; `metrics_list` says which metrics there are."):
        asked = await _asked(args, source, ops)
        if args.start is not None:
            return await _ranged(args, asked, source, ops, now)
        at = now if args.end is None else moment("end", args.end, now)
        answer = await source.instant(asked.expression, EnvironmentName(args.environment), at)
    return await _of_moment(args, asked, source, answer, at, ops)


async def _asked(args: MetricsQueryArgs, source: MetricSource, ops: Ops) -> Asked:
    """For another Prometheus, only what is in words is ours to read."""
    from ops_mcp.metrics.asking import Asked, asked, may_be_words
    from ops_mcp.metrics.confining import confined

    def reads(text: str) -> object:
        if source.name == EMBEDDED:
            return ops.sights.metrics.compiled(text)
        return confined(text, {"environment": args.environment})

    try:
        reads(args.query)
        if not may_be_words(args.query):
            return Asked(args.query)
    except InvalidArguments:
        with suppress(InvalidArguments):  # what names only our own words need not know which metrics there are
            return asked(args.query, reads, recorded=())
    names = await _names(args, source)
    return await to_thread.run_sync(lambda: asked(args.query, reads, recorded=names))


async def _names(args: MetricsQueryArgs, source: MetricSource) -> list[str]:
    return [one.name for one in await source.listed(EnvironmentName(args.environment), limit=_NAMES_LOOKED_AT)]


async def _of_moment(
    args: MetricsQueryArgs, asked: Asked, source: MetricSource, answer: Answer, at: datetime, ops: Ops
) -> MetricsAnswer:
    from ops_mcp.metrics.series import Matrix, Scalar
    from ops_mcp.metrics.showing import number

    at_ms = _milliseconds(at)
    result = _answer(asked, source, ops, note=_thinned(asked, source, at_ms, at_ms, ops)).model_copy(update={"at": at})
    match answer:
        case Scalar():
            return result.model_copy(update={"scalar": number(answer.value)})
        case Matrix():
            views = [_samples_view(one, ops) for one in answer.series[: args.limit]]
            return _fitted(result, views, len(answer.series))
        case _:
            views = [
                SeriesView(untrusted_series=_told(s.labels, ops), value=number(s.value)) for s in answer.samples[: args.limit]
            ]
            note = "" if answer.samples else await _why_empty(args, asked, source, ops)
            return _fitted(_noted(result, note), views, len(answer.samples))


async def _ranged(args: MetricsQueryArgs, asked: Asked, source: MetricSource, ops: Ops, now: datetime) -> MetricsAnswer:
    from ops_mcp.metrics.showing import on_grid, reduction_said

    grid = _grid(args, now)
    start = datetime.fromtimestamp(grid.start_ms / 1000, UTC)
    end, step = datetime.fromtimestamp(grid.end_ms / 1000, UTC), grid.step_ms / 1000
    ranged = await source.ranged(asked.expression, EnvironmentName(args.environment), start=start, end=end, step_seconds=step)
    shown = [(one, on_grid(one, grid)) for one in ranged.matrix.series[: args.limit]]
    views = [
        SeriesView(untrusted_series=_told(one.labels, ops), values=seen.values, least=seen.least, most=seen.most)
        for one, seen in shown
    ]
    first = shown[0][1] if shown else None
    note = " ".join(filter(None, (ranged.note, reduction_said(grid) if shown else "")))
    result = _answer(asked, source, ops, note=note).model_copy(
        update={
            "start": datetime.fromtimestamp((first.start_ms if first else grid.start_ms) / 1000, UTC),
            "step_seconds": (first.step_ms if first else grid.step_ms) / 1000,
        }
    )
    return _fitted(_noted(result, "" if views else await _why_empty(args, asked, source, ops)), views, len(ranged.matrix.series))


def _grid(args: MetricsQueryArgs, now: datetime) -> Grid:
    from ops_mcp.metrics.showing import Grid, moment_step_ms

    end = now if args.end is None else moment("end", args.end, now)
    start = moment("start", args.start or "1h", now)
    if start >= end:
        raise InvalidArguments("start is not before end.", hint="Swap them.", details={"fields": ["start", "end"]})
    first, last = _milliseconds(start), _milliseconds(end)
    return Grid(first, last, _step_ms(args.step) if args.step else moment_step_ms(first, last))


def _step_ms(text: str) -> int:
    """Raises `InvalidArguments` naming the argument."""
    from ops_mcp.metrics.quantities import duration_ms

    try:
        return duration_ms(text)
    except InvalidArguments as error:
        raise InvalidArguments(
            "step is no duration.",
            hint="Valid: 30s, 5m, 1h30m and the like. Leave it out, and one is chosen.",
            details={"fields": ["step"]},
        ) from error


def _answer(asked: Asked, source: MetricSource, ops: Ops, *, note: str) -> MetricsAnswer:
    means = ""
    if asked.words is not None:
        held = " How long it must hold is for alert rules, and not looked at here." if asked.words.for_ms else ""
        means = "; ".join(asked.words.meanings) + held
    return MetricsAnswer(
        source=source.name,
        expression=plain(ops.redact(asked.expression), 2_000),
        means=plain(ops.redact(means), 1_000),
        series=[],
        series_total=0,
        note=note,
    )


def _fitted(answer: MetricsAnswer, views: Sequence[SeriesView], total: int) -> MetricsAnswer:
    fits = count_that_fits(views, REPLY_TOKENS - 1_500)
    shown = list(views[:fits])
    cut = fits < total
    more = f"{fits} of {total:,} series are shown: narrow it, aggregate, or take `topk`." if cut else ""
    return _noted(answer, more).model_copy(update={"series": shown, "series_total": total, "cut": cut})


def _noted(answer: MetricsAnswer, note: str) -> MetricsAnswer:
    return answer.model_copy(update={"note": " ".join(filter(None, (answer.note, note)))})


def _samples_view(series: Series, ops: Ops) -> SeriesView:
    """A range vector's samples as they are, the newest of them."""
    from ops_mcp.metrics.showing import MOST_POINTS_SHOWN, number

    times, values = series.times[-MOST_POINTS_SHOWN:], series.values[-MOST_POINTS_SHOWN:]
    return SeriesView(
        untrusted_series=_told(series.labels, ops), values=[number(v) for v in values], times=[at / 1000 for at in times]
    )


async def _why_empty(args: MetricsQueryArgs, asked: Asked, source: MetricSource, ops: Ops) -> str:
    """Which names nothing is recorded of, with those close to them."""
    from ops_mcp.metrics.asking import names_asked, near

    try:
        names = names_asked(ops.sights.metrics.compiled(asked.expression))
    except InvalidArguments:  # of the language of another Prometheus
        return ""
    environment = EnvironmentName(args.environment)
    missing = [
        name for name in names[:_NAMES_TOLD] if not await source.listed(environment, match=f'{{__name__="{name}"}}', limit=1)
    ]
    if not missing:
        return ""
    recorded = await _names(args, source)
    # Strangers choose the names on both sides, and comparing them is slow.
    return plain(ops.redact(await to_thread.run_sync(near, missing, recorded)), 800)


def _thinned(asked: Asked, source: MetricSource, start_ms: int, end_ms: int, ops: Ops) -> str:
    from ops_mcp.metrics.downsampling import thinning_said
    from ops_mcp.metrics.query import selections

    if source.name != EMBEDDED:
        return ""
    read_from = min(
        (s.start_ms for s in selections(ops.sights.metrics.compiled(asked.expression), start_ms, end_ms)), default=end_ms
    )
    whole = timedelta(days=ops.config.settings.metrics.thin_after_days)
    return thinning_said(read_from, _milliseconds(ops.clock() - whole))


def _told(labels: Labels, ops: Ops) -> str:
    from ops_mcp.metrics.labels import written

    return plain(ops.redact(written(labels)), _LONGEST_SERIES)


class MetricsListArgs(Args):
    environment: Environment
    match: str = Field(default="", max_length=500, description='Part of a name, or `{service="web"}`')

    def target(self) -> Target:
        return Target(environment=self.environment)


class MetricView(Result):
    """One metric. `untrusted_labels` maps each label to how many values it has; what is untrusted is strangers' text."""

    untrusted_name: str
    kind: str
    unit: str
    series: int
    newest: datetime | None = None
    untrusted_labels: dict[str, int]
    untrusted_help: str = ""


class MetricsListed(Result):
    """By name. `cut` says that there are more: narrow `match`."""

    source: str
    metrics: list[MetricView]
    cut: bool = False
    words: str = Field(default="", description="What can be asked for in words")


@read(toolset="observe", title="List metrics", reply_tokens=LIST_TOKENS, open_world=True)
async def metrics_list(args: MetricsListArgs, ops: Ops) -> MetricsListed:
    """Which metrics there are: kind, unit, series, labels."""
    source = ops.sights.metrics.source(EnvironmentName(args.environment))
    with about("match", 'Part of a name, or label matchers such as {service="web"}.'):
        found = await source.listed(EnvironmentName(args.environment), match=args.match, limit=_MOST_LISTED + 1)
    views = [
        MetricView(
            untrusted_name=plain(ops.redact(one.name), 200),
            kind=one.kind.value,
            unit=one.unit,
            series=one.series,
            newest=datetime.fromtimestamp(one.newest_ms / 1000, UTC) if one.newest_ms else None,
            untrusted_labels={plain(ops.redact(name), 60): count for name, count in list(one.labels.items())[:20]},
            untrusted_help=plain(ops.redact(one.help), 200),
        )
        for one in found
    ]
    fits = min(_MOST_LISTED, count_that_fits(views, LIST_TOKENS - 500))
    return MetricsListed(source=source.name, metrics=views[:fits], cut=fits < len(views), words=_words())


def _words() -> str:
    from ops_mcp.metrics.vocabulary import WORDS

    return ", ".join(WORDS)


class MetricsRecordArgs(WriteArgs):
    environment: Environment
    service: Environment | None = None
    name: str
    value: float
    labels: dict[str, str] = {}

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class MetricsRecorded(Result):
    """The series that the sample is of; query it with labels `agent` and `environment`."""

    untrusted_series: str
    at: datetime
    dry_run: bool = False


@record(toolset="observe", title="Record a metric", reply_tokens=600, result=MetricsRecorded)
async def metrics_record(args: MetricsRecordArgs, ops: Ops) -> Recorded[MetricsRecorded]:
    """Record one sample of your own."""
    from ops_mcp.metrics.recording import Source, recorded_labels

    agent = ops.caller.agent if isinstance(ops.caller, System) else ops.caller
    if not isinstance(agent, Agent):
        raise NotPermitted("Samples carry their agent's name, and you have none.", hint="Use a registered agent's token.")
    if args.service is not None and ops.config.binding(args.service, args.environment) is None:
        raise NotFound(f"{args.service} is not in {args.environment}.", hint="`services` lists what there is.")
    clean = {ops.redact(name): ops.redact(value) for name, value in args.labels.items()}
    labels = recorded_labels(args.name, clean, Source(agent.name, args.environment, args.service or ""))
    now = ops.clock()
    result = MetricsRecorded(untrusted_series=_told(labels, ops), at=now, dry_run=args.dry_run)
    return Recorded(result, (Observation(labels, _milliseconds(now), args.value),))


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
