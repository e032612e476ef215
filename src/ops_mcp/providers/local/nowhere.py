# ruff: noqa: ARG002 - the arguments are the Protocol's
"""The local provider where it cannot work: every request says `unsupported` and what to use instead."""

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, Observed, Placement
from ops_mcp.errors import Unsupported
from ops_mcp.ports import Tell


class Nowhere:
    """Stands in for `Local` on Windows."""

    kind = "local"

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        raise _unsupported()

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        raise _unsupported()

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        raise _unsupported()

    async def status(self, placement: Placement) -> Observed:
        raise _unsupported()

    async def stop(self, placement: Placement) -> Observed:
        raise _unsupported()


def _unsupported() -> Unsupported:
    return Unsupported(
        "The local provider does not work on Windows.", hint="Run ops-mcp on Linux or macOS, or use a hosted provider."
    )
