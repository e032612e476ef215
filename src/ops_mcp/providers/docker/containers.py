"""Our containers on one engine: found by their labels, made, started, ended, removed. No other is ever touched."""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

from ops_mcp.errors import Conflict, NotFound, ProviderError
from ops_mcp.ports import Sleep
from ops_mcp.providers.docker.answers import Container, Created, Listed, read, read_all
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.marks import Marks, group_labels, marks_of
from ops_mcp.values import JsonObject

_STOP_MARGIN_SECONDS = 30.0
_START_SECONDS = 120.0
_LOOK_EVERY_SECONDS, _MOST_LOOKS = 0.1, 100


class Ours(NamedTuple):
    """A container with our labels. Whatever changes one takes this, and only `of_group` and `created` make it."""

    container: Container
    marks: Marks

    @property
    def replica(self) -> int:
        return self.marks.replica


async def of_labels(engine: EngineApi, labels: Sequence[str]) -> tuple[Listed, ...]:
    """What the engine lists with all of these labels, running or not."""
    filters = json.dumps({"label": [*labels]})
    found = await engine.ask(
        "GET", "/containers/json", doing="the list of containers", params={"all": "true", "filters": filters}
    )
    return read_all(Listed, found.body, doing="the list of containers")


async def of_group(engine: EngineApi, group: str) -> tuple[Ours, ...]:
    """The containers of a group, inspected, first replica first. One that vanishes meanwhile is left out."""
    found = [await _looked_at(engine, listed.id) for listed in await of_labels(engine, group_labels(group))]
    return tuple(sorted((ours for ours in found if ours is not None), key=lambda ours: ours.replica))


async def create(engine: EngineApi, marks: Marks, body: JsonObject, *, hide: Collection[str], sleep: Sleep) -> Ours:
    """Make it; the one that is there under its name already will do, if it is ours.

    A create that got no answer may have been carried out: its name tells, whenever it is asked for again. The name is taken a
    moment before the container can be seen, so that one that another caller is just making is waited for.
    """
    try:
        answer = await engine.ask(
            "POST", "/containers/create", doing="a new container", params={"name": marks.container}, body=body, hide=hide
        )
    except Conflict:
        for _ in range(_MOST_LOOKS):
            there = await _inspected(engine, marks.container)
            if there is not None:
                made = _as_ours(there)
                if made is not None and (made.marks.group, made.replica) == (marks.group, marks.replica):
                    return made
                raise
            await sleep(_LOOK_EVERY_SECONDS)
        raise
    identity = read(Created, answer.body, doing="a new container").id
    made = await _looked_at(engine, identity)
    if made is None:
        raise ProviderError("The new container was removed by somebody.", hint="See who else uses the engine.", temporary=True)
    return made


async def start(engine: EngineApi, ours: Ours, *, hide: Collection[str]) -> None:
    """Start it; 304 says that it runs already."""
    await engine.ask("POST", f"/containers/{ours.container.id}/start", doing="its start", seconds=_START_SECONDS, hide=hide)


async def stop(engine: EngineApi, ours: Ours, *, seconds: int) -> None:
    """TERM, grace, KILL. One that never ran is removed, so that no start which was asked for before can still be carried out."""
    if not ours.container.was_started:
        await remove(engine, ours)
        if await _looked_at(engine, ours.container.id) is None:
            return
    if ours.container.state.status == "paused":
        with suppress(Conflict):  # somebody was faster
            await _unless_gone(engine, "POST", f"/containers/{ours.container.id}/unpause", doing="going on")
    margin = seconds + _STOP_MARGIN_SECONDS
    await _unless_gone(
        engine, "POST", f"/containers/{ours.container.id}/stop", doing="its end", params={"t": seconds}, seconds=margin
    )


async def restart(engine: EngineApi, ours: Ours, *, seconds: int) -> None:
    margin = seconds + _START_SECONDS
    await engine.ask(
        "POST", f"/containers/{ours.container.id}/restart", doing="its restart", params={"t": seconds}, seconds=margin
    )


async def remove(engine: EngineApi, ours: Ours) -> None:
    """Remove a container that does not run, with its own anonymous volumes. One that runs is left: 409."""
    await remove_by_id(engine, ours.container.id)


async def remove_by_id(engine: EngineApi, identity: str) -> None:
    try:
        await _unless_gone(engine, "DELETE", f"/containers/{identity}", doing="its removal", params={"v": "true"}, seconds=60.0)
    except Conflict:
        return  # it runs, or is being removed already


async def join(engine: EngineApi, ours: Ours, network: str, endpoint: JsonObject) -> None:
    """Put it on one more network, unless it is there."""
    if network in ours.container.networking.networks:
        return
    await engine.ask(
        "POST",
        f"/networks/{quote(network, safe='')}/connect",
        doing=f"the network {network}",
        body={"Container": ours.container.id, "EndpointConfig": endpoint},
    )


async def _looked_at(engine: EngineApi, identity: str) -> Ours | None:
    """None for what is gone, and for what is not ours."""
    container = await _inspected(engine, identity)
    return _as_ours(container) if container is not None else None


async def _inspected(engine: EngineApi, identity: str) -> Container | None:
    try:
        found = await engine.ask("GET", f"/containers/{quote(identity, safe='')}/json", doing="a container")
    except NotFound:
        return None
    return read(Container, found.body, doing="a container")


def _as_ours(container: Container) -> Ours | None:
    marks = marks_of(container.config.labels)
    return Ours(container, marks) if marks is not None else None


async def _unless_gone(
    engine: EngineApi, method: str, path: str, *, doing: str, params: dict[str, str | int] | None = None, seconds: float = 30.0
) -> None:
    try:
        await engine.ask(method, path, doing=doing, params=params, seconds=seconds)
    except NotFound:
        return
