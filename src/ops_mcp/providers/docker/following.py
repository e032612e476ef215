"""The lines of our containers from a position on: the mark of each replica by its container's own id."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import cast

from ops_mcp.errors import InvalidArguments
from ops_mcp.observing import Tailed, TailedLine
from ops_mcp.providers._following import GONE, OURS, Following, Fresh, Mark, Told
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.frames import moment_of
from ops_mcp.providers.docker.logs import lines_since

_LAG = 2_000_000_000
"""The engine stamps both streams on their own: a line may be written behind one with a later stamp."""

_RUNS = frozenset(("running", "restarting", "created", "paused"))


async def follow(engine: EngineApi, found: Sequence[Ours], position: str, *, most_bytes: int) -> Tailed:
    """See `Tails.tail`. Containers that are gone leave their marks behind."""
    marks = _marks(position)
    after: dict[str, str] = {}
    lines: list[TailedLine] = []
    more, room = False, most_bytes
    for ours in found:
        key = ours.container.id[:12]
        fresh = await _of_one(engine, ours, Mark.of(marks.get(key, "")), room)
        after[key] = str(fresh.mark)
        more = more or fresh.more
        lines += [TailedLine(GONE, origin=OURS)] if fresh.gone else []
        lines += [TailedLine(line.text, moment_of(line.nanoseconds), line.origin) for line in fresh.lines]
        room -= sum(len(line.text) + 1 for line in fresh.lines)
    ended = not more and not any(ours.container.state.status in _RUNS for ours in found)
    return Tailed(tuple(lines), json.dumps(after, separators=(",", ":")), more=more, ended=ended)


async def _of_one(engine: EngineApi, ours: Ours, mark: Mark, room: int) -> Fresh:
    following = Following(mark, most_bytes=room, lag=_LAG)
    origin = f" of replica {ours.replica}" if ours.replica > 1 else ""
    # What has no newline yet is told when it has one, or when nothing can follow.
    whole = ours.container.state.status in _RUNS
    async with aclosing(lines_since(engine, ours, mark.since, whole=whole)) as told:
        async for line in told:
            if line.nanoseconds is not None:
                following.take(Told(line.nanoseconds, f"{line.stream}\0{line.text}", line.text, f"{line.stream}{origin}"))
            if following.full:
                break
    return following.done()


def _marks(position: str) -> dict[str, str]:
    try:
        return cast(dict[str, str], json.loads(position)) if position else {}
    except ValueError as error:
        raise InvalidArguments("A position is none that this place gave.") from error
