"""Starting the same deployment anew, and ending it. Both are followed: Railway answers as soon as it has taken the request."""

from collections.abc import Mapping
from datetime import timedelta

from ops_mcp.errors import NotFound, ProviderError
from ops_mcp.providers.railway.answers import Deployed
from ops_mcp.providers.railway.deploying import refuse_unless_up
from ops_mcp.providers.railway.documents import CANCEL, RESTART, STOP, Document
from ops_mcp.providers.railway.following import follow, look_patiently, settled
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.phases import MAKING, SERVING, Phase, phase_of

_WAYS: Mapping[Phase, Document] = {
    **dict.fromkeys(MAKING, CANCEL),
    **dict.fromkeys(SERVING | {Phase.unknown}, STOP),
}
UNMOVED_SECONDS = 15.0
"""How long a deployment may still show the state from before it was restarted."""
STOP_SECONDS = 90.0


async def restarted(opened: Opened, found: Deployed) -> Deployed:
    """`found`, after its restart. A restart that got no answer is looked at before it is asked for again."""
    line = opened.line
    if phase_of(found) in {Phase.gone, Phase.leaving, Phase.skipped, Phase.failed}:
        raise NotFound("Railway has nothing left to restart of that deployment.", hint="Roll back to it, or deploy it again.")
    if phase_of(found) not in MAKING:
        await _asked(opened, found)
    unmoved_until = line.clock() + timedelta(seconds=UNMOVED_SECONDS)

    def ends(now: Deployed) -> bool:
        return settled(now) and (_moved(found, now) or line.clock() >= unmoved_until)

    now = await follow(line, found.id, ends=ends, say=_silent, until=opened.until, subscribe=opened.subscribe)
    refuse_unless_up(now)
    return now


async def stopped(opened: Opened, handle: str) -> Deployed | None:
    """What is left of it once it runs no more; None where Railway shows nothing of it. Raises when it is not seen to."""
    try:
        found = await look_patiently(opened.line, handle, until=opened.until)
        how = _WAYS.get(phase_of(found))
        if how is None and phase_of(found) is not Phase.leaving:
            return found
        if how is not None:
            await opened.line.ask_patiently(how, {"id": handle}, until=opened.until)
        until = opened.line.clock() + timedelta(seconds=STOP_SECONDS)
        return await follow(opened.line, handle, ends=_over, say=_silent, until=until, subscribe=opened.subscribe)
    except NotFound:
        return None


async def _asked(opened: Opened, found: Deployed) -> None:
    line = opened.line
    while True:
        try:
            await line.ask(RESTART, {"id": found.id})
        except ProviderError as error:
            if not error.temporary:
                raise
            await line.rest(error.retry_after_seconds or UNMOVED_SECONDS, until=opened.until, because=error)
            if not _moved(found, await look_patiently(line, found.id, until=opened.until)):
                continue
        return


def _moved(before: Deployed, now: Deployed) -> bool:
    """Whether it is no longer as it was before: another status, or the same one since another moment."""
    return (before.status, before.status_updated_at) != (now.status, now.status_updated_at)


def _over(found: Deployed) -> bool:
    return phase_of(found) not in MAKING | SERVING | {Phase.leaving, Phase.unknown}


async def _silent(found: Deployed) -> None:
    """Nobody is told."""
