"""Clearing away what is no longer needed to go back: ended containers beyond the policy, and the images built for them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from urllib.parse import quote

from ops_mcp.errors import Conflict, NotFound
from ops_mcp.providers.docker import containers, images
from ops_mcp.providers.docker.answers import Listed
from ops_mcp.providers.docker.builds import REPOSITORY
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.ground import Ground
from ops_mcp.providers.docker.marks import marks_of, place_labels

_AT_WORK = ("running", "paused", "restarting")


async def tidy(ground: Ground, *, keep: Collection[str]) -> None:
    """Remove the oldest ended groups of this service and environment beyond `keep_containers`; never one in `keep`."""
    listed = await containers.of_labels(ground.engine, place_labels(ground.binding, ground.installation))
    for group in surplus(listed, keep=keep, most=ground.options.keep_containers):
        for container in group:
            await containers.remove_by_id(ground.engine, container.id)
        for image in {container.image_id for container in group}:
            await _remove_built(ground.engine, image)


def surplus(listed: Sequence[Listed], *, keep: Collection[str], most: int) -> Sequence[Sequence[Listed]]:
    """Which groups go: the newest `most` ended ones stay, and whatever has a container at work."""
    groups: defaultdict[str, list[Listed]] = defaultdict(list)
    for container in listed:
        marks = marks_of(container.labels)
        if marks is not None:
            groups[marks.group].append(container)
    idle = [group for group in groups.values() if not any(container.state in _AT_WORK for container in group)]
    newest_first = sorted(idle, key=lambda group: max(container.created for container in group), reverse=True)
    return [group for group in newest_first[most:] if _name(group) not in keep]


async def _remove_built(engine: EngineApi, identity: str) -> None:
    """Only what we built, and only if nothing is made of it any more: the engine refuses the rest."""
    image = await images.find(engine, identity) if identity else None
    for tag in image.tags if image is not None else ():
        if not tag.startswith(f"{REPOSITORY}:"):
            continue
        try:
            await engine.ask("DELETE", f"/images/{quote(tag, safe='/:@')}", doing="the removal of an image", seconds=60.0)
        except (Conflict, NotFound):
            continue


def _name(group: Sequence[Listed]) -> str:
    marks = marks_of(group[0].labels)
    return marks.group if marks is not None else ""
