# ruff: noqa: ARG002 - the arguments are the Protocol's
"""The local provider where it cannot work: every request says `unsupported` and what to use instead."""

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Release
from ops_mcp.errors import Unsupported


class Nowhere:
    """Stands in for `Local` on Windows."""

    kind = "local"

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        raise _unsupported()

    async def deploy(self, release: Release, deployment: DeploymentId, *, replaces: DeploymentId | None) -> Observed:
        raise _unsupported()

    async def rollback(self, release: Release, deployment: DeploymentId, *, ends: DeploymentId | None) -> Observed:
        raise _unsupported()

    async def status(self, binding: Binding, deployment: DeploymentId) -> Observed:
        raise _unsupported()

    async def stop(self, binding: Binding, deployment: DeploymentId) -> Observed:
        raise _unsupported()


def _unsupported() -> Unsupported:
    return Unsupported(
        "The local provider does not work on Windows.", hint="Run ops-mcp on Linux or macOS, or use a hosted provider."
    )
