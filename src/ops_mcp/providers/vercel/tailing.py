"""Runtime logs from a position on, out of a stream that has none: each row has an id, and those told lately are remembered."""

from datetime import UTC, datetime

from ops_mcp.errors import NotFound
from ops_mcp.observing import Tailed, TailedLine
from ops_mcp.providers._following import Following, Mark, Told
from ops_mcp.providers.vercel.answers import milliseconds, moment
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.logs import Listening, rows_of
from ops_mcp.providers.vercel.states import BUILT, phase_of

LAG = 300_000_000_000
"""How far back the stream may begin, and how late rows may come, in nanoseconds."""

_MOST_ROWS = 1_000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


async def tail(errand: Errand, position: str, listening: Listening, *, most_bytes: int) -> Tailed:
    """See `Tails.tail`. What the stream told while nobody listened is gone, and nothing says that it was there."""
    found = await errand.located()
    if found is None:
        raise NotFound("Vercel has nothing of this deployment.", hint="Use an id from `deployments`.")
    if phase_of(found) not in BUILT:
        return Tailed((), position)
    rows = await rows_of(errand, found, listening, most=_MOST_ROWS)
    told = [Told(milliseconds(line.at or _NEVER) * 1_000_000, id, line.text, line.origin) for id, line in rows]
    told.sort(key=lambda line: line.nanoseconds)
    fresh = Following(Mark.of(position), most_bytes=most_bytes, lag=LAG).take_all(told)
    lines = tuple(TailedLine(line.text, moment(line.nanoseconds / 1e6), line.origin) for line in fresh.lines)
    return Tailed(lines, str(fresh.mark), more=fresh.more)
