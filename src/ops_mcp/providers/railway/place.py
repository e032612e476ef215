"""Services at Railway. What may change something is told from what it made, so that repeating it makes nothing twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops_mcp.domain.observations import LogLine, LogQuery, Variable
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, Observed, Placement, Presence, Provision, SetVariable, Usage
from ops_mcp.errors import NotFound, ProviderError
from ops_mcp.observing import Tailed
from ops_mcp.ports import Page, ReadSecret, Tell
from ops_mcp.providers._outside import Outside
from ops_mcp.providers.railway import contents, deploying, logs, provisioning, restarting, returning, seeking, tailing, variables
from ops_mcp.providers.railway.answers import Deployed
from ops_mcp.providers.railway.contents import Repositories
from ops_mcp.providers.railway.following import look, look_patiently
from ops_mcp.providers.railway.opening import Door, Opened
from ops_mcp.providers.railway.options import KIND
from ops_mcp.providers.railway.phases import observed
from ops_mcp.providers.railway.sightings import Sighting, Sightings


@dataclass
class Railway:
    """The provider `railway`. It restarts, tells logs and variables, and provisions; it neither promotes nor scales."""

    door: Door
    outside: Outside
    secret: ReadSecret
    repositories: Repositories
    sightings: Sightings
    kind: str = KIND

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        opened = await self.door.open(binding)
        return await contents.resolved(opened, ref, self.repositories)

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        opened = await self.door.open(placement.release.binding, patiently=True)
        self.sightings.forget_all()
        await contents.refuse_changed_image(opened, placement)
        found = await deploying.deployed(opened, placement, replaces=replaces, tell=tell)
        steps = () if opened.options.image else await deploying.steps_of(opened.line, found.id)
        return self._noted(opened, placement, found, usage=deploying.metered(opened.line, steps))

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        opened = await self.door.open(placement.release.binding, patiently=True)
        self.sightings.forget_all()
        found = await returning.returned(opened, placement, restores=restores, ends=ends, tell=tell)
        return self._noted(opened, placement, found, usage=opened.line.usage)

    async def restart(self, placement: Placement) -> Observed:
        opened = await self.door.open(placement.release.binding, patiently=True)
        self.sightings.forget_all()
        handle = await returning.handle_of(opened, placement)
        if not handle:
            raise NotFound("Railway has nothing to restart for this deployment.", hint="Deploy it again.")
        found = await look_patiently(opened.line, handle, until=opened.until)
        return self._noted(opened, placement, await restarting.restarted(opened, found), usage=opened.line.usage)

    async def stop(self, placement: Placement) -> Observed:
        opened = await self.door.open(placement.release.binding, patiently=True)
        self.sightings.forget_all()
        handle = await returning.handle_of(opened, placement)
        found = await restarting.stopped(opened, handle) if handle else None
        return self._noted(opened, placement, found, handle=handle, usage=opened.line.usage)

    async def status(self, placement: Placement) -> Observed:
        """Looked at anew only as often as the budget allows; `detail` says how old what is told is."""
        opened = await self.door.open(placement.release.binding)
        handle = placement.handle
        if not handle:
            return await self._sought(opened, placement)
        if (fresh := self.sightings.fresh(handle, looks_per_second=opened.line.pace.looks_per_second)) is not None:
            return self._told(opened, placement, handle, fresh)
        spared = self.sightings.usable(handle)
        if spared is not None and opened.line.pace.look_in() > 0:
            return self._told(opened, placement, handle, spared)
        try:
            seen = self.sightings.note(handle, await _looked(opened, handle))
        except ProviderError as error:
            if spared is None or not error.temporary:
                raise
            seen = spared
        return self._told(opened, placement, handle, seen)

    async def logs(self, placement: Placement, query: LogQuery) -> Page[LogLine]:
        opened = await self.door.open(placement.release.binding)
        handle = await returning.handle_of(opened, placement)
        return await logs.lines_of(opened, handle, query) if handle else Page(())

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        opened = await self.door.open(placement.release.binding)
        handle = await returning.handle_of(opened, placement)
        return await tailing.tail(opened, handle, position, most_bytes=most_bytes) if handle else Tailed((), position)

    async def variables(self, binding: Binding) -> Sequence[Variable]:
        return await variables.variables_of(await self.door.open(binding))

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        return await variables.set_variable(await self.door.open(binding, patiently=True), wanted, self.secret)

    async def provision(self, binding: Binding, wanted: Provision, *, handle: str = "", tell: Tell) -> Observed:
        return await provisioning.provisioned(
            await self.door.open(binding, patiently=True), wanted, workflow=handle or None, tell=tell
        )

    async def reach(self, binding: Binding) -> str:
        opened = await self.door.open(binding)
        return f"project {opened.options.project}, environment {opened.options.environment_id}"

    async def aclose(self) -> None:
        await self.outside.aclose()

    async def _sought(self, opened: Opened, placement: Placement) -> Observed:
        """A deployment whose handle was never stored: what its moment and its content find."""
        found = await seeking.sought(opened, placement, other_than=())
        if found.undecided and not found.same:
            raise seeking.not_told_yet()
        if len(found.same) > 1:
            detail = f"Railway shows {len(found.same)} deployments made since it was asked for, and not which is ours"
            deployment, usage = placement.deployment, opened.line.usage
            return Observed(deployment=deployment, presence=Presence.unknown, usage=usage, detail=detail)
        return self._noted(opened, placement, found.same[0] if found.same else None, usage=opened.line.usage)

    def _noted(self, opened: Opened, placement: Placement, found: Deployed | None, *, usage: Usage, handle: str = "") -> Observed:
        if found is not None:
            self.sightings.note(found.id, found)
            deployment = placement.deployment
            return observed(found, deployment=deployment, options=opened.options, loopback=opened.loopback, usage=usage)
        detail = "Railway shows nothing of it"
        return Observed(deployment=placement.deployment, presence=Presence.absent, handle=handle, usage=usage, detail=detail)

    def _told(self, opened: Opened, placement: Placement, handle: str, seen: Sighting) -> Observed:
        age = self.sightings.age(seen).total_seconds()
        if seen.found is None:
            told = self._noted(opened, placement, None, handle=handle, usage=opened.line.usage)
        else:
            told = observed(
                seen.found,
                deployment=placement.deployment,
                options=opened.options,
                loopback=opened.loopback,
                usage=opened.line.usage,
            )
        return told.evolve(detail=f"{told.detail} (seen {age:.0f} s ago)".strip()) if age >= 1 else told


async def _looked(opened: Opened, handle: str) -> Deployed | None:
    try:
        return await look(opened.line, handle)
    except NotFound:
        return None
