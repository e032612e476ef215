"""The lines of one deployment from a position on. Railway tells the last N of a stretch of time, so older ones are asked for."""

from datetime import UTC, datetime, timedelta

from ops_mcp.observing import Tailed, TailedLine
from ops_mcp.providers._following import GONE, OURS, Following, Mark, Told
from ops_mcp.providers.railway.answers import Entry
from ops_mcp.providers.railway.logs import MOST_LINES, RUN, entries_of, line_of, nanoseconds_of
from ops_mcp.providers.railway.opening import Opened

LAG = 60_000_000_000
"""Lines lag behind the moment at which they were written, each replica's by another while."""

_MOST_PAGES = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def tail(opened: Opened, handle: str, position: str, *, most_bytes: int) -> Tailed:
    """See `Tails.tail`. Not every page that is too full is followed to its begin; then that is said."""
    mark = Mark.of(position)
    since = _moment(mark.since) if mark.since else None
    entries, whole = await _since(opened, handle, since)
    fresh = Following(mark, most_bytes=most_bytes, lag=LAG).take_all(_told(entry) for entry in entries)
    lines = [TailedLine(GONE, origin=OURS)] if fresh.lines and (fresh.gone or not whole) else []
    lines += [
        TailedLine(line.text, _EPOCH + timedelta(microseconds=line.nanoseconds // 1000), line.origin) for line in fresh.lines
    ]
    return Tailed(tuple(lines), str(fresh.mark), more=fresh.more)


async def _since(opened: Opened, handle: str, since: datetime | None) -> tuple[list[Entry], bool]:
    """Oldest first, and whether these are all."""
    found: list[Entry] = []
    before = ""
    for _ in range(_MOST_PAGES):
        page = await entries_of(opened, handle, since=since, before=before, limit=MOST_LINES)
        # A page may begin within a moment, so that one's lines are taken from the next.
        bound = nanoseconds_of(before) if before else None
        older = [entry for entry in page if bound is None or nanoseconds_of(entry.timestamp) <= bound]
        found = [*older, *(entry for entry in found if bound is not None and nanoseconds_of(entry.timestamp) > bound)]
        if len(page) < MOST_LINES:
            return found, True
        if page[0].timestamp == before:
            break
        before = page[0].timestamp
    return found, False


def _told(entry: Entry) -> Told:
    line = line_of(entry, RUN)
    return Told(nanoseconds_of(entry.timestamp), f"{line.origin}\0{line.text}", line.text, line.origin)


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
