"""What Vercel has for a placement now, in as few requests as it takes. What is not known is said to be unknown."""

from ops_mcp.domain.releases import Observed, Presence
from ops_mcp.providers.vercel.answers import Deployed, Project
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.output import tail
from ops_mcp.providers.vercel.states import Phase, described, phase_of, presence_of


async def look(errand: Errand) -> Observed:
    """For production one request, the project's, as long as it serves the deployment; else the deployment itself, too."""
    handle = errand.placement.handle
    project = await errand.api.project() if errand.options.goes_live else None
    served = project.production if project is not None else None
    if served is not None and handle == served.id:
        return _serving(errand, served)
    found = await errand.located()
    if found is None:
        return await _absent(errand, project)
    phase = phase_of(found)
    if phase is Phase.failed:
        return errand.observed(Presence.exited, described(found, phase), found, tail=await tail(errand, found))
    if project is not None:
        return _towards_production(errand, found, phase, project)
    if phase is Phase.up and errand.options.domain is not None:
        return await _at_domain(errand, found, errand.options.domain)
    if phase is Phase.staged and not errand.options.staged:
        return errand.observed(Presence.building, described(found, phase), found)
    return errand.observed(presence_of(phase), described(found, phase), found)


def _serving(errand: Errand, served: Deployed) -> Observed:
    presence = Presence.running if served.state == "READY" else presence_of(phase_of(served))
    detail = f"Production serves {served.id}." if presence is Presence.running else described(served, phase_of(served))
    return errand.observed(presence, detail, served)


async def _absent(errand: Errand, project: Project | None) -> Observed:
    """To a token of the wrong scope everything is missing: only who sees the project may say that the deployment is gone."""
    if project is None:
        await errand.api.project()
    return errand.observed(Presence.absent, "Vercel has nothing of this deployment.")


def _towards_production(errand: Errand, found: Deployed, phase: Phase, project: Project) -> Observed:
    """A deployment for production: running only while production serves it; on its way as long as something moves it there."""
    if project.serves == found.id:
        return _serving(errand, found)
    if project.job is not None and project.job.is_open and project.job.to == found.id:
        return errand.observed(Presence.building, "Vercel is moving production's domains to it.", found)
    if phase is Phase.up:
        other = f"production serves {project.serves}" if project.serves else "production serves nothing"
        return errand.observed(Presence.exited, f"It is built, and {other}.", found)
    if phase is Phase.staged:
        return errand.observed(Presence.building, described(found, phase), found)
    return errand.observed(presence_of(phase), described(found, phase), found)


async def _at_domain(errand: Errand, found: Deployed, domain: str) -> Observed:
    leads = await errand.api.alias(domain)
    if leads == found.id:
        return errand.observed(Presence.running, f"{domain} leads to {found.id}.", found)
    other = f"leads to {leads}" if leads else "leads nowhere"
    return errand.observed(Presence.exited, f"It is built, and {domain} {other}.", found)
