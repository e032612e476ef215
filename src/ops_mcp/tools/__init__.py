"""The tools, by toolset. Each tool is declared once, where it is implemented."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import cast

from ops_mcp.errors import NotConfigured
from ops_mcp.tool import AnyTool, Tool

TOOLSETS: Mapping[str, tuple[str, ...]] = {"core": ("core.about", "core.changing", "core.following")}
"""Each toolset's modules, in the order of tools/list."""


def load(toolsets: Iterable[str] = TOOLSETS) -> Mapping[str, AnyTool]:
    """The tools of these toolsets by name, in one stable order. Raises `NotConfigured` for a toolset that does not exist."""
    wanted = set(toolsets)
    if unknown := wanted - set(TOOLSETS):
        raise NotConfigured(
            f"There is no toolset {', '.join(sorted(unknown))}.", hint=f"Toolsets: {', '.join(TOOLSETS)} (setting `toolsets`)."
        )
    found: dict[str, AnyTool] = {}
    for toolset in TOOLSETS:
        if toolset in wanted:
            for name in TOOLSETS[toolset]:
                module = import_module(f"ops_mcp.tools.{name}")
                found |= {t.name: cast(AnyTool, t) for t in vars(module).values() if isinstance(t, Tool)}
    return found
