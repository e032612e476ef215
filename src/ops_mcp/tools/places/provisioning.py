"""Provision: a database or an empty service beside one that is bound."""

from typing import Literal

from pydantic import Field

from ops_mcp.answers import ChangeResult, planned, watched
from ops_mcp.deploying.place_plans import provision_plan
from ops_mcp.domain.identity import Effect
from ops_mcp.domain.places import NAME_PATTERN
from ops_mcp.domain.releases import Plan, Provision
from ops_mcp.errors import Unsupported
from ops_mcp.ports import Ops, Provisions
from ops_mcp.targets import PlaceArgs, asked_by, bound, place_of
from ops_mcp.tool import change


class ProvisionArgs(PlaceArgs):
    template: Literal["postgres", "mysql", "redis", "mongo", "empty"]
    name: str = Field(pattern=NAME_PATTERN)


@change(
    toolset="places", title="Provision", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True, effect=Effect.destroy,
)  # fmt: skip
async def provision(args: ProvisionArgs, ops: Ops) -> Plan:
    """Make a database or an empty service beside a service, unless one of that name exists. Only a person can remove it."""
    binding, provider = bound(args.service, args.environment, ops)
    if not isinstance(provider, Provisions):
        raise Unsupported(
            f"{binding.provider} provisions nothing.",
            hint="A person makes it by hand, and gives the service its address as a secret.",
        )
    wanted = Provision(template=args.template, name=args.name)
    return provision_plan(asked_by(args, ops), wanted=wanted, binding=binding, place=await place_of(binding, ops))
