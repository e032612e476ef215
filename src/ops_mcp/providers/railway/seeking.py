"""Finding what was made for a deployment. Railway carries no mark of ours: what it shows is told by its moment and its content.

A request to make something that got no answer may have been carried out. It is looked for before it is ever repeated.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple, NoReturn

import anyio

from ops_mcp.domain.releases import Placement
from ops_mcp.errors import ProviderError
from ops_mcp.providers.railway.answers import Deployed, nodes, page_info
from ops_mcp.providers.railway.documents import DEPLOYMENTS
from ops_mcp.providers.railway.line import Line, is_limited
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.phases import MAKING, phase_of

LEEWAY = timedelta(seconds=5)
"""How far Railway's clock may be behind ours."""
PER_PAGE, MOST_PAGES = 50, 10
SETTLING_SECONDS = (2.0, 4.0, 8.0, 16.0)
"""When to look for what may have been made after all: a request that was lost on its way back shows up soon."""
MOST_TRIES = 5
LIMITED_PAUSE_SECONDS = 5.0


class Sought(NamedTuple):
    """Deployments made since a moment. `undecided` are young ones of which Railway does not tell yet what they deploy."""

    same: tuple[Deployed, ...] = ()
    undecided: tuple[Deployed, ...] = ()

    @property
    def anything(self) -> bool:
        return bool(self.same or self.undecided)


async def listed(opened: Opened, *, since: datetime) -> tuple[Deployed, ...]:
    """The service's deployments created since then, newest first."""
    found: list[Deployed] = []
    after: str | None = None
    for _ in range(MOST_PAGES):
        asked = {**opened.place, "first": PER_PAGE, **({"after": after} if after else {})}
        data = await opened.ask(DEPLOYMENTS, asked)
        page = nodes(Deployed, data.get("deployments"))
        found += (d for d in page if d.created_at >= since)
        info = page_info(data.get("deployments"))
        if not page or not info.has_next_page or min(d.created_at for d in page) < since:
            break
        after = info.end_cursor
    return tuple(sorted(found, key=lambda d: d.created_at, reverse=True))


async def sought(opened: Opened, placement: Placement, *, other_than: Collection[str]) -> Sought:
    """What was made for a placement whose handle is not known."""
    found = await listed(opened, since=placement.asked_at - LEEWAY)
    return among(found, placement.release.content.identity, other_than=other_than)


def among(found: Collection[Deployed], content: str, *, other_than: Collection[str]) -> Sought:
    """Those of this content, and those that may be."""
    others = [d for d in found if d.id not in other_than]
    return Sought(
        same=tuple(d for d in others if d.content == content),
        undecided=tuple(d for d in others if not d.content and phase_of(d) in MAKING),
    )


async def the_one(look: Callable[[], Awaitable[Sought]], line: Line) -> Deployed | None:
    """The one that was made, or None. Raises when it cannot be told which of several it is."""
    found = await look()
    for pause in SETTLING_SECONDS:
        if not found.undecided or found.same:
            break
        await line.sleep(pause)
        found = await look()
    if len(found.same) == 1:
        return found.same[0]
    if found.anything:
        refuse_unclear(found)
    return None


def refuse_unclear(found: Sought) -> NoReturn:
    ids = [d.id for d in (*found.same, *found.undecided)]
    raise ProviderError(
        f"Railway shows {len(ids)} deployments made since this one was asked for, and not which of them is ours.",
        hint="A person looks at the service's deployments at Railway, removes what is not wanted, and deploys anew.",
        details={"unclear": [*ids[:10]]},
    )


def not_told_yet() -> ProviderError:
    """A deployment is so young that Railway does not tell what it deploys."""
    return ProviderError(
        "Railway does not tell yet what its newest deployment deploys.",
        hint="It does within seconds.",
        temporary=True,
        retry_after_seconds=SETTLING_SECONDS[1],
    )


async def once(
    make: Callable[[], Awaitable[str | None]], find: Callable[[], Awaitable[Deployed | None]], line: Line, *, until: datetime
) -> str:
    """Have something made, once: the id of what was made, by the answer or by looking for it.

    `make` returns None where its answer names nothing. It is repeated only after `find` has looked for a while and seen nothing.
    Nothing that is asked here is left half way: a caller that is cancelled meanwhile leaves with the request answered.
    """
    for _ in range(MOST_TRIES):
        problem: ProviderError | None = None
        try:
            made = await _made(make, line, until=until)
            if made is not None:
                return made
        except ProviderError as error:
            if not error.temporary:
                raise
            problem = error
        found = await _found_in_time(find, line)
        if found is not None:
            return found.id
        if problem is None:
            raise ProviderError(
                "Railway took the request, and does not show what came of it.", hint="It is looked for again.", temporary=True
            )
        await line.rest(SETTLING_SECONDS[0], until=until, because=problem)
    raise ProviderError("Railway did not answer, again and again, and nothing was made.", hint="Try again later.", temporary=True)


async def _made(make: Callable[[], Awaitable[str | None]], line: Line, *, until: datetime) -> str | None:
    """A request that Railway puts off was not carried out, and is sent again when it takes more."""
    while True:
        try:
            with anyio.CancelScope(shield=True):
                return await make()
        except ProviderError as error:
            if not is_limited(error):
                raise
            await line.rest(error.retry_after_seconds or LIMITED_PAUSE_SECONDS, until=until, because=error)


async def _found_in_time(find: Callable[[], Awaitable[Deployed | None]], line: Line) -> Deployed | None:
    for pause in SETTLING_SECONDS:
        await line.sleep(pause)
        if (found := await find()) is not None:
            return found
    return None
