"""Ending what a deployment has at Vercel: a build is cancelled; what is built is deleted if it is this deployment's own."""

from ops_mcp.domain.releases import Observed, Presence
from ops_mcp.errors import ProviderError
from ops_mcp.providers.vercel.answers import Deployed
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.states import BUILT, UNBUILT, Phase, described, phase_of, presence_of


async def stop(errand: Errand) -> Observed:
    """Already gone is fine."""
    found = await errand.located()
    if found is not None and not errand.is_anothers(found) and phase_of(found) in (*UNBUILT, Phase.unknown):
        found = await _cancelled(errand, found.id)
    if found is None:
        return errand.observed(Presence.absent, "Vercel has nothing of this deployment.")
    phase = phase_of(found)
    if phase not in BUILT:
        return errand.observed(presence_of(phase), described(found, phase), found)
    if not errand.owns(found):
        return await _left(errand, found)
    await errand.wait.out(lambda: errand.api.delete(found.id))
    return errand.observed(Presence.absent, f"{found.id} was deleted at Vercel.", found)


async def _cancelled(errand: Errand, id: str) -> Deployed | None:
    """It may have become ready a moment before; what is there then is told by another look."""
    await errand.wait.out(lambda: errand.api.cancel(id))
    return await errand.present(id)


async def _left(errand: Errand, found: Deployed) -> Observed:
    """What another deployment made is that one's; it may go on, unless it is still what production serves because of this one."""
    project = await errand.wait.out(errand.api.project)
    if project.serves == found.id or not errand.options.goes_live:
        raise ProviderError(
            f"{found.id} was made for another deployment and is not deleted for this one, so it is still served.",
            hint="Roll back to another deployment, or deploy.",
        )
    return errand.observed(Presence.exited, f"{found.id} is another deployment's, and production does not serve it.", found)
