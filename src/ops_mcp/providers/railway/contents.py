"""What exactly is deployed: a commit of the service's repository, or the image that the service is set to."""

import re
from dataclasses import dataclass
from pathlib import Path

from ops_mcp.domain.releases import Content, Placement
from ops_mcp.errors import Conflict, InvalidArguments, NotConfigured
from ops_mcp.providers._mirror import Mirror, mirror_path
from ops_mcp.providers.railway.answers import Source, parsed
from ops_mcp.providers.railway.documents import SOURCE
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.values import JsonObject

_COMMIT = re.compile(r"^[0-9a-f]{40}$")


@dataclass(frozen=True, slots=True)
class Repositories:
    """Where our own mirrors lie, and which refs may be deployed."""

    directory: Path
    allowed_refs: tuple[str, ...]
    seconds: float = 40.0

    def mirror(self, url: str) -> Mirror:
        return Mirror(path=mirror_path(self.directory, url), url=url, allowed_refs=self.allowed_refs, seconds=self.seconds)


async def resolved(opened: Opened, ref: str | None, repositories: Repositories) -> Content:
    """The exact content behind a ref. Railway itself is not asked for refs: it tells none."""
    if opened.options.image:
        if ref:
            raise InvalidArguments("This service's source is an image, which has no refs.", hint="Leave ref out.")
        return Content(identity=await image_of(opened))
    if opened.options.repository is not None:
        return await repositories.mirror(opened.options.repository).resolve(ref)
    if ref is None or not _COMMIT.fullmatch(ref):
        raise InvalidArguments(
            "ref must be a full commit id here: the binding names no repository to look refs up in.",
            hint="Give the commit's 40 hexadecimal digits, or have an operator set options.repository.",
        )
    return Content(identity=ref, ref=ref)


async def refuse_changed_image(opened: Opened, placement: Placement) -> None:
    """A service set to an image deploys whatever it is set to; it must still be what was planned."""
    if not opened.options.image or placement.handle:
        return
    if await image_of(opened) != placement.release.content.identity:
        raise Conflict("The service was set to another image since this was planned.", hint="Plan again.")


async def image_of(opened: Opened) -> str:
    variables: JsonObject = {"environment": opened.options.environment_id, "service": opened.options.service_id}
    data = await opened.ask(SOURCE, variables)
    instance = data.get("serviceInstance")
    told = instance.get("source") if isinstance(instance, dict) else None
    image = parsed(Source, told).image if told else None
    if not image:
        raise NotConfigured(
            "The service at Railway is not set to an image.", hint="Set options.image to false, or its source there."
        )
    return image
