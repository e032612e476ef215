"""What the queries of alert rules answer at one moment: from our own store together, from an outside Prometheus one by one."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

import anyio
import anyio.to_thread

from ops_mcp.alerting.history import QueryFailed
from ops_mcp.alerting.labels import Labels
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import OpsError
from ops_mcp.metrics.bounds import Budget
from ops_mcp.metrics.evaluating import instant
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.matchers import Matchers
from ops_mcp.metrics.query import Fetch, Query, Selection, gather, selections
from ops_mcp.metrics.series import Answer, Scalar, Series, Vector
from ops_mcp.observing import EMBEDDED, MetricBook, MetricSource

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8
RULE_BUDGET = Budget(work=500_000)
"""About half a second at most. One rule among thousands may take less than somebody who asks a question."""

_NO_TIME = QueryFailed("there was no time for it in this round: rules of this environment take too long")

Found: TypeAlias = Sequence[tuple[Labels, float]] | QueryFailed
"""What one query answered: label sets with values, or why it did not."""

Answers: TypeAlias = Mapping[str, Found]
"""By the query's text."""


async def answers(
    book: MetricBook,
    environment: EnvironmentName,
    queries: Mapping[str, Query | QueryFailed],
    at: datetime,
    *,
    within_seconds: float,
    costs: dict[str, float] | None = None,
) -> Answers:
    """Every query's answer. One that fails, or does not come in time, is an answer too.

    `costs` is what each took the last time, in seconds, and is kept up to date: the cheap ones go first, so that what is short of
    time are those that take it.
    """
    source = book.source(environment)
    try:
        if source.name == EMBEDDED:
            pace = _Pace({} if costs is None else costs, within_seconds)
            return await _embedded(book, environment, queries, at, pace)
        return await _outside(source, environment, queries, at, within_seconds)
    except OpsError as error:
        return dict.fromkeys(queries, QueryFailed(error.message))


def result_of(answer: Answer) -> Found:
    """An answer as a rule takes it: a number is one series without labels."""
    match answer:
        case Vector(samples=samples):
            return samples
        case Scalar(value=value):
            return [((), value)]
        case _:
            return QueryFailed("the expression is a range of samples, which has no value at one moment")


class _Pace(NamedTuple):
    costs: dict[str, float]
    within_seconds: float


async def _embedded(
    book: MetricBook, environment: EnvironmentName, queries: Mapping[str, Query | QueryFailed], at: datetime, pace: _Pace
) -> Answers:
    at_ms = _milliseconds(at)
    wanted = await anyio.to_thread.run_sync(_wanted, queries.values(), at_ms)
    series = await book.held(environment, wanted)
    return await anyio.to_thread.run_sync(_computed, queries, series, at_ms, pace)


def _wanted(queries: Iterable[Query | QueryFailed], at_ms: int) -> Sequence[Selection]:
    """What all of them read, each set of matchers once."""
    spans: dict[Matchers, tuple[int, int]] = {}
    for query in queries:
        if isinstance(query, QueryFailed):
            continue
        for matchers, start_ms, end_ms in selections(query, at_ms, at_ms):
            first, last = spans.get(matchers, (start_ms, end_ms))
            spans[matchers] = (min(first, start_ms), max(last, end_ms))
    return [Selection(matchers, first, last) for matchers, (first, last) in spans.items()]


def _computed(queries: Mapping[str, Query | QueryFailed], series: Sequence[Series], at_ms: int, pace: _Pace) -> Answers:
    fetch = _remembering(fetch_from(series))
    costs, found = pace.costs, dict[str, Found]()
    before = time.monotonic()
    until = before + pace.within_seconds
    for text in sorted(queries, key=lambda text: costs.get(text, 0.0)):
        if before >= until:
            found[text] = _NO_TIME
            continue
        found[text] = _one(queries[text], fetch, at_ms)
        after = time.monotonic()
        costs[text], before = after - before, after
    for text in costs.keys() - queries.keys():
        del costs[text]
    return found


def _one(query: Query | QueryFailed, fetch: Fetch, at_ms: int) -> Found:
    """One query must not take the others along, whatever is in it."""
    if isinstance(query, QueryFailed):
        return query
    try:
        return result_of(instant(query, at_ms, gather(query, at_ms, at_ms, fetch), RULE_BUDGET))
    except OpsError as error:
        return QueryFailed(error.message)
    except (ArithmeticError, LookupError, ValueError, RecursionError):
        log.exception("a rule's query failed: %.200s", query.text)
        return QueryFailed("the query failed inside ops-mcp; the worker's log says how")


def _remembering(fetch: Fetch) -> Fetch:
    """Many rules read the same samples."""
    known: dict[tuple[Matchers, int, int], Sequence[Series]] = {}

    def fetched(matchers: Matchers, start_ms: int, end_ms: int) -> Sequence[Series]:
        key = (matchers, start_ms, end_ms)
        found = known.get(key)
        if found is None:
            found = known[key] = fetch(matchers, start_ms, end_ms)
        return found

    return fetched


async def _outside(
    source: MetricSource, environment: EnvironmentName, queries: Iterable[str], at: datetime, within_seconds: float
) -> Answers:
    texts = list(queries)
    found: dict[str, Found] = dict.fromkeys(texts, QueryFailed(f"{source.name} did not answer in time"))
    waiting = iter(texts)

    async def ask() -> None:
        for text in waiting:
            try:
                found[text] = result_of(await source.instant(text, environment, at))
            except OpsError as error:
                found[text] = QueryFailed(error.message)

    with anyio.move_on_after(within_seconds):
        async with anyio.create_task_group() as group:
            for _ in range(MOST_AT_ONCE):
                group.start_soon(ask)
    return found


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
