"""`ops-mcp metrics` and `ops-mcp top`: numbers over time on a terminal, and what runs with what it uses."""

import math
import shutil
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import anyio
import click

from ops_mcp.books.health import Health
from ops_mcp.books.metrics import Metrics
from ops_mcp.cli.app import command
from ops_mcp.cli.chart import chart, short
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import STYLES, Part, Reply, Table, visible
from ops_mcp.config import Config
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, NotFound, OpsError
from ops_mcp.observing import MetricSource, ServiceHealth
from ops_mcp.store.database import Database
from ops_mcp.store.metrics.store import MetricStore
from ops_mcp.values import Json, JsonObject

if TYPE_CHECKING:
    from rich.console import RenderableType

_POINTS, _HEIGHT, _MOST_CHARTS = 240, 8, 6
_EVERY_SECONDS = 2.0
_MOST_LISTED = 500
_USED: Mapping[str, str] = {
    "cpu": "sum by (service) (process_cpu_ratio)",
    "memory": "sum by (service) (process_resident_memory_bytes)",
    "requests": "sum by (service) (rate(service_requests_total[5m]))",
}


@command("metrics")
@click.option("--since", default="1h", show_default=True, metavar="1h|ISO", help="From when on.")
@click.option("--environment", metavar="NAME", help="Where; needed where there are several.")
@click.argument("query", required=False)
async def metrics_command(desk: Desk, query: str | None, environment: str | None, since: str) -> Reply:
    """Draw a metric over time: PromQL, or words such as `cpu` and `p95(latency) over 10m`. Without QUERY, list what there is."""
    config = desk.config()
    where = _environment(config, environment)
    async with _book(desk, config) as book:
        source = book.source(where)
        if query is None:
            return await _listed(source, where)
        return await _drawn(desk, book, source, where, query, since)


async def _listed(source: MetricSource, where: EnvironmentName) -> Reply:
    found = await source.listed(where, limit=_MOST_LISTED)
    rows = [(one.name, one.kind.value, one.unit, str(one.series), ", ".join(one.labels), one.help) for one in found]
    table = Table(("metric", "kind", "unit", "series", "labels", "what it is"), rows, f"Nothing is recorded of {where} yet.")
    metrics: list[Json] = [
        {
            "name": one.name,
            "kind": one.kind.value,
            "unit": one.unit,
            "series": one.series,
            "labels": dict(one.labels),
            "help": one.help,
        }
        for one in found
    ]
    return Reply({"source": source.name, "metrics": metrics}, (table,))


async def _drawn(desk: Desk, book: Metrics, source: MetricSource, where: EnvironmentName, query: str, since: str) -> Reply:
    from ops_mcp.metrics.asking import asked
    from ops_mcp.metrics.downsampling import chosen_step
    from ops_mcp.metrics.labels import written

    now = desk.now()
    start = now - _span(since, now)
    recorded = [one.name for one in await source.listed(where, limit=_MOST_LISTED)]
    meant = asked(query, book.compiled, recorded=recorded) if source.name == "embedded" else None
    expression = meant.expression if meant else query
    step = max(1_000, chosen_step(_ms(start), _ms(now), at_most=_POINTS))
    ranged = await source.ranged(expression, where, start=start, end=now, step_seconds=step / 1000)
    grid = range(_ms(start), _ms(now) + 1, step)
    parts: list[Part] = [] if meant is None or meant.words is None else [meant.words.said]
    drawn: list[Json] = []
    for series in ranged.matrix.series:
        there = dict(zip(series.times, series.values, strict=True))
        values = [there.get(at) for at in grid]
        drawn.append({"series": written(series.labels), "values": [_json(value) for value in values]})
        if len(drawn) <= _MOST_CHARTS:
            parts.append("\n".join((written(series.labels), *chart(values, width=_width(), height=_HEIGHT), "")))
    parts += _told(len(drawn), ranged.note)
    data: JsonObject = {
        "expression": expression,
        "start": start.isoformat(),
        "step_seconds": step / 1000,
        "series": drawn,
        "note": ranged.note,
    }
    return Reply(data, tuple(parts))


def _told(series: int, note: str) -> list[Part]:
    said: list[Part] = []
    if not series:
        said.append("Nothing. `ops-mcp metrics` without a query lists what there is.")
    if series > _MOST_CHARTS:
        said.append(f"{series - _MOST_CHARTS} more series are not drawn: narrow the query, or see --json.")
    return [*said, note] if note else said


class _Row(NamedTuple):
    """One service: what is known of it; None is not known."""

    service: str
    environment: str
    health: str
    evidence: str
    used: Mapping[str, float | None]

    def cells(self) -> tuple[str, ...]:
        cpu = self.used["cpu"]
        share = "-" if cpu is None else f"{cpu:.1%}"
        return (
            self.service,
            self.environment,
            self.health,
            share,
            short(self.used["memory"]),
            short(self.used["requests"]),
            self.evidence,
        )

    def json(self) -> JsonObject:
        used: JsonObject = {name: _json(value) for name, value in self.used.items()}
        return {"service": self.service, "environment": self.environment, "health": self.health, **used}


@command("top", seconds=None)
@click.option("--once", is_flag=True, help="Print it once; so it is where nobody watches.")
@click.option("--environment", metavar="NAME", help="Only there.")
async def top_command(desk: Desk, environment: str | None, once: bool) -> Reply:
    """Watch services live: health, processors, memory, requests per second."""
    config = desk.config()
    places = [_environment(config, environment)] if environment else list(config.environments)
    async with desk.database() as database, _book(desk, config) as book:
        if not once and not desk.as_json and sys.stdout.isatty():
            await _watch(desk, config, database, book, places)
        rows = await _rows(desk, config, database, book, places)
    return Reply({"services": [row.json() for row in rows]}, (_table(rows),))


async def _watch(desk: Desk, config: Config, database: Database, book: Metrics, places: Sequence[EnvironmentName]) -> None:
    """Until somebody ends it."""
    from rich.live import Live  # rich is heavy, and only a person at a terminal needs it

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            live.update(_painted(await _rows(desk, config, database, book, places), desk.now()), refresh=True)
            await anyio.sleep(_EVERY_SECONDS)


def _painted(rows: Sequence[_Row], at: datetime) -> "RenderableType":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = _table(rows)
    painted = RichTable(box=box.SIMPLE_HEAD, title=f"{at:%Y-%m-%d %H:%M:%S} UTC", title_justify="left", header_style="bold")
    for heading in table.headings:
        painted.add_column(heading, overflow="ellipsis", no_wrap=True)
    for row in table.rows:
        painted.add_row(*(Text(visible(value), style=STYLES.get(value, "")) for value in row))
    return painted


def _table(rows: Sequence[_Row]) -> Table:
    headings = ("service", "environment", "health", "cpu", "memory", "requests/s", "evidence")
    return Table(headings, [row.cells() for row in rows], "There is no service yet.")


async def _rows(desk: Desk, config: Config, database: Database, book: Metrics, places: Sequence[EnvironmentName]) -> list[_Row]:
    health = await Health(database, lambda: config, desk.now).of(places)
    used = {place: await _used(book, place, desk.now()) for place in {one.environment for one in health}}
    return [_row(one, used[one.environment]) for one in health]


def _row(one: ServiceHealth, used: Mapping[str, Mapping[str, float]]) -> _Row:
    evidence = f"{one.explained_by} explains it" if one.explained_by else one.evidence
    mine = {name: values.get(one.service) for name, values in used.items()}
    return _Row(one.service, one.environment, one.state.value, evidence[:80], mine)


async def _used(book: Metrics, place: EnvironmentName, at: datetime) -> Mapping[str, Mapping[str, float]]:
    """What each service uses; nothing where that cannot be asked now, which must not hide the rest."""
    from ops_mcp.metrics.labels import value_of
    from ops_mcp.metrics.series import Vector

    found: dict[str, Mapping[str, float]] = {}
    for name, expression in _USED.items():
        try:
            answer = await book.source(place).instant(expression, place, at)
        except OpsError:
            found[name] = {}
            continue
        samples = answer.samples if isinstance(answer, Vector) else ()
        found[name] = {value_of(sample.labels, "service"): sample.value for sample in samples}
    return found


@asynccontextmanager
async def _book(desk: Desk, config: Config) -> AsyncGenerator[Metrics]:
    store = MetricStore(config.metrics_path, config.settings.metrics, desk.now)
    try:
        yield Metrics(store, lambda: config)
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


def _environment(config: Config, name: str | None) -> EnvironmentName:
    used = sorted({binding.environment for binding in config.bindings}) or sorted(config.environments)
    if name is None and len(used) == 1:
        return used[0]
    found = next((one for one in config.environments if one == name), None)
    if found is None:
        hint = f"Environments: {', '.join(config.environments)}."
        raise (
            NotFound(f"There is no environment {name!r}.", hint=hint)
            if name
            else InvalidArguments("--environment is missing, and there are several.", hint=hint)
        )
    return found


def _span(text: str, now: datetime) -> timedelta:
    """How long ago."""
    from ops_mcp.metrics.quantities import duration_ms

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        span = timedelta(milliseconds=duration_ms(text))
    else:
        span = now - (at if at.tzinfo else at.replace(tzinfo=UTC))
    if span <= timedelta(0):
        raise InvalidArguments("--since is not in the past.", hint="Valid: 15m, 1h, 7d, or an ISO time.")
    return span


def _width() -> int:
    return max(20, shutil.get_terminal_size((100, 24)).columns - 14)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _json(value: float | None) -> Json:
    return value if value is not None and math.isfinite(value) else None
