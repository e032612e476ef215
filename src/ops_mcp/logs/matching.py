"""Whether a line is among those asked for, and the time that a line states."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from ops_mcp.domain.observations import LogLine, LogQuery
from ops_mcp.logs.structured import fields_of
from ops_mcp.values import Json


def matches(line: LogLine, query: LogQuery) -> bool:
    """Whether all that the query asks holds: `since <= at < until`, the text in any case, at least that severity.

    A line without a time is in no range: it passes only where neither bound is given. (Who reads a file may lend it the time of
    the line above.) A line of unknown severity passes only where no severity is asked for. Limit and cursor are not looked at.
    """
    return (
        _is_within(line.at, query)
        and (query.severity is None or line.severity.rank >= query.severity.rank)
        and (query.text is None or query.text.casefold() in line.text.casefold())
    )


def time_of(text: str, *, near: datetime | None = None) -> datetime | None:
    """The time that a line begins with, or that its JSON field `time`, `ts` or `timestamp` holds. None where there is none.

    A time without a zone is taken for UTC. Classic syslog writes no year: such a line has a time only with `near`, and then
    the one closest to it.
    """
    text = text[:_LONGEST_LEAD] if not text.lstrip().startswith("{") else text
    fields = fields_of(text)
    for name in ("time", "ts", "timestamp", "@timestamp"):
        if (at := _of_json(fields.get(name))) is not None:
            return at
    for shape, read in _SHAPES:
        if match := shape.match(text):
            return _unless_impossible(read, match)
    if near is not None and (match := _SYSLOG.match(text)):
        return _closest(match, near)
    return None


def _is_within(at: datetime | None, query: LogQuery) -> bool:
    if at is None:
        return query.since is None and query.until is None
    return (query.since is None or query.since <= at) and (query.until is None or at < query.until)


def _of_json(value: Json) -> datetime | None:
    match value:
        case str():
            found = _ISO.match(value)
            return _unless_impossible(_from_iso, found) if found else None
        case bool() | None:
            return None
        case int() | float():
            return _of_epoch(value)
        case _:
            return None


def _of_epoch(value: float) -> datetime | None:
    """Seconds, or thousandths, millionths or billionths of one, told apart by their size: what loggers write lies after 2001."""
    for unit in (1, 10**3, 10**6, 10**9):
        if 10**9 * unit <= value < 10**10 * unit:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(value * 10**6 / unit))
    return None


def _unless_impossible(read: Callable[[re.Match[str]], datetime], match: re.Match[str]) -> datetime | None:
    """None for a 31st of February and the like."""
    try:
        return read(match).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_iso(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (int(match[n]) for n in range(1, 7))
    return datetime(year, month, day, hour, minute, second, _micros(match[7]), tzinfo=_zone(match[8] or match[9]))


def _from_common(match: re.Match[str]) -> datetime:
    day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
    return datetime(year, _month(match[2]), day, hour, minute, second, tzinfo=_zone(match[7]))


def _from_apache(match: re.Match[str]) -> datetime:
    day, hour, minute, second, year = (int(match[n]) for n in (2, 3, 4, 5, 7))
    return datetime(year, _month(match[1]), day, hour, minute, second, _micros(match[6]), tzinfo=UTC)


def _closest(match: re.Match[str], near: datetime) -> datetime | None:
    def of(year: int) -> datetime | None:
        day, hour, minute, second = (int(match[n]) for n in (2, 3, 4, 5))
        return _unless_impossible(lambda m: datetime(year, _month(m[1]), day, hour, minute, second, tzinfo=UTC), match)

    found = [at for year in (near.year - 1, near.year, near.year + 1) if (at := of(year)) is not None]
    return min(found, key=lambda at: abs(at - near), default=None)


def _month(name: str) -> int:
    return _MONTHS.index(name) + 1


def _micros(fraction: str | None) -> int:
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


def _zone(written: str | None) -> timezone:
    if not written or written in ("Z", "z"):
        return UTC
    hours, minutes = int(written[1:3]), int(written[3:].lstrip(":") or 0)
    return timezone((-1 if written[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


_LONGEST_LEAD = 512
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"({'|'.join(_MONTHS)})"
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)"
_PRIORITY = r"(?:<\d{1,3}>(?:1 )?)?"
_OFFSET = r"(?: ?([Zz]|[+-]\d\d:?\d\d)(?!\d)|([+-]\d\d)(?![\d:]))?"
_ISO = re.compile(rf"\s{{0,4}}{_PRIORITY}[\[(]?(\d{{4}})[-/](\d\d)[-/](\d\d)[Tt _]{_CLOCK}(?:[.,](\d{{1,9}}))?\d{{0,9}}{_OFFSET}")
"""RFC 3339, RFC 5424 behind its priority, and what Python, Java, Go and nginx write."""

_COMMON = re.compile(rf"[^\[\]\"]{{0,200}}\[(\d\d)/{_MONTH}/(\d{{4}}):{_CLOCK} ([+-]\d{{4}})\]")
_APACHE = re.compile(rf"\[?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} ([ \d]\d) {_CLOCK}(?:\.(\d{{1,9}}))? (\d{{4}})")
_SYSLOG = re.compile(rf"{_PRIORITY}{_MONTH} ([ \d]\d) {_CLOCK}(?!\d)")
_SHAPES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], datetime]], ...] = (
    (_ISO, _from_iso),
    (_COMMON, _from_common),
    (_APACHE, _from_apache),
)
