"""Moving domains from one deployment to another: promotion, rollback, aliases; each followed to its end.

Vercel answers a promotion or rollback before it happens; what comes of it stands in the project's last alias request. Nothing is
built here.
"""

from ops_mcp.errors import DeadlineExceeded, OpsError, ProviderError
from ops_mcp.ports import Tell
from ops_mcp.providers.vercel.answers import Deployed, Job, Project
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.states import UNBUILT, Phase, phase_of
from ops_mcp.providers.vercel.waiting import Pauses, Term

MOVE_SECONDS = 180.0
"""As long as Vercel's own CLI follows a promotion or a rollback."""
_BUSY_PAUSE = 2.0
_NO_JOB = -1.0


async def go_live(errand: Errand, found: Deployed, tell: Tell) -> str:
    """Put what was built where the binding's target serves from; what was done, in words."""
    phase, options = phase_of(found), errand.options
    if options.staged:
        if phase is not Phase.staged:
            raise ProviderError(
                "It is not staged: Vercel put it on production's domains by itself.",
                hint="Switch off automatic assignment of production domains in the project's settings; roll back at Vercel.",
            )
        return "STAGED: built for production, and on none of its domains; `promote` puts it there."
    if options.goes_live:
        if phase is Phase.staged:
            await tell("It is built and STAGED; promoting it.")
            return await bring(errand, found, tell, promote=True)
        await tell("It is built; waiting until production serves it.")
        seconds = MOVE_SECONDS if phase is not Phase.rolling else options.build_minutes * 60
        await _followed(errand, found.id, before=_NO_JOB, term=errand.wait.term(seconds))
        return f"Production serves {found.id}."
    return await point_domain(errand, found)


async def bring(errand: Errand, found: Deployed, tell: Tell, *, promote: bool, even_so: bool = False) -> str:
    """Have production serve a deployment that is built. Going back is a rollback, going forward a promotion.

    `even_so` asks for it though production serves it already: another one is being rolled out by stages.
    """
    term = errand.wait.term(MOVE_SECONDS)
    project = await _settled(errand, found.id, term)
    job = project.job
    if project.serves == found.id and not even_so and not (job and job.is_open):
        return f"Production serves {found.id} already; nothing was moved."
    if job is not None and job.is_open:
        await tell("Vercel is moving production to it already.")
        await _followed(errand, found.id, before=_NO_JOB, term=term)
        return f"Production serves {found.id}."
    forward = promote or (project.production is not None and project.production.created < found.created)
    if not forward and not even_so:
        await _refuse_non_candidate(errand, project, found)
    before = job.at if job is not None else _NO_JOB
    if await _requested(errand, project, found.id, term, forward=forward, before=before):
        await tell("Vercel put the promotion behind a rolling release that is under way; it follows once that is over.")
        term = errand.wait.term(errand.options.build_minutes * 60)
    else:
        await tell("Vercel is moving production's domains.")
        term = errand.wait.term(errand.options.build_minutes * 60 if forward and project.rolls else MOVE_SECONDS)
    await _followed(errand, found.id, before=before, term=term)
    return _promoted(found.id) if forward else _rolled_back(found.id)


async def point_domain(errand: Errand, found: Deployed) -> str:
    """Lead the binding's domain to a deployment that is not production's; without one it has its own address anyway."""
    domain, wait = errand.options.domain, errand.wait
    if domain is None:
        return f"{found.id} is at its own address; no domain was moved, and variables are those it was built with."
    if await wait.out(lambda: errand.api.alias(domain)) == found.id:
        return f"{domain} leads to {found.id}."
    await wait.out(lambda: errand.api.assign(found.id, domain))
    return f"{domain} was led to {found.id}, which has the variables that it was built with."


async def withdraw(errand: Errand) -> bool:
    """See to it that what is on its way never goes live. Whether it is being rolled out by stages, which only a rollback ends."""
    found = await errand.located()
    if found is None or errand.is_anothers(found):
        return False
    phase = phase_of(found)
    if phase in (*UNBUILT, Phase.unknown):
        if await errand.wait.out(lambda: errand.api.cancel(found.id)):
            return False
        later = await errand.present(found.id)
        phase = phase_of(later) if later is not None else Phase.deleted
    if phase in (Phase.checking, Phase.assigning) and errand.options.goes_live:
        if not await errand.wait.out(lambda: errand.api.cancel(found.id)) and errand.owns(found):
            await errand.wait.out(lambda: errand.api.delete(found.id))
        return False
    return phase is Phase.rolling


async def _settled(errand: Errand, id: str, term: Term) -> Project:
    """The project once no other promotion or rollback is under way in it."""
    while True:
        project = await term.out(errand.api.project)
        if project.job is None or not project.job.is_open or project.job.to == id:
            return project
        if term.is_over:
            raise errand.overdue("Another promotion or rollback of the project did not end in time.")
        await term.pace()


async def _requested(errand: Errand, project: Project, id: str, term: Term, *, forward: bool, before: float) -> bool:
    """Ask for the move once; whether it was put behind a rolling release. A request without an answer is looked up first."""
    pauses = Pauses(errand.wait)
    while True:
        try:
            if forward:
                return await errand.api.promote(project.id, id)
            await errand.api.roll_back(project.id, id)
            return False
        except ProviderError as error:
            if error.details.get("http_status") == 409 and not term.is_over:
                await errand.wait.sleep(_BUSY_PAUSE)
            else:
                await pauses.after(error)
        job = (await term.out(errand.api.project)).job
        if job is not None and job.to == id and job.at != before:
            return False


async def _followed(errand: Errand, id: str, *, before: float, term: Term) -> None:
    """Until production serves it. A request as old as `before` says nothing; a status that is not known is not the end."""
    ours = False
    while True:
        project = await term.out(errand.api.project)
        job = project.job if project.job is not None and project.job.at != before else None
        if job is not None and job.to == id:
            ours = True
            await _refuse_failed(errand, project, job)
        elif job is not None and ours:
            raise ProviderError("Another promotion or rollback took over.", hint="Look at the project at Vercel, then try again.")
        if project.serves == id and not (job is not None and job.is_open):
            return
        if term.is_over:
            raise _unserved(errand, project, term)
        await term.pace()


async def _refuse_failed(errand: Errand, project: Project, job: Job) -> None:
    if job.status == "skipped" and project.serves != job.to:
        raise ProviderError(f"Vercel skipped the {_kind(job)}.", hint="Something newer may have gone live; look at the project.")
    if job.status != "failed":
        return
    try:
        many = f" {await errand.api.failed_aliases(project.id)} of its domains could not be moved."
    except OpsError:
        many = ""
    raise ProviderError(
        f"The {_kind(job)} failed at Vercel.{many}",
        hint="Look at the project's domains at Vercel; production is as it was, or in part.",
    )


async def _refuse_non_candidate(errand: Errand, project: Project, found: Deployed) -> None:
    async def is_candidate() -> bool:
        candidates = errand.api.deployments(project.id, since=found.created - 1, rollbackCandidate="true")
        return any([item.id == found.id async for item in candidates])

    if not await errand.wait.out(is_candidate):
        raise ProviderError(
            f"{found.id} is no rollback candidate: Vercel goes back only to what once served production and is still kept.",
            hint="Deploy its commit again, or go back to another deployment. On Hobby only the one before is a candidate.",
        )


def _unserved(errand: Errand, project: Project, term: Term) -> DeadlineExceeded:
    passed = (errand.wait.clock() - term.began).total_seconds()
    other = f" Production serves {project.serves}." if project.serves else ""
    return errand.overdue(f"Production did not serve it within {passed:.0f} s.{other}")


def _promoted(id: str) -> str:
    return f"Production serves {id}, promoted without a new build, with the variables that it was built with."


def _rolled_back(id: str) -> str:
    return (
        f"Production serves the earlier build {id} again, with the variables that it was built with and its cron jobs."
        " Until something is promoted, Vercel puts no push live by itself."
    )


def _kind(job: Job) -> str:
    return "rollback" if job.kind == "rollback" else "promotion"
