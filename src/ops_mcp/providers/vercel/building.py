"""Making a deployment once, and following its build to the end. Does not put it on production's domains; that is `moving`."""

import anyio

from ops_mcp.domain.releases import Placement
from ops_mcp.errors import NotConfigured, OpsError, ProviderError
from ops_mcp.ports import Tell
from ops_mcp.providers.vercel.answers import Deployed, Project
from ops_mcp.providers.vercel.errand import ENVIRONMENT, SERVICE, Errand, marks
from ops_mcp.providers.vercel.options import PREVIEW
from ops_mcp.providers.vercel.output import Output, tail
from ops_mcp.providers.vercel.sources import git_source
from ops_mcp.providers.vercel.states import UNDECIDED, Phase, described, failure, is_meant_for, phase_of
from ops_mcp.providers.vercel.waiting import Pauses
from ops_mcp.values import JsonObject

_LOOKS_AFTER_SILENCE, _BETWEEN_LOOKS = 3, 5.0
_MOST_REMOVED = 10


async def made(errand: Errand, project: Project, source: JsonObject | None, tell: Tell) -> Deployed:
    """The deployment at Vercel for this placement: the one that is there, or a new one. `source` None builds its content."""
    found = await errand.located()
    if found is None and errand.placement.handle:
        raise ProviderError(
            "The deployment was deleted at Vercel while it was on its way.",
            hint="Deploy again; nothing was made in its place.",
        )
    if found is None:
        _refuse_self_assigning(errand, project)
        found = await _create(errand, _body(errand, project, source), tell)
    elif not errand.placement.handle:
        await tell("Vercel has it already.", handle=found.id)
    await _refuse_other_target(errand, found)
    return found


async def built(errand: Errand, id: str, tell: Tell) -> Deployed:
    """Follow it until it is decided: up, staged or, for production, on its way by stages. Raises when it failed or was ended."""
    term, output = errand.wait.term(errand.options.build_minutes * 60), Output(errand, id)
    while True:
        found = await term.out(lambda: errand.api.deployment(id))
        if found is None:
            raise ProviderError("The deployment was deleted at Vercel during its build.", hint="Deploy again.")
        phase = phase_of(found)
        if phase is Phase.failed:
            raise await _failed(errand, found)
        if phase in (Phase.cancelled, Phase.deleted):
            raise ProviderError(described(found, phase), hint="Somebody ended it at Vercel, or an undo did. Deploy again.")
        if phase not in UNDECIDED or (phase is Phase.rolling and errand.options.goes_live):
            return found
        await tell(await output.told() if phase is Phase.building else described(found, phase))
        if term.is_over:
            raise errand.overdue(f"It was not ready within {errand.options.build_minutes:g} minutes: {described(found, phase)}")
        await term.pace()


async def prune(errand: Errand, keep: tuple[str, ...]) -> None:
    """Delete the oldest of our previews beyond the number that the binding keeps. What cannot be removed now stays a while."""
    most = errand.options.keep_previews
    if most is None:
        return
    try:
        ours = [item async for item in errand.api.deployments(errand.options.project) if _is_sibling(errand.placement, item)]
        for item in [item for item in ours[most:] if item.id not in keep][-_MOST_REMOVED:]:
            await errand.api.delete(item.id)
    except OpsError:
        return


def _body(errand: Errand, project: Project, source: JsonObject | None) -> JsonObject:
    options = errand.options
    body: JsonObject = {"name": project.name or options.project, "project": project.id, "meta": dict(marks(errand.placement))}
    if options.is_custom:
        body["customEnvironmentSlugOrId"] = options.target
    elif options.target != PREVIEW:
        body["target"] = options.target
    return body | (source if source is not None else content_source(errand, project))


def content_source(errand: Errand, project: Project) -> JsonObject:
    """What is built: a commit, or an existing deployment once more."""
    content = errand.placement.release.content
    if content.identity.startswith("dpl_"):
        return {"deploymentId": content.identity}
    return {"gitSource": git_source(errand.options, project, content)}


async def _create(errand: Errand, body: JsonObject, tell: Tell) -> Deployed:
    """Make it once: after a request without an answer it is looked for before it is made again.

    A 429 was turned away before anything was done; anything else may have been carried out, and shows up in the list soon.
    """
    pauses = Pauses(errand.wait)
    while True:
        try:
            return await _create_and_tell(errand, body, tell)
        except ProviderError as error:
            await pauses.after(error)
            if error.details.get("http_status") == 429:
                continue
            if (seen := await _seen_after_all(errand)) is not None:
                await tell("Vercel has queued it.", handle=seen.id)
                return seen


async def _create_and_tell(errand: Errand, body: JsonObject, tell: Tell) -> Deployed:
    """Not to be torn apart by a cancellation: there would be a deployment that nobody here knows of."""
    found: Deployed | None = None
    with anyio.CancelScope(shield=True):
        found = await errand.api.create(body)
        await tell("Vercel has queued it.", handle=found.id)
    assert found is not None
    return found


async def _seen_after_all(errand: Errand) -> Deployed | None:
    for _ in range(_LOOKS_AFTER_SILENCE):
        if (found := await errand.located()) is not None:
            return found
        await errand.wait.sleep(_BETWEEN_LOOKS)
    return None


async def _failed(errand: Errand, found: Deployed) -> ProviderError:
    what, hint = failure(found)
    last = await tail(errand, found)
    return ProviderError(what, hint=hint, details={"untrusted_output": [*last]} if last else {})


async def _refuse_other_target(errand: Errand, found: Deployed) -> None:
    """What Vercel took for another environment than the one named must not go on."""
    if is_meant_for(found, errand.options):
        return
    if not errand.is_anothers(found):
        await errand.wait.out(lambda: errand.api.cancel(found.id))
    raise ProviderError(
        f"Vercel took the deployment for another target than {errand.options.target}; it was cancelled.",
        hint="Look at the project's production branch and its custom environments, and at target in the binding.",
    )


def _refuse_self_assigning(errand: Errand, project: Project) -> None:
    if errand.options.staged and project.assigns_itself:
        raise NotConfigured(
            "With staged in the binding, a build must stay off production's domains, and this project assigns them by itself.",
            hint="Switch off automatic assignment of custom production domains in the project's settings at Vercel.",
        )


def _is_sibling(placement: Placement, item: Deployed) -> bool:
    mine = marks(placement)
    return all(item.meta.get(name) == mine[name] for name in (SERVICE, ENVIRONMENT))
