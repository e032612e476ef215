"""Going back: Railway restores the image and the variables of an older deployment, in a new one that it names to nobody.

Source: Railway's page on deployment actions; that the mutation returns a bare Boolean is in the schema.
"""

from collections.abc import Collection
from datetime import timedelta

from ops_mcp.domain.releases import Placement
from ops_mcp.errors import NotFound, ProviderError
from ops_mcp.ports import Tell
from ops_mcp.providers.railway.answers import Deployed
from ops_mcp.providers.railway.deploying import followed
from ops_mcp.providers.railway.documents import CANCEL, ROLLBACK
from ops_mcp.providers.railway.following import follow, look_patiently
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.phases import MAKING, SERVING, Phase, phase_of
from ops_mcp.providers.railway.restarting import restarted
from ops_mcp.providers.railway.seeking import LEEWAY, Sought, among, listed, once, refuse_unclear, sought, the_one

LEAVING_SECONDS = 180.0


async def returned(opened: Opened, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Deployed:
    """What serves once `restores` is back. A deployment that still serves is left alone; one that ends itself is restarted."""
    target = await handle_of(opened, restores)
    if not target:
        raise NotFound(
            "Railway has no deployment of that release any more.", hint="Deploy its commit again; that builds it anew."
        )
    ended = await handle_of(opened, ends) if ends else ""
    if ended == target:
        return await _begun_anew(opened, placement, restores, target, tell=tell)
    if placement.handle and placement.handle != target:
        found = await look_patiently(opened.line, placement.handle, until=opened.until)
        if phase_of(found) in MAKING | SERVING:
            return await followed(opened, placement.handle, tell=tell)
    return await _put_back(opened, placement, restores, ends, handles=(target, ended), tell=tell)


async def handle_of(opened: Opened, placement: Placement) -> str:
    """Railway's id of what was made for it; empty when nothing was."""
    if placement.handle:
        return placement.handle
    found = await the_one(lambda: sought(opened, placement, other_than=()), opened.line)
    return found.id if found else ""


async def _begun_anew(opened: Opened, placement: Placement, restores: Placement, target: str, *, tell: Tell) -> Deployed:
    """What is put back is what is ended: the same deployment, started anew. An undo leaves it alone where it serves."""
    found = await look_patiently(opened.line, target, until=opened.until)
    undo = placement.deployment == restores.deployment
    begun = placement.handle == target and (found.status_updated_at or found.created_at) >= placement.asked_at
    if phase_of(found) in SERVING and (undo or begun):
        return found
    if not undo:
        await tell("restarting at Railway", handle=target)
    return await restarted(opened, found)


async def _put_back(
    opened: Opened, placement: Placement, restores: Placement, ends: Placement | None, *, handles: tuple[str, str], tell: Tell
) -> Deployed:
    target, ended = handles
    undo = placement.deployment == restores.deployment
    since = (ends.asked_at if undo and ends else placement.asked_at) - LEEWAY
    content = restores.release.content.identity
    seen = await listed(opened, since=since)
    begun = [d for d in among(seen, content, other_than=handles).same if phase_of(d) in MAKING | SERVING]
    if len(begun) > 1:
        refuse_unclear(Sought(same=tuple(begun)))
    if begun:
        await tell("Railway is going back already", handle=begun[0].id)
        return await followed(opened, begun[0].id, tell=tell)
    standing = await _still_serving(opened, target, ended)
    if standing is not None:
        await tell("it still serves at Railway", handle=target)
        return await followed(opened, target, tell=tell) if phase_of(standing) in MAKING else standing
    made = await _made(opened, target, content, before={target, *(d.id for d in seen)}, tell=tell)
    return await followed(opened, made, tell=tell)


async def _still_serving(opened: Opened, target: str, ended: str) -> Deployed | None:
    """What is to be restored, where it was never ended or is coming back. What was to take its place and is not up yet is
    cancelled."""
    other = await look_patiently(opened.line, ended, until=opened.until) if ended else None
    if other is not None and phase_of(other) in MAKING:
        await opened.line.ask_patiently(CANCEL, {"id": ended}, until=opened.until)
        other = await _left(opened, ended)
    found = await look_patiently(opened.line, target, until=opened.until)
    if phase_of(found) is Phase.leaving:
        found = await _left(opened, target)
    newer = other is None or phase_of(other) not in SERVING or found.created_at > other.created_at
    if phase_of(found) in MAKING or (phase_of(found) in SERVING and newer):
        return found
    if not found.can_rollback:
        raise ProviderError(
            "Railway cannot go back to that deployment: it no longer keeps its image.",
            hint="Images are kept 24 h to 360 h, by plan. Deploy the commit again; that builds, and takes today's variables.",
            details={"railway_deployment": target},
        )
    return None


async def _left(opened: Opened, handle: str) -> Deployed:
    """Wait until it is neither being made nor on its way out."""
    soon = min(opened.until, opened.line.clock() + timedelta(seconds=LEAVING_SECONDS))
    return await follow(opened.line, handle, ends=_stays, say=_silent, until=soon, subscribe=opened.subscribe)


async def _made(opened: Opened, target: str, content: str, *, before: Collection[str], tell: Tell) -> str:
    """Have Railway go back, once: the id of the deployment that does it, which only the list tells."""
    since = opened.line.clock() - LEEWAY

    async def make() -> str | None:
        await opened.line.ask(ROLLBACK, {"id": target})
        return None

    async def find() -> Deployed | None:
        new = among(await listed(opened, since=since), content, other_than=before)
        if len(new.same) > 1:
            refuse_unclear(new)
        if new.anything:
            return (*new.same, *new.undecided)[0]
        # Whether Railway always makes a new one is not published.
        old = await look_patiently(opened.line, target, until=opened.until)
        return old if phase_of(old) in MAKING | SERVING else None

    await tell("going back at Railway")
    made = await once(make, find, opened.line, until=opened.until)
    await tell("Railway goes back", handle=made)
    return made


def _stays(found: Deployed) -> bool:
    return phase_of(found) not in MAKING | {Phase.leaving, Phase.unknown}


async def _silent(found: Deployed) -> None:
    """Nobody is told."""
