"""Templates with their counts in a stretch of time, and the history of a service: what was counted when lines came."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.logs.anomalies import History, Series
from ops_mcp.logs.shapes import TemplateId
from ops_mcp.logs.templates import OTHER, Miner, Patterns, Template
from ops_mcp.observing import TemplateCount
from ops_mcp.store.logs.chunks import SEVERITIES
from ops_mcp.store.logs.mining import MINUTE, memory_of
from ops_mcp.store.logs.schema import microseconds, moment

BUCKET, BUCKETS = timedelta(minutes=1), 360
_LATE = 15_000_000
"""A collector looks every few seconds; a bucket was watched if it looked in its last ones."""

_MOST_REMEMBERED = 64


class Known:
    """What the miners know, by the service's number, until they know more. Judging it takes longer than all else here."""

    def __init__(self) -> None:
        self._patterns: dict[int, tuple[int, Patterns]] = {}

    def of(self, connection: sqlite3.Connection, service: int) -> Patterns:
        (revision,) = connection.execute("SELECT revision FROM services WHERE id = ?", (service,)).fetchone()
        kept = self._patterns.get(service)
        if kept is not None and kept[0] == revision:
            return kept[1]
        (packed,) = connection.execute("SELECT memory FROM services WHERE id = ?", (service,)).fetchone()
        patterns = Miner(memory_of(packed)).patterns()
        if len(self._patterns) >= _MOST_REMEMBERED:
            self._patterns.clear()
        self._patterns[service] = (revision, patterns)
        return patterns


class _Sum(NamedTuple):
    records: int
    first: int
    last: int

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum(self.records + other.records, min(self.first, other.first), max(self.last, other.last))


def templates(
    connection: sqlite3.Connection, known: Known, environment: str, service: str | None, since: datetime, until: datetime
) -> Sequence[TemplateCount]:
    """Whole minutes: `since` is rounded down to one, `until` up."""
    first, end = microseconds(since) // MINUTE, -(-microseconds(until) // MINUTE)
    sums: dict[tuple[TemplateId, int], _Sum] = {}
    texts: dict[TemplateId, Template] = {}
    for number in _services(connection, environment, service):
        patterns = known.of(connection, number)
        by_id = {template.id: template for template in patterns.templates}
        rows = connection.execute(
            "SELECT template, severity, sum(records), min(first_us), max(last_us) FROM counts"
            " WHERE service = ? AND minute >= ? AND minute < ? GROUP BY template, severity",
            (number, first, end),
        )
        for id, severity, *found in rows:
            one = _Sum(*found)
            template = _template(patterns, by_id, id, one)
            texts.setdefault(template.id, template)
            key = (template.id, severity)
            sums[key] = sums[key].plus(one) if key in sums else one
    counted = [
        TemplateCount(texts[id], SEVERITIES[severity], one.records, moment(one.first), moment(one.last))
        for (id, severity), one in sums.items()
    ]
    return sorted(counted, key=lambda each: (-each.lines, each.template.text))


def history(
    connection: sqlite3.Connection, known: Known, environment: str, service: str, until: datetime, buckets: int
) -> History:
    """The last complete buckets of a minute before `until`. Those that the collector did not see to their end are unwatched."""
    end = microseconds(until) // MINUTE
    first = end - buckets
    start = moment(first * MINUTE)
    for number in _services(connection, environment, service):
        patterns = known.of(connection, number)
        by_id = {template.id: template for template in patterns.templates}
        counts: dict[tuple[TemplateId, int], list[int]] = {}
        rows = connection.execute(
            "SELECT minute, template, severity, records, first_us, last_us FROM counts"
            " WHERE service = ? AND minute >= ? AND minute < ?",
            (number, first, end),
        )
        texts: dict[TemplateId, str] = {}
        for minute, id, severity, *found in rows:
            template = _template(patterns, by_id, id, _Sum(*found))
            texts[template.id] = template.text
            counts.setdefault((template.id, severity), [0] * buckets)[minute - first] += found[0]
        series = tuple(Series(id, texts[id], SEVERITIES[severity], each) for (id, severity), each in counts.items())
        return History(start, BUCKET, series, _unwatched(connection, number, first, end))
    return nothing(until, buckets)


def nothing(until: datetime, buckets: int) -> History:
    """The history of a service whose logs were never collected."""
    start = moment((microseconds(until) // MINUTE - buckets) * MINUTE)
    return History(start, BUCKET, (), frozenset(range(buckets)))


def _unwatched(connection: sqlite3.Connection, service: int, first: int, end: int) -> frozenset[int]:
    rows = connection.execute(
        "SELECT since_us, until_us FROM watches WHERE service = ? AND until_us >= ? AND since_us <= ?",
        (service, first * MINUTE, end * MINUTE),
    )
    watched: set[int] = set()
    for since, until in rows:
        watched.update(range(max(first, -(-since // MINUTE)), min(end, (until + _LATE) // MINUTE)))
    return frozenset(minute - first for minute in range(first, end) if minute not in watched)


def _services(connection: sqlite3.Connection, environment: str, service: str | None) -> Sequence[int]:
    asked, params = "SELECT id FROM services WHERE environment = ?", [environment]
    if service is not None:
        asked, params = f"{asked} AND service = ?", [environment, service]
    return [number for (number,) in connection.execute(asked, params)]


def _template(patterns: Patterns, by_id: Mapping[TemplateId, Template], id: str, one: _Sum) -> Template:
    """The template that a counted id belongs to now; `other` for one that was forgotten."""
    found = by_id.get(patterns.current(TemplateId(id))) or by_id.get(OTHER)
    return found or Template(OTHER, "(everything else)", one.records, moment(one.first), moment(one.last), ())
