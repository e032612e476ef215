"""One call's errand at Vercel: for which placement, with which options, token and patience; and finding what was made for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Observed, Placement, Presence, Usage
from ops_mcp.errors import DeadlineExceeded
from ops_mcp.providers.vercel.answers import Deployed, milliseconds, moment
from ops_mcp.providers.vercel.client import Api
from ops_mcp.providers.vercel.options import Options, address
from ops_mcp.providers.vercel.waiting import Waiting

DEPLOYMENT, RELEASE, SERVICE, ENVIRONMENT = "opsMcpDeployment", "opsMcpRelease", "opsMcpService", "opsMcpEnvironment"
"""What ops-mcp writes into the `meta` of everything it makes."""
_CLOCKS_DIFFER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Errand:
    """`wait` says how patiently; without patience, whatever Vercel puts off is put off by us."""

    placement: Placement
    options: Options
    api: Api
    wait: Waiting

    async def located(self) -> Deployed | None:
        """What Vercel has for the placement: by its handle, else by the mark that everything of ours carries."""
        return await self.wait.out(self._look_up)

    async def present(self, id: str) -> Deployed | None:
        """A deployment as it is now."""
        return await self.wait.out(lambda: self.api.deployment(id))

    def owns(self, found: Deployed) -> bool:
        """Whether it was made for this very deployment."""
        return found.meta.get(DEPLOYMENT) == self.placement.deployment

    def is_anothers(self, found: Deployed) -> bool:
        """Whether it was made for another deployment of ours. An answer in Vercel's short form says nothing of it."""
        return found.meta.get(DEPLOYMENT, self.placement.deployment) != self.placement.deployment

    def for_(self, placement: Placement) -> "Errand":
        """The same errand looking at another placement: same token, same project, same count of requests."""
        return replace(self, placement=placement)

    def observed(
        self,
        presence: Presence,
        detail: str,
        found: Deployed | None = None,
        *,
        build_seconds: float = 0.0,
        tail: tuple[str, ...] = (),
    ) -> Observed:
        """What is said of the placement. `since` is when it was made, which does not change while it is moved about."""
        return Observed(
            deployment=self.placement.deployment,
            presence=presence,
            since=moment(found.created) if found else None,
            url=self._url(found) if found and presence in (Presence.running, Presence.unknown) else None,
            handle=found.id if found else self.placement.handle,
            usage=Usage(requests=self.api.requests, build_seconds=build_seconds),
            detail=detail,
            untrusted_tail=tail,
        )

    def overdue(self, what: str) -> DeadlineExceeded:
        return DeadlineExceeded(what, hint="It goes on at Vercel unless it is stopped; look there, or at `deployment`.")

    async def _look_up(self) -> Deployed | None:
        if self.placement.handle:
            return await self.api.deployment(self.placement.handle)
        since = milliseconds(self.placement.asked_at - _CLOCKS_DIFFER)
        found = [item async for item in self.api.deployments(self.options.project, since=since) if self.owns(item)]
        return min(found, key=lambda item: item.created, default=None)

    def _url(self, found: Deployed) -> str | None:
        host = self.options.domain or found.url
        return address(host, self.api.outside.api) if host else None


def marks(placement: Placement) -> Mapping[str, str]:
    binding: Binding = placement.release.binding
    return {
        DEPLOYMENT: placement.deployment,
        RELEASE: placement.release.digest,
        SERVICE: binding.service,
        ENVIRONMENT: binding.environment,
    }
