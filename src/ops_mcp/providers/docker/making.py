"""Where the image of a release comes from: the engine has it, a registry has it, or it is built from a commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops_mcp.errors import NotConfigured, OpsError, ProviderError
from ops_mcp.ports import ReadSecret, Tell
from ops_mcp.providers._mirror import Mirror, mirror_of
from ops_mcp.providers.docker import builds, images
from ops_mcp.providers.docker.ground import Ground, Making
from ops_mcp.providers.docker.settings import Registry
from ops_mcp.providers.docker.troubles import EngineAway


@dataclass(frozen=True, slots=True)
class Sources:
    """Our mirrors of repositories, and the logins of registries."""

    state_dir: Path
    allowed_refs: tuple[str, ...]
    build_network: bool
    credentials: Mapping[str, Registry]
    secret: ReadSecret

    def mirror(self, ground: Ground) -> Mirror:
        source = ground.options.repository
        if source is None:
            raise NotConfigured("The binding names no source.", hint="Set options.source to a git repository.")
        allowed = ground.options.allowed_refs if ground.options.allowed_refs is not None else self.allowed_refs
        return mirror_of(source, state_dir=self.state_dir, allowed_refs=allowed)

    def login(self, registry: str) -> dict[str, str]:
        return images.login(self.credentials, registry, self.secret)

    async def image(self, ground: Ground, making: Making, tell: Tell) -> str:
        """The id of the release's image, pulled or built unless the engine has it. What serves is not touched."""
        if making.repository is not None:
            headers = self.login(images.Reference(making.repository, making.identity).registry)
            return await images.ensured(ground.engine, making.repository, making.identity, headers=headers, tell=tell)
        assert making.recipe is not None
        found = await images.find(ground.engine, making.recipe.name)
        if found is None:
            await builds.build(
                ground.engine,
                self.mirror(ground),
                making.recipe,
                seconds=ground.options.build_seconds,
                network=self.build_network,
                headers=images.logins(self.credentials, self.secret),
                tell=tell,
            )
            found = await images.find(ground.engine, making.recipe.name)
        if found is None:
            raise ProviderError("The build ended, and the engine has no image of it.", hint="Look at the engine's images.")
        return found.id

    async def kept_image(self, ground: Ground, making: Making, tell: Tell) -> str:
        """The same for going back: pulled by its digest if need be, never built."""
        if making.recipe is None:
            try:
                return await self.image(ground, making, tell)
            except EngineAway:
                raise
            except OpsError as error:
                raise _no_longer_kept() from error
        found = await images.find(ground.engine, making.recipe.name)
        if found is None:
            raise _no_longer_kept()
        return found.id


def _no_longer_kept() -> ProviderError:
    return ProviderError(
        "The image of that release is no longer kept on the engine, and going back builds nothing.",
        hint="Deploy its version again, or go back to a newer one; keep_containers in the binding says how many are kept.",
    )
