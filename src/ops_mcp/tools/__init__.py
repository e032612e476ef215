"""The tools, by toolset. Each tool is declared once, where it is implemented."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import cast

from ops_mcp.errors import NotConfigured
from ops_mcp.tool import AnyTool, Tool

TOOLSETS: Mapping[str, tuple[str, ...]] = {
    "core": ("core.about", "core.changing", "core.following"),
    "observe": ("observe.logs", "observe.patterns", "observe.metrics", "observe.health"),
    "alerts": ("alerts.rules", "alerts.testing", "alerts.handling"),
    "supervise": ("supervise.notify", "supervise.checkpoint", "supervise.tasks"),
    "places": ("places.releasing", "places.variables", "places.provisioning"),
}
"""Each toolset's modules, in the order of tools/list."""


def load(toolsets: Collection[str] = TOOLSETS) -> Mapping[str, AnyTool]:
    """The tools of these toolsets by name, in one stable order. Raises `NotConfigured` for a toolset that does not exist."""
    if unknown := set(toolsets) - set(TOOLSETS):
        hint = f"Toolsets: {', '.join(TOOLSETS)} (setting `toolsets`)."
        raise NotConfigured(f"There is no toolset {', '.join(sorted(unknown))}.", hint=hint)
    found: dict[str, AnyTool] = {}
    for name in (name for toolset, names in TOOLSETS.items() if toolset in toolsets for name in names):
        found |= {t.name: cast(AnyTool, t) for t in vars(import_module(f"{__name__}.{name}")).values() if isinstance(t, Tool)}
    return found
