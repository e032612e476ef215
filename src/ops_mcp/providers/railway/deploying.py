"""A release by its commit: begun once, found again after a kill, and followed until it is live or will not be."""

from datetime import timedelta

from ops_mcp.domain.releases import Placement, Usage
from ops_mcp.errors import OpsError, ProviderError
from ops_mcp.governance.redaction import plain
from ops_mcp.ports import Tell
from ops_mcp.providers.railway.answers import Deployed, Step, nodes
from ops_mcp.providers.railway.documents import DEPLOY, STEPS
from ops_mcp.providers.railway.following import follow, settled
from ops_mcp.providers.railway.line import Line
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.providers.railway.phases import Phase, phase_of
from ops_mcp.providers.railway.seeking import once, sought, the_one
from ops_mcp.values import JsonObject

BUILD_STEPS = frozenset({"SNAPSHOT_CODE", "BUILD_IMAGE", "PUBLISH_IMAGE"})


async def deployed(opened: Opened, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Deployed:
    """The deployment, live or ended by itself. Raises for one that will not be, saying in which step it ended."""
    handle = placement.handle or await _begun(opened, placement, replaces, tell)
    return await followed(opened, handle, tell=tell)


async def followed(opened: Opened, handle: str, *, tell: Tell) -> Deployed:
    """The same for one that was begun."""

    async def say(found: Deployed) -> None:
        await tell(f"at Railway: {plain(found.status, 40).lower()}")

    # Its time begins now: how long Railway put the request off says nothing about the build.
    until = opened.line.clock() + timedelta(minutes=opened.options.deploy_minutes)
    found = await follow(opened.line, handle, ends=settled, say=say, until=until, subscribe=opened.subscribe)
    refuse_unless_up(found, await steps_of(opened.line, handle) if phase_of(found) is Phase.failed else ())
    return found


async def steps_of(line: Line, handle: str) -> tuple[Step, ...]:
    """What Railway says it did. Nothing depends on it, so that it is asked once, and no answer is no steps."""
    try:
        return nodes(Step, (await line.ask(STEPS, {"id": handle})).get("deploymentEvents"))
    except OpsError:
        return ()


def build_seconds(steps: tuple[Step, ...]) -> float:
    """How long was built, from the first such step's begin to the last one's end."""
    built = [step for step in steps if step.step in BUILD_STEPS]
    ends = [step.completed_at for step in built if step.completed_at]
    return max(0.0, (max(ends) - min(step.created_at for step in built)).total_seconds()) if ends else 0.0


def metered(line: Line, steps: tuple[Step, ...]) -> Usage:
    return Usage(requests=line.requests, build_seconds=build_seconds(steps))


def refuse_unless_up(found: Deployed, steps: tuple[Step, ...] = ()) -> None:
    """Raise for a deployment that does not come up."""
    at = next((step.step for step in reversed(steps) if step.completed_at is None), None)
    match phase_of(found):
        case Phase.live | Phase.asleep | Phase.ended:
            return
        case Phase.blocked:
            what, hint = "waits for an approval at Railway", "A person approves or rejects it there, then deploys again."
        case Phase.failed:
            what = "failed at Railway" + (f" in the step {at}" if at else "")
            hint = "Read its build and run logs with `logs_search`, mend the cause, and deploy again."
        case Phase.crashed:
            what, hint = "crashed after it was started", "Read its logs with `logs_search`, mend the cause, and deploy again."
        case Phase.skipped:
            what, hint = (
                "was skipped by Railway",
                "The service's watch patterns leave this commit out; an operator changes them there.",
            )
        case Phase.making | Phase.leaving | Phase.gone | Phase.unknown:
            what, hint = (
                "was removed at Railway before it was up",
                "Somebody or something else released there; look, then deploy again.",
            )
    raise ProviderError(f"The deployment {what}.", hint=hint, details={"railway_deployment": found.id})


async def _begun(opened: Opened, placement: Placement, replaces: Placement | None, tell: Tell) -> str:
    """Railway's id of it: of what an earlier attempt made, or of what is made now."""
    others = {replaces.handle} if replaces and replaces.handle else set[str]()
    line, content = opened.line, placement.release.content.identity
    told: set[str] = set()

    async def find() -> Deployed | None:
        return await the_one(lambda: sought(opened, placement, other_than=others), line)

    async def make() -> str | None:
        variables: JsonObject = {"environment": opened.options.environment_id, "service": opened.options.service_id}
        made = (await line.ask(DEPLOY, variables if opened.options.image else {**variables, "commit": content})).get(
            "serviceInstanceDeployV2"
        )
        if not isinstance(made, str) or not made:
            return None
        await tell("Railway takes the deployment", handle=made)
        told.add(made)
        return made

    if (there := await find()) is not None:
        await tell("Railway has the deployment already", handle=there.id)
        return there.id
    await tell("asking Railway for the deployment")
    made = await once(make, find, line, until=opened.until)
    if made not in told:
        await tell("Railway made the deployment, without saying so", handle=made)
    return made
