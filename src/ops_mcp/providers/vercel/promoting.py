"""Promotion from another environment: which deployment at Vercel it comes to. Moving and following it is done elsewhere."""

from typing import NamedTuple

from ops_mcp.domain.releases import Placement
from ops_mcp.errors import NotFound
from ops_mcp.ports import Tell
from ops_mcp.providers.vercel import building
from ops_mcp.providers.vercel.answers import Deployed, Project
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.options import PRODUCTION
from ops_mcp.providers.vercel.states import BUILT, Phase, phase_of


class Chosen(NamedTuple):
    """What is brought live; `as_it_is` where it is the origin's own build, which only has to be moved."""

    deployed: Deployed
    as_it_is: bool


async def chosen(errand: Errand, origin: Placement, tell: Tell) -> Chosen:
    """The origin's own build, where it was made for production in the same project; else a new one.

    Vercel refuses to promote a preview as it is: it has the variables of previews. Of another project, the commit is built.
    """
    project = await errand.wait.out(errand.api.project)
    found = await errand.located()
    if found is not None:
        return Chosen(found, as_it_is=errand.is_anothers(found))
    source = await _source(errand, origin, project)
    if source is None:
        return Chosen(await building.made(errand, project, None, tell), as_it_is=False)
    if errand.options.goes_live and source.target == PRODUCTION and phase_of(source) in (Phase.staged, Phase.up):
        await tell(f"Promoting {source.id} as it is.", handle=source.id)
        return Chosen(source, as_it_is=True)
    await tell(f"{source.id} is built again for {errand.options.target}.")
    return Chosen(await building.made(errand, project, {"deploymentId": source.id}, tell), as_it_is=False)


async def _source(errand: Errand, origin: Placement, project: Project) -> Deployed | None:
    """What `origin` runs, if it is in this project and can be seen with this environment's token."""
    found = await errand.for_(origin).located()
    if found is not None and found.project == project.id:
        if phase_of(found) in BUILT:
            return found
        raise NotFound("What is to be promoted is not built at Vercel.", hint="Deploy it where it comes from first.")
    if errand.placement.release.content.identity.startswith("dpl_"):
        raise NotFound(
            "What is to be promoted is in another project, and only a commit can be built there.",
            hint="Deploy the commit by name in this environment.",
        )
    return None
