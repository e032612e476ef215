"""Lines of one deployment, newest first. Railway gives the last N in ascending order, and one more than it was asked for.

Its filter narrows what is sent; what was asked for is decided here, so that a filter that is understood differently there shows
no line that was not asked for.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.errors import InvalidArguments, ProviderError
from ops_mcp.ports import Page
from ops_mcp.providers.railway.answers import Deployed, Entry, each
from ops_mcp.providers.railway.documents import BUILD_LOGS, RUN_LOGS, Document
from ops_mcp.providers.railway.following import look
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.phases import MAKING, Phase, phase_of
from ops_mcp.values import JsonObject

MOST_LINES = 5000
LAG_SECONDS = (1.0, 1.5, 2.25)
"""When to ask again for lines of a young deployment: they lag behind it."""
YOUNG = timedelta(minutes=2)
BUILD, RUN = "build", "run"

_LEVELS: Mapping[str, Severity] = {
    "trace": Severity.trace,
    "debug": Severity.debug,
    "info": Severity.info,
    "notice": Severity.info,
    "warn": Severity.warning,
    "warning": Severity.warning,
    "err": Severity.error,
    "error": Severity.error,
    "crit": Severity.critical,
    "critical": Severity.critical,
    "fatal": Severity.critical,
    "emerg": Severity.critical,
    "alert": Severity.critical,
    "panic": Severity.critical,
}
_CURSOR = re.compile(r"^(build|run) (\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)) (\d{1,5})$")


class Mark(NamedTuple):
    """Where the page before ended: its oldest line's moment, and how many lines of just that moment it held."""

    origin: str
    moment: str
    told: int


class Lines(NamedTuple):
    found: tuple[LogLine, ...]
    older: Mark | None


async def lines_of(opened: Opened, handle: str, query: LogQuery) -> Page[LogLine]:
    """A page of what it printed when it ran; where it never ran, of its build."""
    mark = _parsed(query.cursor)
    if mark is not None:
        return _page(await _lines(opened, handle, query, mark))
    found = await look(opened.line, handle)
    ran = await _lines(opened, handle, query, Mark(RUN, "", 0))
    if not ran.found and phase_of(found) in MAKING | {Phase.failed, Phase.skipped}:
        return _page(await _lines(opened, handle, query, Mark(BUILD, "", 0)))
    for pause in LAG_SECONDS if _is_young(found, opened) else ():
        if ran.found:
            break
        await opened.line.sleep(pause)
        ran = await _lines(opened, handle, query, Mark(RUN, "", 0))
    return _page(ran)


def filter_of(query: LogQuery) -> str | None:
    """The query in Railway's filter language. Quotes cannot be written inside its phrases, so a text is cut at them."""
    parts = [f'"{part}"' for part in re.split(r'["\\\x00-\x1f]+', query.text or "") if part.strip()]
    if query.severity is not None and query.severity.rank >= Severity.warning.rank:
        levels = [f"@level:{name}" for name, severity in _LEVELS.items() if severity.rank >= query.severity.rank]
        parts.append(f"({' OR '.join(levels)})")
    return " AND ".join(parts) or None


async def entries_of(opened: Opened, handle: str, *, since: datetime | None, before: str, limit: int) -> tuple[Entry, ...]:
    """Of what it printed when it ran, the last ones of a stretch of time that ends with the moment `before`, ascending."""
    return await _asked(opened, handle, LogQuery(since=since), Mark(RUN, before, 0), limit)


async def _lines(opened: Opened, handle: str, query: LogQuery, mark: Mark) -> Lines:
    """One page, asked for with some to spare; asked again for more where that was filled by what does not belong to it."""
    ask_for = query.limit + mark.told + 1
    while True:
        entries = await _asked(opened, handle, query, mark, ask_for)
        wanted = _older(entries, mark)
        kept = [entry for entry in reversed(wanted) if _matches(entry, query)]
        complete = len(entries) < ask_for or ask_for >= MOST_LINES
        if len(kept) > query.limit or complete:
            break
        ask_for = min(ask_for * 4, MOST_LINES)
    page = kept[: query.limit]
    more = len(kept) > query.limit or (not complete and bool(page))
    older = _mark_after(page, mark) if more else None
    return Lines(tuple(line_of(entry, mark.origin) for entry in page), older)


async def _asked(opened: Opened, handle: str, query: LogQuery, mark: Mark, limit: int) -> tuple[Entry, ...]:
    """Ascending, as told. The ends are given to the millisecond, and never narrower than asked for."""
    document: Document = BUILD_LOGS if mark.origin == BUILD else RUN_LOGS
    until = min((m for m in (query.until, _moment(mark.moment)) if m is not None), default=None)
    variables: JsonObject = {"id": handle, "limit": limit}
    if (text := filter_of(query)) is not None:
        variables["filter"] = text
    if query.since is not None:
        variables["from"] = _written(query.since)
    if until is not None:
        variables["to"] = _written(until + timedelta(milliseconds=1))
    data = await opened.line.ask(document, variables)
    entries = each(Entry, data.get("buildLogs" if mark.origin == BUILD else "deploymentLogs"))
    return tuple(sorted(entries, key=lambda entry: _key(entry.timestamp)))


def _older(entries: tuple[Entry, ...], mark: Mark) -> list[Entry]:
    """What comes after the page before: older lines, and those of its last moment that it did not hold."""
    if not mark.moment:
        return list(entries)
    last = _key(mark.moment)
    same = [entry for entry in entries if _key(entry.timestamp) == last]
    return [entry for entry in entries if _key(entry.timestamp) < last] + same[: max(0, len(same) - mark.told)]


def _mark_after(page: list[Entry], before: Mark) -> Mark:
    moment = page[-1].timestamp
    told = sum(1 for entry in page if entry.timestamp == moment)
    return Mark(before.origin, moment, told + (before.told if before.moment == moment else 0))


def _matches(entry: Entry, query: LogQuery) -> bool:
    at = _moment(entry.timestamp)
    if at is not None and ((query.since is not None and at < query.since) or (query.until is not None and at >= query.until)):
        return False
    if query.text and query.text.casefold() not in entry.message.casefold():
        return False
    return query.severity is None or _severity(entry).rank >= query.severity.rank


def line_of(entry: Entry, origin: str) -> LogLine:
    """As it is shown."""
    instance = entry.tags.deployment_instance_id if entry.tags else None
    told = BUILD if origin == BUILD else (f"instance {instance[:8]}" if instance else RUN)
    return LogLine(at=_moment(entry.timestamp), severity=_severity(entry), text=entry.message, origin=told)


def _severity(entry: Entry) -> Severity:
    level = entry.severity or next((a.value for a in entry.attributes if a.key == "level"), "")
    return _LEVELS.get(level.strip('"').lower(), Severity.unknown)


def nanoseconds_of(timestamp: str) -> int:
    """The whole of a timestamp, all its digits of a second."""
    at, digits = _key(timestamp)
    return int(at.timestamp()) * 1_000_000_000 + int(digits[:9])


def _page(lines: Lines) -> Page[LogLine]:
    return Page(lines.found, " ".join(map(str, lines.older)) if lines.older else None)


def _parsed(cursor: str | None) -> Mark | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None or _moment(match.group(2)) is None:
        raise InvalidArguments(
            "cursor is not one that was given out here.", hint="Use next_cursor of the page before, or leave it out."
        )
    return Mark(match.group(1), match.group(2), int(match.group(3)))


def _is_young(found: Deployed, opened: Opened) -> bool:
    return opened.line.clock() - found.created_at < YOUNG


def _moment(text: str) -> datetime | None:
    """RFC 3339 with up to nine digits of a second, of which six are kept."""
    cut = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        found = datetime.fromisoformat(cut)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _key(text: str) -> tuple[datetime, str]:
    """Order by the whole timestamp: the seconds as a moment, then its digits."""
    at = _moment(text)
    if at is None:
        raise ProviderError("Railway's log line has a timestamp of an unknown shape.", hint="Update ops-mcp.")
    digits = re.search(r"\.(\d+)", text)
    return at.replace(microsecond=0), (digits.group(1) if digits else "").ljust(9, "0")


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
