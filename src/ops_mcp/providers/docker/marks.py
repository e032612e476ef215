"""How our containers are told from all others: their labels and names. Containers without them are never touched."""

import re
from collections.abc import Mapping

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Placement
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Value

PREFIX = "dev.ops-mcp."
_ID = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")


class Marks(Value):
    """What a container of ours says of itself. `group` is the deployment that its set of replicas began with.

    `port` is the one that the service answers on; `declared` what a compose file said when it was made, for going back to it.
    """

    deployment: str
    group: str
    replica: int
    service: str
    environment: str
    installation: str = ""
    release: str = ""
    port: str = ""
    declared: str = ""

    @property
    def labels(self) -> dict[str, str]:
        found = {PREFIX + name: str(value) for name, value in dict(self).items()}
        return {name: value for name, value in found.items() if value}

    @property
    def container(self) -> str:
        """The container's name: one per replica of a group, so that creating it twice is refused by the engine."""
        return f"ops-mcp-{self.service}-{self.environment}-{self.group}-{self.replica}"


def marks_of(labels: Mapping[str, str]) -> Marks | None:
    """None for a container that is not ours."""
    given = {name.removeprefix(PREFIX): value for name, value in labels.items() if name.startswith(PREFIX)}
    known = {name: given[name] for name in Marks.model_fields if name in given}
    if not {"deployment", "group", "replica", "service", "environment"} <= known.keys() or not known["replica"].isdigit():
        return None
    return Marks.model_validate(known)


def marks_for(placement: Placement, *, group: str, replica: int, installation: str, port: str = "", declared: str = "") -> Marks:
    binding = placement.release.binding
    return Marks(
        deployment=placement.deployment,
        group=group,
        replica=replica,
        service=binding.service,
        environment=binding.environment,
        installation=installation,
        release=placement.release.digest,
        port=port,
        declared=declared,
    )


def group_of(placement: Placement) -> str:
    """The set of containers that a deployment runs in: its own, or the one that it took over (`handle`)."""
    return plain_id(placement.handle or placement.deployment)


def plain_id(group: str) -> str:
    """Ids become names of containers, so odd ones are refused."""
    if not _ID.fullmatch(group):
        raise InvalidArguments("That is not a deployment id.", hint="Use an id from `deployments`.")
    return group


def group_labels(group: str) -> tuple[str, ...]:
    """The labels by which the containers of a group are asked for."""
    return (f"{PREFIX}group={group}",)


def place_labels(binding: Binding, installation: str) -> tuple[str, ...]:
    """Those of one service in one environment, made by one installation: another one's are not ours to clear away."""
    named = {"service": binding.service, "environment": binding.environment, "installation": installation}
    return tuple(f"{PREFIX}{name}={value}" for name, value in named.items())
