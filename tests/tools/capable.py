"""A place made of memory that can do all that a place may be able to do, and says what it was asked; and a house with it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ops_mcp.app import World
from ops_mcp.domain.observations import LogLine, LogQuery, Variable
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, Observed, Placement, Presence, Provision, SetVariable, Usage
from ops_mcp.errors import NotFound
from ops_mcp.logs.matching import matches
from ops_mcp.ports import Page, Provider, Tell
from tests.house import House, MemoryPlace, house


@dataclass
class CapablePlace(MemoryPlace):
    """Its `lines` are oldest first. A cursor is how many of them are older than what was told, so new lines change nothing."""

    lines: list[LogLine] = field(default_factory=list[LogLine])
    kept: list[Variable] = field(default_factory=list[Variable])

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        self.asked.append(f"resolve {ref}")
        identity = self.refs.get(ref or "main") or (ref if ref in self.refs.values() else None)
        if identity is None:
            raise NotFound("There is no such ref.", hint="Refs: main, next.")
        return Content(identity=identity, ref=ref or "main", summary="A commit")

    async def promote(self, placement: Placement, *, origin: Placement, replaces: Placement | None, tell: Tell) -> Observed:
        return Observed(deployment=placement.deployment, presence=Presence.running)

    async def scale(self, placement: Placement, *, restores: Placement, tell: Tell) -> Observed:
        return Observed(deployment=placement.deployment, presence=Presence.running)

    async def logs(self, placement: Placement, query: LogQuery) -> Page[LogLine]:
        self.asked.append(f"logs {placement.deployment} {query.limit}")
        left = int(query.cursor) if query.cursor else len(self.lines)
        found: list[LogLine] = []
        while left and len(found) < query.limit:
            left -= 1
            if matches(self.lines[left], query):
                found.append(self.lines[left])
        more = any(matches(line, query) for line in self.lines[:left])
        return Page(tuple(found), str(left) if more else None)

    async def variables(self, binding: Binding) -> Sequence[Variable]:
        return self.kept

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        return Usage()

    async def provision(self, binding: Binding, wanted: Provision, *, handle: str = "", tell: Tell) -> Observed:
        return Observed(deployment=placement_of_nothing, presence=Presence.unknown)


placement_of_nothing: Any = "dep_00000000"


def furnish(home: House, places: dict[str, Provider], *bindings: Binding) -> None:
    """Give the house these places. Each of `bindings` stands in for the one of its service and environment."""
    told = {(b.service, b.environment): b for b in bindings}
    config = home.config.evolve(bindings=tuple(told.get((b.service, b.environment), b) for b in home.config.bindings))
    home.app = replace(home.app, world=lambda: World(config, places))


@asynccontextmanager
async def capable_house(tmp_path: Path, **settings: Any) -> AsyncGenerator[tuple[House, CapablePlace]]:
    """A house with every toolset, whose one place can do everything."""
    async with house(tmp_path, **{"toolsets": ["core", "observe", "places"], **settings}) as home:
        place = CapablePlace()
        furnish(home, {"memory": place})
        yield home, place
