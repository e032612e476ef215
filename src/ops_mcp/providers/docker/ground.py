"""What one binding comes to on its engine: where it runs, how a container of it is declared, and what its image is made from."""

import posixpath
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Release
from ops_mcp.errors import Conflict, NotConfigured, ProviderError
from ops_mcp.providers.docker import compose
from ops_mcp.providers.docker.builds import Recipe, image_name
from ops_mcp.providers.docker.compose import Composed
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.declared import Declared
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.options import Options, build_digest
from ops_mcp.providers.docker.settings import Endpoint, Settings

_WITH_COMPOSE = ".compose-"
_COMPOSE_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Ground:
    """One binding on its engine. `installation` tells our containers from those of another ops-mcp on the same engine."""

    binding: Binding
    options: Options
    settings: Settings
    endpoint: Endpoint
    engine: EngineApi
    installation: str

    def replicas(self, release: Release) -> int:
        return release.replicas if release.replicas is not None else self.options.replicas


class Making(NamedTuple):
    """What a release is made of: either an image of `repository` with the digest `identity`, or what `recipe` builds.

    `kept` is what containers carry so that going back does not depend on a file that has changed since.
    """

    declared: Declared
    identity: str
    repository: str | None = None
    recipe: Recipe | None = None
    kept: str = ""


async def composed_of(options: Options) -> Composed | None:
    if options.compose_file is None or options.compose_service is None:
        return None
    found = await compose.read(options.compose_file, options.compose_service, program=shutil.which("docker"))
    if found.image is None and options.source is None:
        raise NotConfigured(
            "The service of the compose file is built, and the binding names no source.",
            hint="Set options.source to the git repository in whose root the compose file is.",
        )
    return found


def builds(options: Options, composed: Composed | None) -> bool:
    """Whether the image is built here rather than pulled."""
    return options.source is not None and (composed is None or composed.context is not None)


def identity_of(content: str, composed: Composed | None) -> str:
    """The content's identity, and with it that of what the compose file says: a plan is bound to both."""
    if composed is None:
        return content
    return f"{content}{_WITH_COMPOSE}{_short(composed)}"


async def making(ground: Ground, release: Release, *, kept: Sequence[Ours] = (), going_back: bool = False) -> Making:
    """What the release comes to. `kept` are containers that were made of it before: what they carry goes before the file.

    Raises where nothing is kept and the compose file has changed since the release was planned.
    """
    identity, _, planned = release.content.identity.partition(_WITH_COMPOSE)
    if ground.options.compose_file is None:
        declared = ground.options.declared.with_env(ground.binding.env)
        return _making(ground, declared, identity, ground.options.image, ground.options.context, ground.options.dockerfile)
    said = _carried(kept)
    if said is None:
        said = await composed_of(ground.options)
        if said is None or _short(said) != planned:
            raise _changed(going_back=going_back)
    own = ground.options.declared
    beside = {name: getattr(own, name) for name in ("replicas", "stop_seconds", "keep_containers", "mounts", "user", "read_only")}
    declared = said.declared.evolve(**beside).with_env(ground.binding.env)
    context = posixpath.normpath(posixpath.join(ground.options.context, said.context or ""))
    repository = said.image if not builds(ground.options, said) else None
    made = _making(ground, declared, identity, repository, "" if context == "." else context, said.dockerfile)
    return made._replace(kept=said.model_dump_json(exclude_defaults=True))


def _making(ground: Ground, declared: Declared, identity: str, repository: str | None, context: str, dockerfile: str) -> Making:
    if repository is not None:
        return Making(declared=declared, identity=identity, repository=repository)
    build = build_digest(ground.options, context=context, dockerfile=dockerfile)
    name = image_name(ground.binding.service, identity, build)
    return Making(declared=declared, identity=identity, recipe=Recipe(identity, context, dockerfile, name))


def _carried(kept: Sequence[Ours]) -> Composed | None:
    for ours in kept:
        try:
            return Composed.model_validate_json(ours.marks.declared)
        except ValidationError:
            continue
    return None


def _short(composed: Composed) -> str:
    return composed.digest.removeprefix("sha256:")[:_COMPOSE_DIGITS]


def _changed(*, going_back: bool) -> Conflict | ProviderError:
    if going_back:
        return ProviderError(
            "The compose file has changed since that release, and no container of it is kept that says how it was.",
            hint="Deploy the version again with the file as it is now.",
        )
    return Conflict("The compose file changed after the release was planned.", hint="Plan again.")
