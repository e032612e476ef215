"""Promote and scale: a release from elsewhere, and how often one runs."""

from pydantic import Field

from ops_mcp.answers import ChangeResult, planned, watched
from ops_mcp.deploying.place_plans import Source, healthy_origin, promote_plan, scale_plan
from ops_mcp.domain.places import Binding, EnvironmentName, ServiceName
from ops_mcp.domain.releases import Content, Deployment, Plan
from ops_mcp.errors import Conflict, InvalidArguments, NotFound, Unsupported
from ops_mcp.ports import Ops, Promotes, Provider, Scales
from ops_mcp.targets import CurrentArgs, asked_by, bound, place_of
from ops_mcp.tool import EnvironmentArg, change


class PromoteArgs(CurrentArgs):
    from_environment: EnvironmentArg


@change(
    toolset="places", title="Promote", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def promote(args: PromoteArgs, ops: Ops) -> Plan:
    """Deploy what serves healthy in `from_environment` to `environment`, without a new build where the place can."""
    origin_environment = _origin_environment(args, ops)
    binding, provider = bound(args.service, args.environment, ops)
    serving = await ops.deployments.serving(ServiceName(args.service), origin_environment)
    source = Source(origin_environment, serving)
    origin = healthy_origin(source, args.service)
    moves = origin.release.binding.provider == binding.provider and isinstance(provider, Promotes)
    if moves and origin.release.binding.options == binding.options:
        source = source._replace(as_built=True)
    else:
        content = await _known_here(origin, binding, provider)
        source = source._replace(content=content, as_built=moves and content.identity == origin.release.content.identity)
    asked = asked_by(args, ops, args.expected_current)
    return promote_plan(asked, source=source, binding=binding, place=await place_of(binding, ops))


class ScaleArgs(CurrentArgs):
    replicas: int = Field(ge=1, le=100)


@change(
    toolset="places", title="Scale", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def scale(args: ScaleArgs, ops: Ops) -> Plan:
    """Run what serves now as this many replicas, and verify it. Later deploys keep the number."""
    binding, provider = bound(args.service, args.environment, ops)
    if not isinstance(provider, Scales):
        raise Unsupported(
            f"{binding.provider} cannot scale a service.",
            hint="An operator changes its size in the binding or at the place itself, where that is possible.",
        )
    asked = asked_by(args, ops, args.expected_current)
    return scale_plan(asked, replicas=args.replicas, binding=binding, place=await place_of(binding, ops))


def _origin_environment(args: PromoteArgs, ops: Ops) -> EnvironmentName:
    """The gate has judged the target; what comes out of the other environment must be open to this caller as well."""
    if args.from_environment == args.environment:
        raise InvalidArguments(
            "from_environment is environment.",
            hint="Name the one it comes from; `restart` and `deploy` renew a release in its own.",
            details={"fields": ["from_environment"]},
        )
    if args.from_environment not in ops.visible():
        raise NotFound(
            "There is no such from_environment that you may see.", hint=f"Environments you may see: {', '.join(ops.visible())}."
        )
    return EnvironmentName(args.from_environment)


async def _known_here(origin: Deployment, binding: Binding, provider: Provider) -> Content:
    """What the other environment runs, as this place finds it again by its identity, or by the name that it was deployed by.

    Asked also where it is taken over as it was built: what an operator keeps `deploy` from giving a place, this does not give it.
    """
    content = origin.release.content
    try:
        found = await provider.resolve(binding, content.identity)
    except (InvalidArguments, NotFound) as error:
        if await _is_named_here(content, binding, provider):
            return content
        raise Conflict(
            f"{binding.service} in {binding.environment} cannot be given what {origin.id} runs: {error.message}",
            hint=f"`deploy` to {binding.environment} a ref that its own source has.",
        ) from error
    return content if found.identity == content.identity else found


async def _is_named_here(content: Content, binding: Binding, provider: Provider) -> bool:
    """Some places allow only names, such as the tags of an image."""
    if content.ref in ("", content.identity):
        return False
    try:
        return (await provider.resolve(binding, content.ref)).identity == content.identity
    except (InvalidArguments, NotFound):
        return False
